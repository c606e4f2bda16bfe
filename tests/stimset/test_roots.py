"""The pinned root: digest before parsing, its own signatures, and keys that count once."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import SSlibKey
from tuf.api.metadata import Metadata, Root

from stimset.errors import ConfigError, ContentMismatch, FormatError, RollbackRefused, SignatureInvalid
from stimset.roots import (
    TrustedRoot,
    draft_root,
    fingerprint_of,
    make_root,
    normal_fingerprint,
    sign_metadata,
    tuf_signer,
)
from stimset.signing import MLDSA65, generate_key

EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
BUILDER, OFFICER, ONLINE = generate_key(), generate_key(), generate_key()
DATA = make_root([BUILDER, OFFICER], ONLINE, expires=EXPIRES)


def pinned(data: bytes) -> TrustedRoot:
    return TrustedRoot.from_bytes(data, fingerprint_of(data))


def test_says_whose_signatures_count(tmp_path):
    (tmp_path / "root.json").write_bytes(DATA)
    root = TrustedRoot.load(tmp_path / "root.json", fingerprint_of(DATA).upper())
    assert dict(root.keys) == {s.keyid: s.public for s in (BUILDER, OFFICER)}
    assert (root.threshold, root.version, root.expires, root.fingerprint) == (2, 1, EXPIRES, fingerprint_of(DATA))


def test_it_is_real_tuf_metadata():
    root = Metadata[Root].from_bytes(DATA)
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    assert set(root.signed.roles) == {"root", "targets", "snapshot", "timestamp"}
    assert root.signed.roles["timestamp"].keyids == [ONLINE.keyid]


def test_another_file_than_the_pinned_one_is_not_even_parsed(tmp_path):
    for data in (b"{", DATA + b" ", b""):
        with pytest.raises(ContentMismatch, match="is pinned"):
            TrustedRoot.from_bytes(data, fingerprint_of(DATA))
    with pytest.raises(FormatError, match="longer"):
        TrustedRoot.from_bytes(b" " * (513 << 10), fingerprint_of(DATA))
    with pytest.raises(ConfigError, match="can't be read"):
        TrustedRoot.load(tmp_path / "missing", fingerprint_of(DATA))


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "a" * 63, "a" * 65])
def test_fingerprints_have_64_hex_digits(text):
    with pytest.raises(ConfigError):
        normal_fingerprint(text)


def test_fingerprints_as_people_write_them():
    text = fingerprint_of(DATA)
    assert normal_fingerprint(":".join(text[i : i + 2] for i in range(0, 64, 2)).upper() + "\n") == text


def edited(edit, sign=(BUILDER, OFFICER)) -> bytes:
    metadata = Metadata[Root].from_bytes(DATA)
    edit(metadata.signed)
    metadata.signatures.clear()
    for signer in sign:
        metadata.sign(tuf_signer(signer), append=True)
    return metadata.to_bytes()


def test_the_root_must_be_signed_as_it_demands():
    assert pinned(edited(lambda root: None)).threshold == 2
    for sign in ((), (BUILDER,), (BUILDER, ONLINE)):
        with pytest.raises(SignatureInvalid):
            pinned(edited(lambda root: None, sign))


def test_one_key_under_two_ids_is_refused():
    def alias(root: Root) -> None:
        twin = SSlibKey("f" * 64, "ed25519", "ed25519", {"public": BUILDER.public.raw.hex()})
        root.add_key(twin, "targets")
        root.revoke_key(OFFICER.keyid, "targets")

    with pytest.raises(FormatError, match="id is not the SHA-256"):
        pinned(edited(alias))


def test_unknown_algorithms_and_impossible_thresholds():
    def foreign(root: Root) -> None:
        root.add_key(SSlibKey("e" * 64, "ml-dsa", "ml-dsa-44/1", {"public": "00"}), "targets")

    def three(root: Root) -> None:
        root.roles["targets"].threshold = 3

    with pytest.raises(FormatError, match="unknown algorithm"):
        pinned(edited(foreign))
    with pytest.raises(FormatError, match="threshold"):
        pinned(edited(three))


def test_other_roles_are_no_root():
    document = json.loads(DATA)
    document["signed"] = {
        "_type": "snapshot",
        "version": 1,
        "spec_version": "1.0.31",
        "expires": "2030-01-01T00:00:00Z",
        "meta": {},
    }
    with pytest.raises(FormatError):
        pinned(json.dumps(document).encode())


@given(st.data())
def test_any_pinned_bytes_raise_our_errors_only(data):
    raw = bytearray(DATA)
    start = data.draw(st.integers(0, len(raw)))
    raw[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=10))
    with contextlib.suppress(FormatError, SignatureInvalid):
        pinned(bytes(raw))


def test_expiry_is_in_utc():
    local = EXPIRES.astimezone(datetime.now().astimezone().tzinfo) + timedelta(microseconds=5)
    assert pinned(make_root([BUILDER], ONLINE, expires=local)).expires == EXPIRES


PEOPLE = {name: (generate_key(), generate_key(MLDSA65)) for name in ("builder", "officer", "recovery", "newcomer")}


def hybrid(*people: str, version: int = 1, sign: tuple[str, ...] | None = None) -> bytes:
    keys = [signer.public for name in people for signer in PEOPLE[name]]
    draft = draft_root(
        keys, ONLINE.public, expires=EXPIRES, version=version, recovery=[s.public for s in PEOPLE["recovery"]]
    )
    return sign_metadata(draft, [signer for name in (sign or people) for signer in PEOPLE[name]])


def test_two_people_with_two_algorithms():
    root = pinned(hybrid("builder", "officer"))
    assert (root.threshold, root.persons, root.hybrid) == (4, 2, True)
    assert (pinned(DATA).persons, pinned(DATA).hybrid) == (2, False)
    with pytest.raises(SignatureInvalid):
        pinned(hybrid("builder", "officer", sign=("builder",)))
    assert pinned(hybrid("builder", "officer", sign=("builder", "recovery"))).threshold == 4


def test_a_root_has_a_successor():
    first = hybrid("builder", "officer")
    root = pinned(first)
    following = root.successor(first, hybrid("builder", "newcomer", version=2, sign=("builder", "newcomer", "recovery")))
    assert (following.version, following.fingerprint) == (2, root.fingerprint)
    assert PEOPLE["newcomer"][0].keyid in following.keys
    for data, error in (
        (hybrid("builder", "newcomer", version=2), SignatureInvalid),  # the old root's threshold
        (hybrid("builder", "newcomer", version=2, sign=("builder", "officer")), SignatureInvalid),  # the new one's
        (hybrid("builder", "officer", version=3), RollbackRefused),
        (first, RollbackRefused),
        (b"{}", FormatError),
        (b" " * (513 << 10), FormatError),
    ):
        with pytest.raises(error):
            root.successor(first, data)
