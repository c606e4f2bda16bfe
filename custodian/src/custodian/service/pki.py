"""The custodian's private certificate authority for mutual TLS. It has nothing to do with the keys that sign releases.

All keys are ECDSA P-256, since gRPC's TLS refuses Ed25519 certificates. Files, all in ``HOME/tls``::

    ca.key      ca.pem         the authority: signs the two kinds below, nothing further down (path length 0)
    server.key  server.pem     the daemon's, for the host names of custodian.toml

A partner is known by the SHA-256 of its certificate and the URI name ``stimset:partner:NAME``, never by a common name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from custodian.config import write_secret
from custodian.state.database import check_name
from stimset.errors import ConfigError, FormatError

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
CLIENT_DAYS = 397
RENEW_DAYS = 30
PARTNER_URI = "stimset:partner:"
MAX_REQUEST_BYTES = 16 << 10
# A partner's clock may run behind ours; a certificate that is not valid yet is a puzzling error.
SKEW = timedelta(minutes=10)
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Authority:
    """The authority's key and certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


@dataclass(frozen=True)
class Request:
    """What is used of a certificate request: its public key, and nothing it says of itself.

    Attributes:
        public_key: P-256; the request proved that its sender has the private key.
        fingerprint: SHA-256 of the public key (DER SubjectPublicKeyInfo) in hex, to be compared by telephone.
    """

    public_key: ec.EllipticCurvePublicKey
    fingerprint: str


def create_authority(folder: Path, organisation: str) -> Authority:
    """Make the authority's key and certificate in `folder`.

    Raises:
        ConfigError: there is one already.
    """
    if (folder / "ca.key").exists():
        raise ConfigError(f"{folder} holds a certificate authority already")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, "Stimset partner authority"),
        ]
    )
    public = key.public_key()
    certificate = (
        _builder(name, name, public, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder, "ca", key, certificate)
    return Authority(key, certificate)


def load_authority(folder: Path) -> Authority:
    """Read the authority back.

    Raises:
        ConfigError: a file is missing, unreadable, or the two don't belong together.
    """
    certificate = load_certificate(folder / "ca.pem")
    key = _load_key(folder / "ca.key")
    if key.public_key() != certificate.public_key():
        raise ConfigError(f"{folder}: ca.key and ca.pem don't belong together; restore both from one backup")
    return Authority(key, certificate)


def load_certificate(path: Path) -> x509.Certificate:
    """Read one PEM certificate.

    Raises:
        ConfigError: it is missing or malformed.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; 'custodian init' makes it") from None
    except ValueError:
        raise ConfigError(f"{path} is no PEM certificate; restore it from a backup") from None


def issue_server(folder: Path, hostnames: Sequence[str]) -> x509.Certificate:
    """Make the daemon's key and certificate in `folder`, valid for `hostnames` (names or IP addresses).

    Raises:
        ConfigError: there is no authority, or a host name is malformed.
    """
    authority = load_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Stimset release service")])
    certificate = (
        _leaf(authority, subject, key.public_key(), SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH)
        .add_extension(x509.SubjectAlternativeName(_names(hostnames)), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    _write(folder, "server", key, certificate)
    return certificate


def ensure_server(folder: Path, hostnames: Sequence[str]) -> x509.Certificate:
    """The daemon's certificate; a new one where it is missing, ends within 30 days, or names other hosts.

    Raises:
        ConfigError: there is no authority, or a host name is malformed.
    """
    if (folder / "server.pem").exists() and (folder / "server.key").exists():
        certificate = load_certificate(folder / "server.pem")
        fresh = certificate.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_DAYS)
        if fresh and names_of(certificate, hostnames):
            return certificate
    return issue_server(folder, hostnames)


def names_of(certificate: x509.Certificate, hostnames: Sequence[str]) -> bool:
    """Whether a server's certificate is for exactly these hosts; raises ConfigError where one is malformed."""
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == _names(hostnames)


def read_request(data: bytes) -> Request:
    """Read a partner's PEM certificate request.

    Raises:
        FormatError: it is too large, malformed, not P-256, or not signed by its own key.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise FormatError(f"the request is larger than {MAX_REQUEST_BYTES} bytes; 'consumer init' makes a proper one")
    try:
        request = x509.load_pem_x509_csr(data)
        public_key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        raise FormatError("that is no PEM certificate request; 'consumer init' makes one") from None
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
        raise FormatError("the certificate request's key is not ECDSA P-256; 'consumer init' makes a proper one")
    if not signed:
        raise FormatError("the certificate request is not signed by its own key; ask the partner to send it again")
    return Request(public_key, key_fingerprint(public_key))


def issue_client(authority: Authority, request: Request, partner: str, days: int = CLIENT_DAYS) -> x509.Certificate:
    """Certify a partner's key under our own name for the partner; whatever the request asked for is ignored.

    Raises:
        ConfigError: the name is malformed, or `days` is not 1 to 825.
    """
    check_name(partner)
    if not 1 <= days <= 825:
        raise ConfigError(f"a partner's certificate is valid for 1 to 825 days, not {days}")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, partner)])
    uri = x509.UniformResourceIdentifier(PARTNER_URI + partner)
    return (
        _leaf(authority, subject, request.public_key, days, ExtendedKeyUsageOID.CLIENT_AUTH)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def read_pinned(data: bytes) -> tuple[x509.Certificate, str]:
    """Read a certificate that a partner's own authority issued: to be pinned as it is.

    Returns:
        The certificate, and its key's fingerprint.

    Raises:
        FormatError: it is malformed, an authority's own, not for clients, not ECDSA, or carries a name that only we give.
        ConfigError: it is not valid now.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise FormatError(f"the certificate is larger than {MAX_REQUEST_BYTES} bytes; one PEM certificate is expected")
    try:
        (certificate,) = x509.load_pem_x509_certificates(data)
        key = certificate.public_key()
        extensions = {extension.oid: extension.value for extension in certificate.extensions}
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise FormatError("that is not one PEM certificate; ask the partner for its client certificate") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise FormatError("the certificate's key is not ECDSA, which gRPC needs; ask the partner for another one")
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise FormatError("that is an authority's certificate: pinning it would let in all that it issues; pin the client's")
    usage = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if not isinstance(usage, x509.ExtendedKeyUsage) or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise FormatError("the certificate is not for TLS clients (extended key usage clientAuth); ask for one that is")
    if partner_names(certificate):
        raise FormatError(f"the certificate carries a name '{PARTNER_URI}...', which only our own authority gives")
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise ConfigError(
            f"the certificate is valid from {certificate.not_valid_before_utc:%F} to {certificate.not_valid_after_utc:%F}, not now"
        )
    return certificate, key_fingerprint(key)


def partner_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The partners' names that a certificate carries: one where we issued it, none where it is pinned."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return tuple(uri.removeprefix(PARTNER_URI) for uri in uris if uri.startswith(PARTNER_URI))


def check_pair(key: bytes, chain: bytes, folder: Path) -> None:
    """Return if a key and a certificate, both in PEM, belong together.

    Raises:
        ConfigError: they don't, or one is malformed. For a moment that is so while they are being replaced.
    """
    try:
        private = serialization.load_pem_private_key(key, password=None)
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{folder}: server.key or server.pem is malformed; restore both from one backup") from None
    if private.public_key() != leaf.public_key():
        raise ConfigError(f"{folder}: server.key and server.pem don't belong together; replace both")


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 (hex) of the key's DER SubjectPublicKeyInfo."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _leaf(
    authority: Authority, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, purpose: x509.ObjectIdentifier
) -> x509.CertificateBuilder:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return (
        _builder(subject, authority.certificate.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names(hostnames: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hostnames:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            if not _HOST.match(host):
                raise ConfigError(f"'{host[:80]}' is no host name and no IP address; correct 'hostnames'") from None
            names.append(x509.DNSName(host))
    if not names:
        raise ConfigError("at least one host name is needed; set 'hostnames' in custodian.toml")
    return names


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(folder / f"{name}.key", private)
    write_secret(folder / f"{name}.pem", pem(certificate))


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; 'custodian init' makes it") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} is no private key in PEM; restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is no ECDSA key; restore it from a backup")
    return key
