"""From an admitted set to a signed release.

::

    keys        the builder's and the online key, and ``root.json``, whose digest partners pin
    card        what the release says of itself, for machines (Croissant) and for people
    publishing  `AdmittedSet` + signers -> `SignedRelease` in the home's ``releases``
    store       the signed releases that lie there; the daemon serves from it
"""
