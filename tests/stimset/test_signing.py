"""Keys on disk and signatures."""

from __future__ import annotations

import hashlib
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from stimset.envelope import parse_envelope
from stimset.errors import ConfigError, FormatError, SignatureInvalid
from stimset.signing import MLDSA65, PublicKey, add_signatures, generate_key, load_key, save_key, sign_statement

PASSPHRASE = "correct horse"


def test_a_key_survives_the_disk(tmp_path):
    signer, path = generate_key(), tmp_path / "key.pem"
    save_key(signer, path, PASSPHRASE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    loaded = load_key(path, PASSPHRASE)
    assert loaded.keyid == signer.keyid == hashlib.sha256(signer.public.raw).hexdigest()
    loaded.public.verify(signer.sign(b"x"), b"x")
    assert PASSPHRASE not in repr(loaded)


def test_openssl_reads_the_key(tmp_path):
    signer, path = generate_key(), tmp_path / "key.pem"
    save_key(signer, path, PASSPHRASE)
    public = subprocess.run(
        ["openssl", "pkey", "-in", path, "-passin", f"pass:{PASSPHRASE}", "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    ).stdout
    assert public[-32:] == signer.public.raw


def test_an_existing_key_is_never_replaced(tmp_path):
    path = tmp_path / "key.pem"
    save_key(generate_key(), path, PASSPHRASE)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        save_key(generate_key(), path, PASSPHRASE)
    assert path.read_bytes() == before


@pytest.mark.parametrize("passphrase", ["", "short"])
def test_short_passphrases_are_refused(tmp_path, passphrase):
    with pytest.raises(ConfigError, match="at least"):
        save_key(generate_key(), tmp_path / "key.pem", passphrase)
    assert not (tmp_path / "key.pem").exists()


def test_keys_that_cannot_be_used(tmp_path):
    path = tmp_path / "key.pem"
    with pytest.raises(ConfigError, match="can't be read"):
        load_key(path, PASSPHRASE)
    save_key(generate_key(), path, PASSPHRASE)
    with pytest.raises(ConfigError, match="passphrase is wrong") as caught:
        load_key(path, "another passphrase")
    assert "another passphrase" not in str(caught.value)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key(path, PASSPHRASE)
    path.chmod(0o600)
    path.write_bytes(b"junk")
    with pytest.raises(ConfigError, match="damaged"):
        load_key(path, PASSPHRASE)
    path.write_bytes(generate_key().private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="not encrypted"):
        load_key(path, PASSPHRASE)
    other = generate_private_key(SECP256R1())
    path.write_bytes(
        other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode()))
    )
    with pytest.raises(ConfigError, match="no Ed25519 or ML-DSA"):
        load_key(path, PASSPHRASE)


def test_a_signature_holds_for_its_bytes_and_key_only():
    signer, other = generate_key(), generate_key()
    signature = signer.sign(b"message")
    signer.public.verify(signature, b"message")
    for key, value, data in (
        (signer.public, signature, b"messagf"),
        (other.public, signature, b"message"),
        (signer.public, signature[:-1], b"message"),
        (signer.public, signature + b"\0", b"message"),
        (signer.public, bytes(64), b"message"),
        (PublicKey("ed25519", b"\xff" * 32), signature, b"message"),
    ):
        with pytest.raises(SignatureInvalid):
            key.verify(value, data)


@pytest.mark.parametrize(
    ("algorithm", "raw"), [("ml-dsa-44/1", b"x" * 1312), ("ml-dsa-65/1", b"x" * 1951), ("ed25519", b"x" * 31), ("", b"")]
)
def test_unknown_algorithms_and_lengths(algorithm, raw):
    with pytest.raises(FormatError):
        PublicKey(algorithm, raw)


def test_an_envelope_carries_every_signature():
    signers = [generate_key(), generate_key()]
    envelope = parse_envelope(sign_statement(b"{}", signers))
    keys = {s.keyid: s.public for s in signers}
    assert {s.keyid for s in envelope.signatures} == set(keys)
    for signature in envelope.signatures:
        keys[signature.keyid].verify(signature.value, envelope.pae())


def test_signers_must_be_given_and_different():
    signer = generate_key()
    for signers in ([], [signer, signer]):
        with pytest.raises(ConfigError):
            sign_statement(b"{}", signers)
    with pytest.raises(FormatError):
        sign_statement(b" " * (5 << 20), [signer])


def test_an_mldsa_key_survives_the_disk_and_signs(tmp_path):
    signer, path = generate_key(MLDSA65), tmp_path / "key.pem"
    save_key(signer, path, PASSPHRASE)
    loaded = load_key(path, PASSPHRASE)
    assert loaded.keyid == signer.keyid == hashlib.sha256(signer.public.raw).hexdigest()
    signature = loaded.sign(b"message")
    assert len(signature) == 3309
    signer.public.verify(signature, b"message")
    for value, data in ((signature, b"messagf"), (signature[:-1], b"message"), (bytes(3309), b"message")):
        with pytest.raises(SignatureInvalid):
            signer.public.verify(value, data)
    with pytest.raises(ConfigError):
        generate_key("rsa")


def test_a_key_without_passphrase_is_opened_without_one(tmp_path):
    save_key(generate_key(), tmp_path / "online.pem", None)
    load_key(tmp_path / "online.pem", None)
    save_key(generate_key(), tmp_path / "builder.pem", PASSPHRASE)
    with pytest.raises(ConfigError, match="is encrypted"):
        load_key(tmp_path / "builder.pem", None)


def test_a_second_person_adds_signatures():
    builder, officer = generate_key(), generate_key(MLDSA65)
    first = sign_statement(b"{}", [builder])
    both = add_signatures(first, [officer])
    assert parse_envelope(both).payload == b"{}"
    assert {s.keyid for s in parse_envelope(both).signatures} == {builder.keyid, officer.keyid}
    for signers in ([], [builder], [officer, officer]):
        with pytest.raises(ConfigError):
            add_signatures(first, signers)
