"""The custodian's signing keys, and the root whose digest partners pin.

::

    HOME/keys/builder.pem    signs releases and the root (Ed25519, encrypted PKCS#8, mode 0600)
    HOME/keys/online.pem     TUF's roles snapshot and timestamp
    HOME/root.json           TUF root metadata: which keys count, and how many of them must sign

Usage::

    fingerprint = create_keys(home, passphrase())
    publish(admitted, home, [load_builder(home, passphrase())], name="apnea")
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from custodian.config import Home
from stimset.errors import ConfigError
from stimset.roots import TrustedRoot, fingerprint_of, make_root, read_root
from stimset.signing import Ed25519Signer, Signer, generate_key, load_key, save_key

PASSPHRASE_VARIABLE = "CUSTODIAN_PASSPHRASE"  # noqa: S105 - a variable's name
PASSPHRASE_FILE_VARIABLE = "CUSTODIAN_PASSPHRASE_FILE"  # noqa: S105
BUILDER_FILE = "builder.pem"
ONLINE_FILE = "online.pem"
ROOT_VALID_DAYS = 365


def passphrase() -> str:
    """The passphrase of the signing keys: from ``CUSTODIAN_PASSPHRASE``, or from the file that
    ``CUSTODIAN_PASSPHRASE_FILE`` names.

    Line breaks at the end of the file do not belong to it. It is never logged and never part of an error.

    Raises:
        ConfigError: neither or both are set, the file can't be read, or the passphrase is empty.
    """
    direct, file = os.environ.get(PASSPHRASE_VARIABLE, ""), os.environ.get(PASSPHRASE_FILE_VARIABLE, "")
    if bool(direct) == bool(file):
        raise ConfigError(
            f"the signing keys' passphrase is needed: set {PASSPHRASE_VARIABLE}, "
            f"or set {PASSPHRASE_FILE_VARIABLE} to a file that holds it (not both)"
        )
    if direct:
        return direct
    try:
        with Path(file).open(encoding="utf-8") as source:
            text = source.read(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{PASSPHRASE_FILE_VARIABLE} names a file that can't be read as text: {file}") from None
    if not text:
        raise ConfigError(f"{PASSPHRASE_FILE_VARIABLE} names an empty file: {file}")
    return text


def create_keys(home: Home, passphrase: str, *, now: datetime | None = None, valid_days: int = ROOT_VALID_DAYS) -> str:
    """Make both keys and the root. What an interrupted call left is used, nothing is ever replaced.

    Args:
        home: the custodian's home; its ``keys`` folder is made where it is missing.
        passphrase: at least `stimset.signing.MIN_PASSPHRASE` characters.
        now: when the root begins to be valid; the clock's where None.
        valid_days: until the root expires.

    Returns:
        The root's fingerprint, which partners must get on another channel than the root itself.

    Raises:
        ConfigError: there is a root already, the passphrase is too short or not that of the keys that are there.
    """
    if home.root_file.exists():
        raise ConfigError(f"{home.root_file} exists already; partners have pinned it, so it is not replaced")
    home.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    builder, online = (_load_or_create(home.keys / name, passphrase) for name in (BUILDER_FILE, ONLINE_FILE))
    data = make_root([builder], online, expires=(now or datetime.now(UTC)) + timedelta(days=valid_days))
    fingerprint = fingerprint_of(data)
    TrustedRoot.from_bytes(data, fingerprint)
    partial = home.root_file.with_name(f".{home.root_file.name}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(home.root_file)
    return fingerprint


def load_builder(home: Home, passphrase: str) -> Signer:
    """The key that signs releases.

    Raises:
        ConfigError: it is missing or damaged, or the passphrase is wrong.
    """
    return load_key(home.keys / BUILDER_FILE, passphrase)


def load_online(home: Home, passphrase: str) -> Ed25519Signer:
    """The key of TUF's roles snapshot and timestamp; raises what `load_builder` raises."""
    return load_key(home.keys / ONLINE_FILE, passphrase)


def own_root(home: Home) -> TrustedRoot:
    """The home's own root, as partners see it.

    Raises:
        ConfigError: there is none; ``custodian init`` makes it.
        VerificationError, FormatError: it is damaged.
    """
    if not home.root_file.is_file():
        raise ConfigError(f"{home.root_file} is missing; 'custodian init' makes the keys and the root")
    data = read_root(home.root_file)
    return TrustedRoot.from_bytes(data, fingerprint_of(data))


def _load_or_create(path: Path, passphrase: str) -> Ed25519Signer:
    if path.exists():
        return load_key(path, passphrase)
    signer = generate_key()
    save_key(signer, path, passphrase)
    return signer
