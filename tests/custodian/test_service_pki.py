"""The certificate authority; openssl is the second opinion."""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import wire_world
from custodian.service import pki
from stimset.errors import ConfigError, FormatError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tls")
    pki.create_authority(made, "Test Hospital")
    pki.issue_server(made, ("localhost", "127.0.0.1", "::1", "stimuli.example"))
    return made


def request_of(key, algorithm=hashes.SHA256(), names=()):  # noqa: B008
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def openssl_verifies(folder, path, purpose):
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", folder / "ca.pem", path]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_only_the_owner_reads_the_files(folder):
    assert {stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()} == {0o600}


def test_openssl_accepts_each_certificate_for_its_purpose_only(folder, tmp_path):
    authority = pki.load_authority(folder)
    client = tmp_path / "client.pem"
    request = pki.read_request(request_of(wire_world.new_key()))
    client.write_bytes(pki.pem(pki.issue_client(authority, request, "acme")))
    assert openssl_verifies(folder, folder / "server.pem", "sslserver")
    assert not openssl_verifies(folder, folder / "server.pem", "sslclient")
    assert openssl_verifies(folder, client, "sslclient")
    assert not openssl_verifies(folder, client, "sslserver")


def test_the_keys_fingerprint_is_the_one_that_openssl_computes(tmp_path):
    key = wire_world.new_key()
    (tmp_path / "k.pem").write_bytes(wire_world.key_pem(key))
    der = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "k.pem", "-pubout", "-outform", "der"], capture_output=True, check=True
    ).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True, check=True).stdout
    assert pki.read_request(request_of(key)).fingerprint == digest.split()[0].decode()


def test_what_a_request_asks_for_is_ignored(folder):
    wanted = [x509.UniformResourceIdentifier("stimset:partner:other"), x509.DNSName("localhost")]
    request = pki.read_request(request_of(wire_world.new_key(), names=wanted))
    issued = pki.issue_client(pki.load_authority(folder), request, "acme")
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("stimset:partner:acme")]
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def _tampered():
    good = request_of(wire_world.new_key())
    der = bytearray(x509.load_pem_x509_csr(good).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    try:
        return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    except ValueError:
        return b"broken"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        request_of(wire_world.new_key())[:200],
        b"x" * (pki.MAX_REQUEST_BYTES + 1),
        request_of(rsa.generate_private_key(65537, 2048)),
        request_of(ed25519.Ed25519PrivateKey.generate(), None),
        request_of(ec.generate_private_key(ec.SECP384R1())),
        _tampered(),
    ],
    ids=["empty", "garbage", "truncated", "large", "rsa", "ed25519", "p384", "signature"],
)
def test_requests_that_are_refused(data):
    with pytest.raises(FormatError) as caught:
        pki.read_request(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Acme", "a b", "-acme", "acme-", "a" * 64, "../acme", "acme\n"])
def test_partner_names_that_are_refused(folder, name):
    request = pki.read_request(request_of(wire_world.new_key()))
    with pytest.raises(ConfigError, match="partner's name"):
        pki.issue_client(pki.load_authority(folder), request, name)


def test_the_servers_certificate_is_renewed_when_its_names_change_or_its_end_is_near(folder):
    names = ("localhost", "127.0.0.1", "::1", "stimuli.example")
    before = pki.load_certificate(folder / "server.pem")
    assert pki.ensure_server(folder, names) == before
    assert pki.ensure_server(folder, (*names, "new.example")) != before
    authority = pki.load_authority(folder)
    key = wire_world.new_key()
    ends = datetime.now(UTC) + timedelta(days=pki.RENEW_DAYS - 1)
    old = wire_world.certificate(authority, key, ends=ends)
    (folder / "server.pem").write_bytes(pki.pem(old))
    renewed = pki.ensure_server(folder, names)
    assert renewed.not_valid_after_utc - datetime.now(UTC) > timedelta(days=300)


def test_host_names_that_are_refused(folder):
    for names in ((), ("a b",), ("",), ("https://x",)):
        with pytest.raises(ConfigError):
            pki.issue_server(folder, names)


def test_an_authority_is_never_replaced_and_a_mixed_one_is_noticed(folder, tmp_path):
    with pytest.raises(ConfigError, match="already"):
        pki.create_authority(folder, "Again")
    pki.create_authority(tmp_path, "Other")
    (tmp_path / "ca.pem").write_bytes((folder / "ca.pem").read_bytes())
    with pytest.raises(ConfigError, match="belong together"):
        pki.load_authority(tmp_path)
