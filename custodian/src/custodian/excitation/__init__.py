"""Excitation: from a recipe to a candidate set.

``recipe`` says how, ``priors`` where it starts, ``objectives`` what is climbed, ``ascent`` climbs, ``generator`` is the published way, and
``engine`` makes shards of it all. Submodules are imported by name, so that a candidate set can be read without torch.
"""
