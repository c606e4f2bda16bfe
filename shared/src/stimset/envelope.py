"""DSSE: what is signed, byte for byte (https://github.com/secure-systems-lab/dsse, protocol v1).

A signature covers the pre-authentication encoding of type and payload, so bytes signed as one kind of document can't
be shown as another, and nobody parses a payload before its signature holds. Nothing here knows keys:
`stimset.signing` makes signatures, `stimset.verifying` judges them.

Usage::

    envelope = Envelope(PAYLOAD_TYPE, payload, (Signature(keyid, value),))
    parse_envelope(envelope.to_bytes()) == envelope
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from stimset.errors import FormatError
from stimset.release import MAX_ENVELOPE_BYTES, MAX_STATEMENT_BYTES, canonical_json
from stimset.strict import Fields, load_json

MAX_SIGNATURES = 16
MAX_SIGNATURE_BYTES = 8192  # ML-DSA-65 needs 3309, Ed25519 64
MAX_PAYLOAD_TYPE = 200
_KEYID = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Signature:
    """One signature: the signer's key id (64 hex digits) and the raw signature over `pae`."""

    keyid: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload with its type and signatures. That it parses says nothing about whether it was signed.

    Attributes:
        payload_type: e.g. `stimset.release.PAYLOAD_TYPE`.
        payload: the signed bytes.
        signatures: one to `MAX_SIGNATURES`; no key id twice.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def pae(self) -> bytes:
        """The bytes that every signature covers."""
        return pae(self.payload_type, self.payload)

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON; signatures stand in the order of their key ids."""
        return canonical_json(
            {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": s.keyid, "sig": base64.b64encode(s.value).decode()}
                    for s in sorted(self.signatures, key=lambda s: s.keyid)
                ],
            }
        )


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: ``"DSSEv1" SP len(type) SP type SP len(payload) SP payload``.

    Lengths are in bytes, in decimal without leading zeros; SP is one space (0x20).
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(data: bytes) -> Envelope:
    """Read an envelope from outside, in the one form that `Envelope.to_bytes` writes.

    Raises:
        FormatError: it is no DSSE envelope within the documented bounds.
    """
    fields = Fields(
        load_json(data, limit=MAX_ENVELOPE_BYTES, what="envelope"), "envelope", ("payload", "payloadType", "signatures")
    )
    payload_type = fields.text("payloadType", least=1, most=MAX_PAYLOAD_TYPE)
    payload = _decode(fields.text("payload", most=MAX_ENVELOPE_BYTES), "payload", MAX_STATEMENT_BYTES)
    signatures = []
    for entry in fields.sequence("signatures", least=1, most=MAX_SIGNATURES):
        part = Fields(entry, "envelope: signature", ("keyid", "sig"))
        value = _decode(part.text("sig", least=1, most=2 * MAX_SIGNATURE_BYTES), "sig", MAX_SIGNATURE_BYTES)
        signatures.append(Signature(part.text("keyid", pattern=_KEYID), value))
    if len({s.keyid for s in signatures}) != len(signatures):
        raise FormatError("envelope: one key has signed twice")
    envelope = Envelope(payload_type, payload, tuple(signatures))
    if envelope.to_bytes() != data:
        # The file is covered by no digest; with one spelling only, not a byte of it can be changed unnoticed.
        raise FormatError("envelope: not in canonical form (sorted keys, no white space, signatures by key id)")
    return envelope


def _decode(text: str, name: str, most: int) -> bytes:
    """Standard base64 in its one canonical spelling, so that an envelope can't be varied without breaking it."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(f"envelope: '{name}' is not base64") from None
    if len(data) > most:
        raise FormatError(f"envelope: '{name}' is longer than {most} bytes")
    if base64.b64encode(data).decode() != text:
        raise FormatError(f"envelope: '{name}' is not canonical base64")
    return data
