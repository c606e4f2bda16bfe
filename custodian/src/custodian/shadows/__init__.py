"""Shadow worlds for the deep audit: what would the release be like if other patients had been in the cohort?

In each world a random half of all persons trains a teacher, and the set's own recipe makes a release of it; attackers then score everybody.
The worlds are made here, as only the pipeline may train and excite; the attacks that judge the scores are the gate's
(`custodian.gate.attacks.membership`, ``attribute``, ``canaries``) and know no teacher::

    plan      what is run, and who is inside which world
    world     one world: teacher, release, controls, scores -> one file
    running   worlds in processes or on a cluster, each skipped when its file is there; ``worker`` is such a process
    costs     what it will cost
    findings  all files -> findings
    deep      the whole of it, for the command line
"""
