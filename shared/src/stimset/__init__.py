"""Stimset: learnable, anonymous stimuli instead of patients' recordings. This package is what both sides share.

In the order of the data's way::

    records     a recording on disk -> `Record`                       (extra [records])
    windowing   records + WindowSpec -> `Windows`
    learning    networks, the training loop, the families of models   (extra [learning])
    release     the signed statement about a stimulus set, as types and canonical bytes
    envelope    DSSE: what is signed, byte for byte
    signing     keys and signatures
    verifying   folder + pinned root -> `VerifiedRelease`, or an error that says which promise is broken
    metrics     the field's scores, with intervals

The smallest call::

    from stimset.verifying import TrustedRoot, verify
    release = verify(folder, TrustedRoot.load("root.json", fingerprint="..."))
    release.stimuli().values.shape
"""

__version__ = "0.1.0"
