"""Every broken promise has its own error: real releases, damaged in every way."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custodian.publish.keys import load_signers
from stimset.envelope import Envelope, Signature, pae, parse_envelope
from stimset.errors import (
    ConfigError,
    ContentMismatch,
    Expired,
    FileMissing,
    FileTruncated,
    FileUnexpected,
    FormatError,
    SignatureInvalid,
    StimsetError,
    UnknownSigner,
)
from stimset.release import PAYLOAD_TYPE
from stimset.roots import TrustedRoot, fingerprint_of, make_root
from stimset.signing import generate_key, sign_statement
from stimset.verifying import VerifiedRelease, verify
from tiny_release import PASSPHRASE, SPEC, TinyRelease, make

SHARD = "stimuli-00000.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> TinyRelease:
    return make(tmp_path_factory.mktemp("tiny") / "home")


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    return tiny.copy(tmp_path / "copy")


def test_a_good_release(tiny, folder):
    release = verify(folder, tiny.root)
    assert release.id == "tiny-0001" == release.predicate.release_id
    assert release.spec == SPEC
    assert release.simulated
    assert release.signed_by == tuple(tiny.root.keys)
    assert release.root_fingerprint == tiny.fingerprint
    assert release.statement == tiny.release.statement
    stimuli = release.stimuli()
    assert stimuli.values.shape == (5, *SPEC.shape)
    assert stimuli.values.dtype == np.float32
    (shard,) = release.iter_shards()
    np.testing.assert_array_equal(shard.values, stimuli.values)
    np.testing.assert_array_equal(release.stimuli(SHARD).probabilities, stimuli.probabilities)
    with pytest.raises(ConfigError, match="no shard"):
        release.stimuli("stimuli-00007.safetensors")


def test_every_flipped_byte_is_refused(tiny, folder):
    expected = {
        "provenance.dsse.json": (FormatError, SignatureInvalid, UnknownSigner),
        "statement.json": (ContentMismatch,),
    }
    for path in sorted(folder.iterdir()):
        with path.open("r+b", buffering=0) as file:
            original = file.read()
            for offset, byte in enumerate(original):
                os.pwrite(file.fileno(), bytes([byte ^ (1 << offset % 8)]), offset)
                with pytest.raises(StimsetError) as caught:
                    verify(folder, tiny.root)
                assert type(caught.value) in expected.get(path.name, (ContentMismatch,)), (path.name, offset)
                os.pwrite(file.fileno(), bytes([byte]), offset)
    verify(folder, tiny.root)


@pytest.mark.parametrize("name", ["CARD.md", "card.json", SHARD, "statement.json", "provenance.dsse.json"])
def test_missing_truncated_grown(tiny, folder, name):
    path = folder / name
    data = path.read_bytes()
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(FormatError if name == "provenance.dsse.json" else FileTruncated):
            verify(folder, tiny.root)
    path.write_bytes(data + b"\n")
    expected = FormatError if name == "provenance.dsse.json" else ContentMismatch
    with pytest.raises(expected) as caught:
        verify(folder, tiny.root)
    assert type(caught.value) is expected
    path.unlink()
    with pytest.raises(FileMissing, match=name):
        verify(folder, tiny.root)


def test_no_folder(tiny, tmp_path):
    with pytest.raises(FileMissing):
        verify(tmp_path / "nothing", tiny.root)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileMissing):
        verify(tmp_path / "file", tiny.root)


@pytest.mark.parametrize("name", ["more.txt", ".hidden", "stimuli-00001.safetensors", "a\nb", "card.JSON"])
def test_an_extra_file(tiny, folder, name):
    (folder / name).write_bytes(b"")
    with pytest.raises(FileUnexpected) as caught:
        verify(folder, tiny.root)
    assert "\n" not in str(caught.value)


def test_an_extra_folder(tiny, folder):
    (folder / "sub").mkdir()
    with pytest.raises(FileUnexpected, match="sub"):
        verify(folder, tiny.root)


@pytest.mark.parametrize("name", ["card.json", SHARD, "statement.json", "provenance.dsse.json"])
def test_a_link_a_folder_or_a_pipe_is_no_file(tiny, folder, tmp_path, name):
    path = folder / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileUnexpected, match="link"):
        verify(folder, tiny.root)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileUnexpected):
        verify(folder, tiny.root)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(FileUnexpected):
        verify(folder, tiny.root)


def test_two_files_swapped(tiny, folder):
    a, b = (folder / "card.json").read_bytes(), (folder / "CARD.md").read_bytes()
    (folder / "card.json").write_bytes(b)
    (folder / "CARD.md").write_bytes(a)
    with pytest.raises(ContentMismatch):
        verify(folder, tiny.root)


def test_a_swapped_key_and_the_wrong_root(tiny, folder, tmp_path):
    statement = (folder / "statement.json").read_bytes()
    (folder / "provenance.dsse.json").write_bytes(sign_statement(statement, [generate_key()]))
    with pytest.raises(UnknownSigner):
        verify(folder, tiny.root)
    other = make(tmp_path / "other")
    with pytest.raises(UnknownSigner):
        verify(tiny.folder, other.root)


def test_another_key_under_the_known_id(tiny, folder):
    statement = (folder / "statement.json").read_bytes()
    forged = Signature(next(iter(tiny.root.keys)), generate_key().sign(pae(PAYLOAD_TYPE, statement)))
    (folder / "provenance.dsse.json").write_bytes(Envelope(PAYLOAD_TYPE, statement, (forged,)).to_bytes())
    with pytest.raises(SignatureInvalid) as caught:
        verify(folder, tiny.root)
    assert type(caught.value) is SignatureInvalid


def test_the_signature_covers_the_type(tiny, folder):
    signer, statement = load_signers(tiny.home, PASSPHRASE)[0], (folder / "statement.json").read_bytes()
    for kind in ("application/json", PAYLOAD_TYPE):
        bent = Envelope(kind, statement, (Signature(signer.keyid, signer.sign(pae("application/json", statement))),))
        (folder / "provenance.dsse.json").write_bytes(bent.to_bytes())
        with pytest.raises((FormatError, SignatureInvalid)):
            verify(folder, tiny.root)


def test_a_signature_over_the_bare_statement_is_none(tiny, folder):
    signer, statement = load_signers(tiny.home, PASSPHRASE)[0], (folder / "statement.json").read_bytes()
    bent = Envelope(PAYLOAD_TYPE, statement, (Signature(signer.keyid, signer.sign(statement)),))
    (folder / "provenance.dsse.json").write_bytes(bent.to_bytes())
    with pytest.raises(SignatureInvalid):
        verify(folder, tiny.root)


def test_thresholds(tiny, folder):
    statement, builder, officer, stranger = (
        (folder / "statement.json").read_bytes(),
        *(generate_key() for _ in range(3)),
    )
    data = make_root([builder, officer], stranger, expires=datetime.now(UTC) + timedelta(days=9))
    root = TrustedRoot.from_bytes(data, fingerprint_of(data))
    for signers, error in (
        ([builder, officer], None),
        ([builder, officer, stranger], None),
        ([builder], SignatureInvalid),
        ([builder, stranger], SignatureInvalid),
        ([stranger], UnknownSigner),
    ):
        (folder / "provenance.dsse.json").write_bytes(sign_statement(statement, signers))
        with pytest.raises(error) if error else contextlib.nullcontext():
            assert len(verify(folder, root).signed_by) == 2


def test_one_bad_signature_among_enough_is_refused(tiny, folder):
    builder, officer = generate_key(), generate_key()
    statement = (folder / "statement.json").read_bytes()
    data = make_root([builder, officer], builder, expires=datetime.now(UTC) + timedelta(days=9))
    envelope = parse_envelope(sign_statement(statement, [builder]))
    bad = Signature(officer.keyid, bytes(64))
    (folder / "provenance.dsse.json").write_bytes(
        Envelope(PAYLOAD_TYPE, statement, (*envelope.signatures, bad)).to_bytes()
    )
    with pytest.raises(SignatureInvalid):
        verify(folder, TrustedRoot.from_bytes(data, fingerprint_of(data)))


def test_expiry_of_release_and_root(tiny, folder):
    release = verify(folder, tiny.root)
    verify(folder, tiny.root, now=release.valid_until - timedelta(seconds=1))
    with pytest.raises(Expired, match="release tiny-0001"):
        verify(folder, tiny.root, now=release.valid_until)
    with pytest.raises(Expired):
        verify(folder, tiny.root, now=datetime(2999, 1, 1))
    signer = load_signers(tiny.home, PASSPHRASE)[0]
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    data = make_root([signer], signer, expires=soon)
    root = TrustedRoot.from_bytes(data, fingerprint_of(data))
    assert verify(folder, root).valid_until == soon
    with pytest.raises(Expired, match="root"):
        verify(folder, root, now=soon)


def resign(tiny: TinyRelease, folder: Path, document: object) -> None:
    data = json.dumps(document).encode()
    (folder / "statement.json").write_bytes(data)
    (folder / "provenance.dsse.json").write_bytes(sign_statement(data, load_signers(tiny.home, PASSPHRASE)))


def test_a_signed_lie_about_the_shards_is_a_format_error(tiny, folder):
    good = json.loads((folder / "statement.json").read_text())
    for count in (4, 6):
        document = copy.deepcopy(good)
        document["predicate"]["stimuli"] = document["predicate"]["shards"][SHARD] = count
        resign(tiny, folder, document)
        with pytest.raises(FormatError):
            verify(folder, tiny.root)
    document = copy.deepcopy(good)
    document["predicate"]["windowSpec"]["clip"] = 0.5
    resign(tiny, folder, document)
    with pytest.raises(FormatError, match="outside"):
        verify(folder, tiny.root)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutations_of_the_signed_files_raise_our_errors_only(tiny, folder, data):
    name = data.draw(st.sampled_from(["provenance.dsse.json", "statement.json", "payload"]))
    for path in tiny.folder.iterdir():
        shutil.copyfile(path, folder / path.name)
    raw = bytearray((folder / ("statement.json" if name == "payload" else name)).read_bytes())
    start = data.draw(st.integers(0, len(raw)))
    raw[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=10))
    if name == "payload":
        (folder / "statement.json").write_bytes(raw)
        signed = sign_statement(bytes(raw), load_key_once(tiny))
        (folder / "provenance.dsse.json").write_bytes(signed)
    else:
        (folder / name).write_bytes(raw)
    with contextlib.suppress(StimsetError):
        verify(folder, tiny.root)


_KEYS: dict[Path, object] = {}


def load_key_once(tiny: TinyRelease):
    return _KEYS.setdefault(tiny.home.root, load_signers(tiny.home, PASSPHRASE))


def test_a_file_that_changes_after_verification_is_noticed(tiny, folder):
    release = verify(folder, tiny.root)
    path = folder / SHARD
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ContentMismatch):
        release.stimuli()
    path.write_bytes(data[:-1])
    with pytest.raises(FileTruncated):
        next(release.iter_shards())
    path.unlink()
    with pytest.raises(FileMissing):
        release.stimuli(SHARD)


def test_a_verified_release_is_made_by_verify_alone(tiny, folder):
    release = verify(folder, tiny.root)
    arguments = (folder, release.statement, release.signed_by, release.root_fingerprint, release.valid_until)
    with pytest.raises(TypeError):
        VerifiedRelease(*arguments)
    with pytest.raises(TypeError):
        VerifiedRelease(*arguments, _seal=object())
    with pytest.raises(TypeError):
        type("Mine", (VerifiedRelease,), {})
    with pytest.raises(AttributeError):
        release.folder = Path("/")
    with pytest.raises(AttributeError):
        release.more = 1
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            duplicate(release)


def test_large_releases_are_hashed_in_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("custodian.publish.writing.SHARD_BYTES", 4096 + 2 * 48)
    monkeypatch.setattr("stimset.verifying._WORTH_THREADS", 1)
    tiny = make(tmp_path / "home", shards=(3, 2, 4))
    assert list(tiny.release.statement.predicate.shards.values()) == [2, 2, 2, 2, 1]
    folder = tiny.copy(tmp_path / "copy")
    assert verify(folder, tiny.root).stimuli().values.shape[0] == 9
    path = folder / "stimuli-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FileTruncated, match="00003"):
        verify(folder, tiny.root)
