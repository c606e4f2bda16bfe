"""Checkpoints: signed by the right key, of the right kind, and not a byte of them loose."""

from __future__ import annotations

import pytest

from stimset.checkpoint import (
    MAX_CHECKPOINT_BYTES,
    PAYLOAD_TYPE,
    Checkpoint,
    read_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
)
from stimset.envelope import Envelope, Signature, pae
from stimset.errors import FormatError, SignatureInvalid, StimsetError, UnknownSigner
from stimset.release import canonical_json
from stimset.signing import generate_key

SIGNER = generate_key()
KEYS = {SIGNER.keyid: SIGNER.public}
CHECKPOINT = Checkpoint(7, bytes(range(32)), "2026-05-03T10:00:00Z")


def signed(document, kind=PAYLOAD_TYPE):
    payload = canonical_json(document)
    return Envelope(kind, payload, (Signature(SIGNER.keyid, SIGNER.sign(pae(kind, payload))),)).to_bytes()


def test_there_and_back():
    data = sign_checkpoint(CHECKPOINT, SIGNER)
    assert verify_checkpoint(data, KEYS) == read_checkpoint(data) == CHECKPOINT
    assert len(data) < MAX_CHECKPOINT_BYTES // 4


def test_a_strangers_checkpoint():
    with pytest.raises(UnknownSigner):
        verify_checkpoint(sign_checkpoint(CHECKPOINT, generate_key()), KEYS)


def test_every_byte_counts():
    data = sign_checkpoint(CHECKPOINT, SIGNER)
    for at in range(len(data)):
        mutant = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(StimsetError):
            verify_checkpoint(mutant, KEYS)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"root": "00" * 32, "size": 0, "time": "2026-05-03T10:00:00Z"},
        {"root": "00" * 32, "size": True, "time": "2026-05-03T10:00:00Z"},
        {"root": "00" * 31, "size": 1, "time": "2026-05-03T10:00:00Z"},
        {"root": "00" * 32, "size": 1, "time": "yesterday"},
        {"root": "00" * 32, "size": 1, "time": "2026-05-03T10:00:00Z", "more": 1},
    ],
)
def test_what_is_signed_and_still_no_checkpoint(document):
    with pytest.raises(FormatError):
        verify_checkpoint(signed(document), KEYS)


def test_another_kind_of_envelope():
    document = {"root": "00" * 32, "size": 1, "time": "2026-05-03T10:00:00Z"}
    with pytest.raises(FormatError):
        verify_checkpoint(signed(document, "application/vnd.in-toto+json"), KEYS)


def test_a_signature_of_another_checkpoint():
    one, two = (sign_checkpoint(Checkpoint(n, bytes(32), CHECKPOINT.time), SIGNER) for n in (1, 2))
    import json

    mixed = json.loads(one) | {"signatures": json.loads(two)["signatures"]}
    with pytest.raises(SignatureInvalid):
        verify_checkpoint(canonical_json(mixed), KEYS)
