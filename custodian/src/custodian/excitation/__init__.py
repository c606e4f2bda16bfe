"""Excitation: from a recipe to a candidate set.

``recipe`` says how (its ``sections``: what can be set), ``priors`` where it starts, ``beliefs`` what is wanted, ``objectives`` what is
climbed, ``parametrisations`` in which coordinates, ``ascent`` climbs, ``acceptance`` keeps; ``generator`` is the published way.
``readings`` are read of patients beside the prior's statistics, ``preparation`` trains what a recipe needs first, ``assembly`` puts all
together, and ``engine`` makes shards of it. Submodules are imported by name, so that a candidate set can be read without torch.
"""
