"""How a partner gets to know a custodian, once, with a telephone call in the middle.

1. ``consumer init`` makes our TLS key, which never leaves, and a certificate request. We send the request, and read out
   the key's fingerprint on the telephone.
2. The custodian answers with a folder: ``client.pem`` (our certificate), ``ca.pem`` (who vouches for its daemon),
   ``root.json`` (whose signatures make a release) and ``custodian.toml`` (name and address). It reads out the
   fingerprint of ``root.json``.
3. `trust` compares, and keeps the files under ``HOME/custodians/NAME``. The fingerprint that was heard is the one
   thing that is believed; everything later is checked against it.

Before our certificate ends, the custodian sends another such folder, for the same key; or `request_renewal` makes another key first.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from consumer.config import Home
from stimset.errors import ConfigError, FormatError
from stimset.roots import TrustedRoot, normal_fingerprint

KEY_FILE = "client.key"
REQUEST_FILE = "client.csr"
NEXT_KEY_FILE = "next.key"
NEXT_REQUEST_FILE = "next.csr"
CERTIFICATE_FILE = "client.pem"
AUTHORITY_FILE = "ca.pem"
ROOT_FILE = "root.json"
CUSTODIAN_FILE = "custodian.toml"
KEPT = ("channel", "seen.json", "withdrawn.json", "witness.json", "witness.conflict.json")  # by consumer.channel, consumer.witness
PARTNER_URI = "stimset:partner:"
MAX_FILE_BYTES = 1 << 20
MAX_NAME = 80
_SHORT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}\Z")


@dataclass(frozen=True)
class Custodian:
    """A custodian that we trust.

    Attributes:
        short_name: its folder's name under ``HOME/custodians``.
        name: the organisation's name, as it wrote it itself.
        address: host and port of its daemon.
        fingerprint: SHA-256 (hex) of its ``root.json``, as heard out of band.
        folder: where its files lie.
        partner: the name under which it knows us.
        expires: when our certificate ends, UTC.
    """

    short_name: str
    name: str
    address: str
    fingerprint: str
    folder: Path
    partner: str
    expires: datetime

    @property
    def root_file(self) -> Path:
        """The pinned root."""
        return self.folder / ROOT_FILE


def create_home(home: Home, organisation: str) -> str:
    """Make the home with our key and certificate request; answers with the key's fingerprint.

    Raises:
        ConfigError: the folder is in use already, or the name is empty or too long.
    """
    if not 0 < len(organisation.strip()) <= MAX_NAME or not organisation.isprintable():
        raise ConfigError(f"the organisation's name must have 1 to {MAX_NAME} printable characters")
    if home.root.exists() and (not home.root.is_dir() or any(home.root.iterdir())):
        raise ConfigError(f"{home.root} exists and is not empty; choose another --home")
    for folder in (home.root, home.tls, home.custodians, home.releases, home.students):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    fingerprint = _new_key(home.tls / KEY_FILE, home.tls / REQUEST_FILE, organisation.strip())
    _write(home.settings_file, f"name = {_toml(organisation.strip())}\n".encode())
    return fingerprint


def request_renewal(home: Home, custodian: Custodian) -> tuple[Path, str]:
    """Make another key for this custodian, and the request to send it; the present one stays in use until `trust` sees its certificate.

    Returns:
        The request's file, and the new key's fingerprint to read out. A second time, those that wait already.
    """
    key, request = custodian.folder / NEXT_KEY_FILE, custodian.folder / NEXT_REQUEST_FILE
    if key.is_file() and request.is_file():
        return request, fingerprint_of_key(_load_key(key).public_key())
    return request, _new_key(key, request, custodian.partner)


def key_file(home: Home, folder: Path) -> Path:
    """Our TLS key for the custodian of this folder: one of its own where the key was ever changed, else the home's."""
    own = folder / KEY_FILE
    return own if own.is_file() else home.tls / KEY_FILE


def _new_key(key_path: Path, request_path: Path, organisation: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key_path, private)
    _write(request_path, request.public_bytes(serialization.Encoding.PEM))
    return fingerprint_of_key(key.public_key())


def our_fingerprint(home: Home) -> str:
    """The fingerprint of our key, to read out to a custodian.

    Raises:
        ConfigError: the key is missing or damaged.
    """
    return fingerprint_of_key(_load_key(home.tls / KEY_FILE).public_key())


def fingerprint_of_key(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 (hex) of the DER SubjectPublicKeyInfo: ``openssl pkey -pubout -outform der | sha256sum``."""
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def trust(
    home: Home, folder: Path, fingerprint: str, *, short_name: str | None = None, address: str | None = None
) -> Custodian:
    """Trust the custodian whose enrolment folder this is, if its root has the fingerprint that was heard.

    A custodian that is trusted already gets its new certificate and address; its pinned root can't be changed this way.

    Raises:
        ContentMismatch: ``root.json`` has another fingerprint.
        SignatureInvalid: it is not signed as it demands itself.
        FormatError: a file of the folder is malformed, or the certificate is not for our key.
        ConfigError: a file is missing, the certificate is out of date, or another root is pinned under this name.
    """
    root = _read(folder / ROOT_FILE)
    heard = TrustedRoot.from_bytes(root, fingerprint).fingerprint
    settings = _settings(_read(folder / CUSTODIAN_FILE))
    name, chosen_address = settings["name"], address or settings["address"]
    if not _ADDRESS.match(chosen_address):
        raise FormatError(f"'{chosen_address[:80]}' is no address; HOST:PORT is expected")
    certificate, authority = _read(folder / CERTIFICATE_FILE), _read(folder / AUTHORITY_FILE)
    short = short_name or _shorten(name)
    if not _SHORT_NAME.match(short):
        raise ConfigError("the custodian needs a short name of lower-case letters, digits and hyphens; give it by --as")
    target = home.custodians / short
    if target.exists() and load(target).fingerprint != heard:
        raise ConfigError(
            f"another root is pinned for '{short}'; give another --as, or remove {target} if the custodian told you to"
        )
    key = _check_certificate(home, target, certificate, authority)
    _partner(_certificate(certificate, CERTIFICATE_FILE), settings)
    partial = home.custodians / f".adding-{short}-{secrets.token_hex(4)}"
    partial.mkdir(mode=0o700, parents=True)
    try:
        told = {"name": name, "address": chosen_address, "fingerprint": heard, "partner": settings.get("partner", "")}
        document = "".join(f"{field} = {_toml(value)}\n" for field, value in told.items() if value)
        for file, data in (
            (ROOT_FILE, root),
            (CERTIFICATE_FILE, certificate),
            (AUTHORITY_FILE, authority),
            (CUSTODIAN_FILE, document.encode()),
        ):
            _write(partial / file, data)
        if key.parent != home.tls:
            _write(partial / KEY_FILE, _read(key))
        if target.exists():
            waiting = () if key.name == NEXT_KEY_FILE else (NEXT_KEY_FILE, NEXT_REQUEST_FILE)
            for name in (*KEPT, *waiting):  # what was learned since must not be forgotten: it is what a rollback would need
                if (kept := target / name).is_dir():
                    shutil.copytree(kept, partial / name, symlinks=True)
                elif kept.is_file():
                    shutil.copy2(kept, partial / name)
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load(target)


def load(folder: Path) -> Custodian:
    """Read one trusted custodian.

    Raises:
        ConfigError: a file is missing.
        FormatError: a file is malformed.
    """
    settings = _settings(_read(folder / CUSTODIAN_FILE))
    if "fingerprint" not in settings:
        raise FormatError(f"{folder / CUSTODIAN_FILE}: 'fingerprint' is missing; run 'consumer trust add' again")
    certificate = _certificate(_read(folder / CERTIFICATE_FILE), CERTIFICATE_FILE)
    return Custodian(
        short_name=folder.name,
        name=settings["name"],
        address=settings["address"],
        fingerprint=normal_fingerprint(settings["fingerprint"]),
        folder=folder,
        partner=_partner(certificate, settings),
        expires=certificate.not_valid_after_utc,
    )


def trusted(home: Home) -> tuple[Custodian, ...]:
    """Every custodian that we trust, by short name.

    Raises:
        ConfigError, FormatError: as `load`.
    """
    if not home.custodians.is_dir():
        return ()
    folders = sorted(f for f in home.custodians.iterdir() if f.is_dir() and not f.name.startswith("."))
    return tuple(load(folder) for folder in folders)


def find(home: Home, short_name: str | None) -> Custodian:
    """The custodian of this short name; without a name, the only one.

    Raises:
        ConfigError: there is none, or several and no name was given.
    """
    known = trusted(home)
    chosen = [c for c in known if short_name in (None, c.short_name)]
    if len(chosen) == 1:
        return chosen[0]
    if not known:
        raise ConfigError("no custodian is trusted yet; 'consumer trust add FOLDER --fingerprint HEX' adds one")
    names = ", ".join(c.short_name for c in known)
    raise ConfigError(f"say which custodian by --custodian: {names}")


def _check_certificate(home: Home, target: Path, certificate: bytes, authority: bytes) -> Path:
    """Which of our keys the certificate is for."""
    ours, issuer = _certificate(certificate, CERTIFICATE_FILE), _certificate(authority, AUTHORITY_FILE)
    keys = [path for path in (target / NEXT_KEY_FILE, target / KEY_FILE) if path.is_file()] + [home.tls / KEY_FILE]
    key = next((path for path in keys if _load_key(path).public_key() == ours.public_key()), None)
    if key is None:
        raise FormatError(f"{CERTIFICATE_FILE} is not for our key; the custodian must use {home.tls / REQUEST_FILE}")
    if _partner_names(ours):  # else our own authority issued it, and the custodian has pinned it
        try:
            ours.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise FormatError(
                f"{CERTIFICATE_FILE} was not issued by {AUTHORITY_FILE}; ask the custodian again"
            ) from None
    now = datetime.now(UTC)
    if not ours.not_valid_before_utc <= now < ours.not_valid_after_utc:
        raise ConfigError(
            f"our certificate is valid from {ours.not_valid_before_utc:%F} to {ours.not_valid_after_utc:%F}, not now;"
            " check the clock, or ask the custodian for a new one"
        )
    return key


def _partner(certificate: x509.Certificate, settings: dict[str, str]) -> str:
    """Our name with the custodian: from the certificate that it issued, or beside the one that it pinned."""
    names = _partner_names(certificate) or [settings.get("partner", "")]
    if len(names) != 1 or not _SHORT_NAME.match(names[0]):
        raise FormatError(f"{CERTIFICATE_FILE} carries no partner name; ask the custodian for a new one")
    return names[0]


def _partner_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return [uri.removeprefix(PARTNER_URI) for uri in uris if uri.startswith(PARTNER_URI)]


def _certificate(data: bytes, name: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        raise FormatError(f"{name} is no PEM certificate; ask the custodian again") from None


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} is no private key; restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is no ECDSA key; restore it from a backup")
    return key


def _settings(data: bytes) -> dict[str, str]:
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise FormatError(f"{CUSTODIAN_FILE} is no TOML; ask the custodian again") from None
    for key in ("name", "address"):
        value = document.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= 300 or not value.isprintable():
            raise FormatError(f"{CUSTODIAN_FILE}: '{key}' is missing or malformed; ask the custodian again")
    return {key: value for key, value in document.items() if isinstance(value, str)}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"{path} is larger than {MAX_FILE_BYTES} bytes, which no enrolment file is")
    return data


def _write(path: Path, data: bytes) -> None:
    """Only our owner reads it; it is there as a whole or not at all."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _shorten(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, as long as nothing above U+FFFF is escaped."""
    return json.dumps(text, ensure_ascii=False)
