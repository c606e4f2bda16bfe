"""Work in pieces, whoever does it: shards of stimuli (`custodian.excitation`) and shadow worlds (`custodian.shadows`).

A piece depends on nothing but its order and its number, and leaves one file in one step. So it does not matter who makes it, or how often.
``pieces`` says what is to be made and what happens when a worker dies; ``processes`` are workers on this machine, ``answering`` their end
of the pipe; ``cluster`` are workers of a Ray cluster; ``orders`` is how what they are given survives the way.
"""
