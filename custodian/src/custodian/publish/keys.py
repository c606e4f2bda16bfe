"""The custodian's signing keys, and the root whose digest partners pin.

::

    HOME/keys/builder.pem           sign releases and the root, together (Ed25519, ML-DSA-65; encrypted PKCS#8, mode 0600)
    HOME/keys/builder-ml-dsa.pem
    HOME/keys/online.pem            TUF's roles snapshot and timestamp; the daemon's
    HOME/root.json                  TUF root metadata: which keys count, and how many of them must sign

The second person's keys lie in a home of their own (`custodian.publish.officer`).

Usage::

    fingerprint = create_keys(home, passphrase())
    publish(admitted, home, load_signers(home, passphrase()), name="apnea")
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Root

from custodian.config import Home
from stimset.errors import ConfigError, ContentMismatch
from stimset.roots import (
    TrustedRoot,
    draft_root,
    fingerprint_of,
    make_root,
    read_metadata,
    read_root,
    sign_metadata,
)
from stimset.signing import ED25519, MLDSA65, KeySigner, PublicKey, Signer, generate_key, load_key, save_key
from stimset.tokens import TokenSigner

PASSPHRASE_VARIABLE = "CUSTODIAN_PASSPHRASE"  # noqa: S105 - a variable's name
PASSPHRASE_FILE_VARIABLE = "CUSTODIAN_PASSPHRASE_FILE"  # noqa: S105
PIN_VARIABLE, PIN_FILE_VARIABLE = "CUSTODIAN_PIN", "CUSTODIAN_PIN_FILE"
BACKUP_VARIABLE, BACKUP_FILE_VARIABLE = "CUSTODIAN_BACKUP_PASSPHRASE", "CUSTODIAN_BACKUP_PASSPHRASE_FILE"
TOKEN_SUFFIX = ".pkcs11.toml"  # noqa: S105 - a file name's end
BUILDER = "builder"
BUILDER_FILE = f"{BUILDER}.pem"
ROOT_PROPOSAL_FILE = "root.proposal.json"
ONLINE_FILE = "online.pem"
ROOT_VALID_DAYS = 365


def passphrase() -> str:
    """The passphrase of the signing keys: from ``CUSTODIAN_PASSPHRASE``, or from the file that
    ``CUSTODIAN_PASSPHRASE_FILE`` names.

    Line breaks at the end of the file do not belong to it. It is never logged and never part of an error.

    Raises:
        ConfigError: neither or both are set, the file can't be read, or the passphrase is empty.
    """
    return _secret(PASSPHRASE_VARIABLE, PASSPHRASE_FILE_VARIABLE, "the signing keys' passphrase")


def pin() -> str:
    """The PIN of a PKCS#11 token: from ``CUSTODIAN_PIN``, or from the file that ``CUSTODIAN_PIN_FILE`` names.

    Raises:
        ConfigError: as `passphrase`.
    """
    return _secret(PIN_VARIABLE, PIN_FILE_VARIABLE, "the token's PIN")


def _secret(variable: str, file_variable: str, what: str) -> str:
    direct, file = os.environ.get(variable, ""), os.environ.get(file_variable, "")
    if bool(direct) == bool(file):
        raise ConfigError(
            f"{what} is needed: set {variable}, or set {file_variable} to a file that holds it (not both)"
        )
    if direct:
        return direct
    try:
        with Path(file).open(encoding="utf-8") as source:
            text = source.read(4096).rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{file_variable} names a file that can't be read as text: {file}") from None
    if not text:
        raise ConfigError(f"{file_variable} names an empty file: {file}")
    return text


def create_keys(home: Home, passphrase: str, *, now: datetime | None = None, valid_days: int = ROOT_VALID_DAYS) -> str:
    """Make the builder's and the online key, and a root that the builder alone holds: one person signs.

    What an interrupted call left is used, nothing is ever replaced.

    Args:
        home: the custodian's home; its ``keys`` folder is made where it is missing.
        passphrase: at least `stimset.signing.MIN_PASSPHRASE` characters; of the builder's keys.
        now: when the root begins to be valid; the clock's where None.
        valid_days: until the root expires.

    Returns:
        The root's fingerprint, which partners must get on another channel than the root itself.

    Raises:
        ConfigError: there is a root already, the passphrase is too short or not that of the keys that are there.
    """
    builder, online = _make_keys(home, passphrase)
    return write_root(home, make_root(builder, online, expires=(now or datetime.now(UTC)) + timedelta(days=valid_days)))


def propose_root(
    home: Home,
    passphrase: str,
    officer: Sequence[PublicKey],
    recovery: Sequence[PublicKey] = (),
    *,
    now: datetime | None = None,
    valid_days: int = ROOT_VALID_DAYS,
) -> Path:
    """Make the same keys, and a root that two people hold; it is no root before the officer has signed it as well.

    Args:
        home, passphrase, now, valid_days: as `create_keys`.
        officer: the second person's keys; every release will need them.
        recovery: keys in a safe, which can stand in for a person's lost ones when a new root is made.

    Returns:
        The proposal's file, which the officer signs and gives back for `install_root`.

    Raises:
        ConfigError: as `create_keys`, or the officer's keys are the builder's.
    """
    builder, online = _make_keys(home, passphrase)
    keys = [*(s.public for s in builder), *officer]
    if len({key.raw for key in (*keys, *recovery, online.public)}) != len(keys) + len(recovery) + 1:
        raise ConfigError("builder, officer, recovery and the daemon must hold different keys; one key stands twice")
    expires = (now or datetime.now(UTC)) + timedelta(days=valid_days)
    draft = draft_root(keys, online.public, expires=expires, recovery=recovery)
    path = home.root / ROOT_PROPOSAL_FILE
    write_whole(path, sign_metadata(draft, builder))
    return path


def install_root(home: Home, data: bytes) -> str:
    """Take the proposed root back, signed by everybody who must; answers with its fingerprint.

    Raises:
        ConfigError: nothing was proposed here, or a root is here already.
        ContentMismatch: it is not the root that was proposed here.
        SignatureInvalid: a signature is missing or wrong.
    """
    proposal = home.root / ROOT_PROPOSAL_FILE
    if not proposal.is_file():
        raise ConfigError("no root was proposed here; 'custodian init --officer FILE' proposes one")
    if read_metadata(data, Root).signed != read_metadata(read_root(proposal), Root).signed:
        raise ContentMismatch("this is not the root that was proposed here; something was changed, compare the words")
    fingerprint = write_root(home, data)
    proposal.unlink()
    return fingerprint


def write_root(home: Home, data: bytes) -> str:
    """Check a complete root and put it in its place.

    Raises:
        ConfigError: there is one already.
        SignatureInvalid, FormatError: it is not complete.
    """
    if home.root_file.exists():
        raise ConfigError(f"{home.root_file} exists already; partners have pinned it, so it is not replaced")
    fingerprint = fingerprint_of(data)
    TrustedRoot.from_bytes(data, fingerprint)
    write_whole(home.root_file, data)
    return fingerprint


def load_signers(home: Home, passphrase: str) -> tuple[Signer, ...]:
    """The builder's keys: Ed25519, and ML-DSA-65 where the home has one (those made by early versions have not).

    Raises:
        ConfigError: one is missing or damaged, or the passphrase is wrong.
    """
    return load_person(home.keys, BUILDER, passphrase)


def load_online(home: Home) -> KeySigner:
    """The key of TUF's roles snapshot and timestamp.

    It signs unattended, so it is kept without passphrase, as the daemon's TLS key is. What it can do alone is little: hold
    back news for as long as the targets are valid. It can't sign a release.

    Raises:
        ConfigError: it is missing or damaged, or encrypted, as early versions made it.
    """
    return load_key(home.credential(home.keys / ONLINE_FILE), None)


def create_online(folder: Path) -> KeySigner:
    """The daemon's key, ``online.pem`` in `folder`; one that is there is used."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _load_or_create(folder / ONLINE_FILE, None, ED25519)


def create_person(folder: Path, name: str, passphrase: str) -> tuple[Signer, ...]:
    """One person's two keys, ``NAME.pem`` and ``NAME-ml-dsa.pem``; those that are there are used.

    Where ``NAME.pkcs11.toml`` lies in the folder, the Ed25519 key is made in the token that it names (`stimset.tokens`).
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = folder / f"{name}{TOKEN_SUFFIX}"
    ed25519: Signer
    if token.exists():
        ed25519 = TokenSigner.open(token, pin(), create=True)
    else:
        ed25519 = _load_or_create(folder / f"{name}.pem", passphrase, ED25519)
    return ed25519, _load_or_create(folder / f"{name}-ml-dsa.pem", passphrase, MLDSA65)


def load_person(folder: Path, name: str, passphrase: str) -> tuple[Signer, ...]:
    """One person's keys, as `create_person` made them.

    Raises:
        ConfigError: one is missing or damaged, or the passphrase is wrong.
    """
    second = folder / f"{name}-ml-dsa.pem"
    token = folder / f"{name}{TOKEN_SUFFIX}"
    first: Signer = TokenSigner.open(token, pin()) if token.exists() else load_key(folder / f"{name}.pem", passphrase)
    return (first, load_key(second, passphrase)) if second.exists() else (first,)


def own_root(home: Home) -> TrustedRoot:
    """The home's own root, as partners see it.

    Raises:
        ConfigError: there is none; ``custodian init`` makes it.
        VerificationError, FormatError: it is damaged.
    """
    if not home.root_file.is_file():
        raise ConfigError(
            f"{home.root_file} is missing; 'custodian init' makes it, or 'custodian root install' when the officer signed"
        )
    data = read_root(home.root_file)
    return TrustedRoot.from_bytes(data, fingerprint_of(data))


def checkpoint_keys(home: Home) -> dict[str, PublicKey]:
    """Every key that may have signed a checkpoint of the log: the online keys of the root and of those before it.

    Raises:
        ConfigError, FormatError, VerificationError: as `own_root`.
    """
    keys = dict(own_root(home).online)
    for path in sorted(home.channel.glob("*.root.json")):
        data = read_root(path)
        keys |= TrustedRoot.from_bytes(data, fingerprint_of(data)).online
    return keys


def backup_passphrase() -> str:
    """The passphrase of a backup's keys: ``CUSTODIAN_BACKUP_PASSPHRASE``, or the file in ``CUSTODIAN_BACKUP_PASSPHRASE_FILE``.

    Raises:
        ConfigError: as `passphrase`.
    """
    return _secret(BACKUP_VARIABLE, BACKUP_FILE_VARIABLE, "the backup's passphrase")


def _make_keys(home: Home, passphrase: str) -> tuple[tuple[Signer, ...], KeySigner]:
    if home.root_file.exists():
        raise ConfigError(f"{home.root_file} exists already; partners have pinned it, so it is not replaced")
    return create_person(home.keys, BUILDER, passphrase), create_online(home.keys)


def _load_or_create(path: Path, passphrase: str | None, algorithm: str) -> KeySigner:
    if path.exists():
        return load_key(path, passphrase)
    signer = generate_key(algorithm)
    save_key(signer, path, passphrase)
    return signer


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: a crash leaves the old one or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
