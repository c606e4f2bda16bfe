"""DSSE against the shared vectors, and envelopes bent in every way."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import FormatError
from stimset.release import canonical_json
from stimset.signing import PublicKey

VECTORS = json.loads((Path(__file__).parents[2] / "shared/testvectors/dsse.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["pae"], ids=lambda v: v["name"])
def test_pae_vectors(vector):
    assert pae(vector["payloadType"], base64.b64decode(vector["payload"])) == base64.b64decode(vector["pae"])


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=lambda v: v["name"])
def test_signatures_made_by_openssl(vector):
    envelope = parse_envelope(canonical_json(vector["envelope"]))
    key = PublicKey("ed25519", bytes.fromhex(vector["publicKey"]))
    assert key.keyid == vector["keyid"] == envelope.signatures[0].keyid
    key.verify(envelope.signatures[0].value, envelope.pae())


signature = st.builds(
    Signature, st.integers(0, (1 << 256) - 1).map("{:064x}".format), st.binary(min_size=1, max_size=80)
)


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40),
    st.binary(max_size=200),
    st.lists(signature, min_size=1, max_size=4, unique_by=lambda s: s.keyid),
)
def test_round_trip(kind, payload, signatures):
    ordered = tuple(sorted(signatures, key=lambda s: s.keyid))
    envelope = Envelope(kind, payload, ordered)
    assert parse_envelope(envelope.to_bytes()) == envelope
    assert parse_envelope(envelope.to_bytes()).to_bytes() == envelope.to_bytes()


@given(st.text(max_size=20), st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=50))
def test_pae_is_injective(kind, payload, other_kind, other_payload):
    same = (kind, payload) == (other_kind, other_payload)
    assert (pae(kind, payload) == pae(other_kind, other_payload)) == same


def good() -> dict:
    return {"payload": "aGk=", "payloadType": "t", "signatures": [{"keyid": "0" * 64, "sig": "AAAA"}]}


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "aGk"},
        {"payload": "aGl="},
        {"payload": "aG k="},
        {"payload": "aGk=\n"},
        {"payload": 1},
        {"payloadType": ""},
        {"payloadType": "x" * 201},
        {"signatures": []},
        {"signatures": [{"keyid": "0" * 64}]},
        {"extra": 1},
        {"signatures": [{"keyid": "0" * 64, "sig": "AAAA"}] * 2},
        {"signatures": [{"keyid": "A" * 64, "sig": "AAAA"}]},
        {"signatures": [{"keyid": "0" * 64, "sig": ""}]},
        {"signatures": [{"keyid": "0" * 64, "sig": "A" * 16388}]},
        {"signatures": [{"keyid": f"{i:064x}", "sig": "AAAA"} for i in range(17)]},
        {"signatures": {}},
        {"signatures": [{"keyid": "0" * 64, "sig": "AAAA", "cert": ""}]},
    ],
)
def test_malformed_envelopes(change):
    with pytest.raises(FormatError):
        parse_envelope(canonical_json({**good(), **change}))


def test_one_spelling_only():
    signatures = [{"keyid": f"{i:064x}", "sig": "AAAA"} for i in (2, 1)]
    data = canonical_json(good())
    assert parse_envelope(data).payload == b"hi"
    for bent in (data + b"\n", json.dumps(good()).encode(), canonical_json({**good(), "signatures": signatures})):
        with pytest.raises(FormatError, match="canonical"):
            parse_envelope(bent)


@given(st.data())
def test_mutated_bytes_raise_format_errors_only(data):
    raw = bytearray(Envelope("t", b"payload", (Signature("ab" * 32, b"s" * 64),)).to_bytes())
    start = data.draw(st.integers(0, len(raw)))
    stop = data.draw(st.integers(start, min(len(raw), start + 20)))
    raw[start:stop] = data.draw(st.binary(max_size=20))
    with contextlib.suppress(FormatError):
        parse_envelope(bytes(raw))
