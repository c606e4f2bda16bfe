"""From an admitted set to a signed release that stands.

::

    keys         the builder's and the online key, and ``root.json``, whose digest partners pin
    card         what the release says of itself, for machines (Croissant) and for people
    publishing   `AdmittedSet` + signers -> `SignedRelease` in the home's ``releases``, or a proposal for a second person
    officer      the second person: keys in a home of their own, what is examined, what is signed
    channel      TUF metadata: which releases stand now
    withdrawing  taking a release back, and signing the channel anew
    rotating     the next root: other keys, other people
    store        the signed releases that lie there; the daemon serves from it
"""
