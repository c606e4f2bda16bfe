"""A checkpoint: what a custodian's log was at a moment, signed by its daemon's key.

A DSSE envelope (`stimset.envelope`) around ``{"root", "size", "time"}``. It travels to partners with their pulls; they keep it as
witnesses. It says nothing of what the records hold.

Usage::

    data = sign_checkpoint(Checkpoint(size, root, time), online_key)
    checkpoint = verify_checkpoint(data, root.online)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import FormatError, UnknownSigner
from stimset.merkle import MAX_SIZE
from stimset.release import canonical_json
from stimset.signing import PublicKey, Signer
from stimset.strict import Fields, load_json

PAYLOAD_TYPE = "application/vnd.stimset.checkpoint+json"
MAX_CHECKPOINT_BYTES = 4096
_HASH = re.compile("[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


@dataclass(frozen=True)
class Checkpoint:
    """A log's state.

    Attributes:
        size: how many records it had.
        root: the root of their Merkle tree, 32 bytes.
        time: when it was signed, UTC, ``YYYY-MM-DDTHH:MM:SSZ``; by the custodian's clock.
    """

    size: int
    root: bytes
    time: str


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed envelope's bytes."""
    payload = canonical_json({"root": checkpoint.root.hex(), "size": checkpoint.size, "time": checkpoint.time})
    return Envelope(
        PAYLOAD_TYPE, payload, (Signature(signer.keyid, signer.sign(pae(PAYLOAD_TYPE, payload))),)
    ).to_bytes()


def verify_checkpoint(data: bytes, keys: Mapping[str, PublicKey]) -> Checkpoint:
    """Check a checkpoint from outside.

    Args:
        data: the envelope's bytes.
        keys: key id -> key of those that may sign it: the root's role ``timestamp`` (`stimset.roots.TrustedRoot.online`).

    Raises:
        UnknownSigner: none of these keys has signed it.
        SignatureInvalid: the signature does not hold.
        FormatError: it is no checkpoint.
    """
    envelope = _envelope(data)
    signature = next((s for s in envelope.signatures if s.keyid in keys), None)
    if signature is None:
        raise UnknownSigner("the checkpoint is not signed by the daemon's key that the root names; ask the custodian")
    keys[signature.keyid].verify(signature.value, envelope.pae())
    return _parse(envelope)


def read_checkpoint(data: bytes) -> Checkpoint:
    """A checkpoint that was verified when it was kept; its signature is not looked at.

    Raises:
        FormatError: it is no checkpoint.
    """
    return _parse(_envelope(data))


def _envelope(data: bytes) -> Envelope:
    if len(data) > MAX_CHECKPOINT_BYTES:
        raise FormatError(f"checkpoint: longer than {MAX_CHECKPOINT_BYTES} bytes")
    envelope = parse_envelope(data)
    if envelope.payload_type != PAYLOAD_TYPE:
        raise FormatError("checkpoint: an envelope of something else")
    return envelope


def _parse(envelope: Envelope) -> Checkpoint:
    fields = Fields(
        load_json(envelope.payload, limit=MAX_CHECKPOINT_BYTES, what="checkpoint"),
        "checkpoint",
        ("root", "size", "time"),
    )
    root, size = fields.text("root", pattern=_HASH), fields.integer("size", 1, MAX_SIZE)
    return Checkpoint(size, bytes.fromhex(root), fields.text("time", pattern=_TIME))
