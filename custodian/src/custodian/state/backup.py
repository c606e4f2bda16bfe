"""A home's backup, taken while the daemon serves, and the way back.

In it: settings, root, channel, releases (withdrawn and proposed ones too), partners, budget, log. With a passphrase also the keys,
sealed by scrypt and ChaCha20-Poly1305. Never in it: recordings, windows, teachers and candidate sets; what holds patients' data has its
own backup.

The order is the consistency: first the log's checkpoint, then the database at one moment, then files. So the log never speaks of a
release that the backup lacks; a release that the log lacks is entered when the daemon starts (`custodian.publish.deciding`).
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from custodian.config import SETTINGS_FILE, Home, write_secret
from custodian.state import archive, copying
from custodian.state.base import stamp
from custodian.state.engine import Database
from custodian.state.log import Entry, append
from stimset.errors import ConfigError, FormatError
from stimset.release import canonical_json
from stimset.strict import Fields, load_json

DATABASE_COPY, SEALED = "state.jsonl", "keys.sealed"
MIN_PASSPHRASE = 12
MAX_SEALED = 16 << 20
_MAGIC = b"stimset keys 1\n"
_FOLDERS = ("channel", "releases", "withdrawn", "proposals", "rejected")
_PRIVATE = (
    "cohort",
    "evaluation",
    "evaluations",
    "teacher",
    "candidates",
    "audits",
    "downloads",
)  # never in a backup; a home that is replaced hands them on
_SALT, _NONCE = 16, 12


@dataclass(frozen=True)
class Restored:
    """What `restore` did.

    Attributes:
        made: when the backup was made, UTC.
        files, rows: how many there were.
        keys: whether it brought the keys.
        replaced: where the old home lies now; None where there was none.
    """

    made: str
    files: int
    rows: int
    keys: bool
    replaced: Path | None


def backup(home: Home, out: Path, *, passphrase: str | None = None) -> int:
    """Write a home's backup; nobody who serves or publishes must stop.

    Args:
        home: the custodian's.
        out: the new file.
        passphrase: of at least `MIN_PASSPHRASE` characters; with it the keys are in the backup, sealed by it.

    Returns:
        How many files it holds.

    Raises:
        ConfigError: the passphrase is too short, `out` exists or can't be written, or a release moved meanwhile.
        TransportError: the database can't be used.
    """
    if passphrase is not None:
        check_passphrase(passphrase)
    database = Database.open(home)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=_folder_of(out)) as scratch:
        staged = Path(scratch)
        if home.checkpoint.is_file():
            shutil.copyfile(home.checkpoint, staged / home.checkpoint.name)
        try:
            copying.dump(database, staged / DATABASE_COPY)
        finally:
            database.close()
        if passphrase is not None:
            (staged / SEALED).write_bytes(_locked(home, passphrase))
        files = [(archive.measure(path.name, path), path) for path in sorted(staged.iterdir())]
        try:
            files += [(archive.measure(str(path.relative_to(home.root)), path), path) for path in _public(home)]
        except FileNotFoundError as error:
            raise ConfigError(
                f"{error.filename} moved away while it was copied; run 'custodian backup' again"
            ) from None
        archive.pack(out, {"made": stamp(datetime.now(UTC)), "keys": "sealed" if passphrase else "none"}, files)
    return len(files)


def restore(home: Home, source: Path, *, passphrase: str | None = None, force: bool = False) -> Restored:
    """Make a home from a backup; it appears as a whole, or not at all. Stop the daemon before.

    Args:
        home: where; it must not exist or be empty, but for `force`.
        source: the backup.
        passphrase: opens the keys in it; None where it holds none, or they are not wanted.
        force: replace the home that is there. It is moved aside, and what the backup lacks is handed on from it: keys, cohort,
            teachers, candidate sets.

    Raises:
        ConfigError: the home or a PostgreSQL database is not empty, the passphrase is wrong, or a file can't be written.
        FormatError, ContentMismatch: the backup is damaged.
    """
    occupied = home.root.exists() and (not home.root.is_dir() or any(home.root.iterdir()))
    if occupied and not force:
        raise ConfigError(f"{home.root} is not empty; a home is not overwritten without --force, which moves it aside")
    staged = Home(_folder_of(home.root) / f".restoring-{home.root.name}-{secrets.token_hex(4)}")
    staged.create()
    try:
        manifest = archive.unpack(source, staged.root)
        if not {SETTINGS_FILE, DATABASE_COPY} <= {member.name for member in manifest.members}:
            raise FormatError(f"{source} lacks settings or database; it is no backup of a custodian's home")
        rows, with_keys = _rebuild(staged, passphrase, force)
        replaced = _exchange(home, staged, occupied, with_keys)
    except BaseException:
        shutil.rmtree(staged.root, ignore_errors=True)
        raise
    return Restored(manifest.facts.get("made", "?"), len(manifest.members), rows, with_keys, replaced)


def check_passphrase(passphrase: str) -> None:
    """Refuse a passphrase that is too short for a file that leaves the machine.

    Raises:
        ConfigError: it is.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise ConfigError(
            f"the backup's passphrase must have at least {MIN_PASSPHRASE} characters: the file may be copied and guessed at"
        )


def _rebuild(staged: Home, passphrase: str | None, force: bool) -> tuple[int, bool]:
    """Keys and database from their forms in the backup; answers with the rows, and whether there were keys."""
    sealed = staged.root / SEALED
    opened = passphrase is not None and sealed.is_file()
    if passphrase is not None:
        if not opened:
            raise ConfigError("the backup holds no keys; leave the passphrase out")
        for name, data in _unseal(sealed.read_bytes(), passphrase).items():
            write_secret(staged.root / name, data)
    sealed.unlink(missing_ok=True)
    copy = staged.root / DATABASE_COPY
    database = Database.unchecked(staged)
    try:
        rows = copying.load(database, copy, replace=force)
        with database.writing() as session:
            append(session, [Entry("restore", records=rows)])
    finally:
        database.close()
    copy.unlink()
    return rows, opened


def _exchange(home: Home, staged: Home, occupied: bool, with_keys: bool) -> Path | None:
    replaced = None
    if occupied:
        replaced = home.root.with_name(
            f"{home.root.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        )
        home.root.rename(replaced)
        for name in _PRIVATE:
            if (replaced / name).exists():
                (replaced / name).rename(staged.root / name)
        if not with_keys:
            for path in _secret(Home(replaced)):
                write_secret(staged.root / path.relative_to(replaced), path.read_bytes())
    elif home.root.exists():
        home.root.rmdir()
    staged.root.rename(home.root)
    return replaced


def _public(home: Home) -> Iterator[Path]:
    """What a backup holds besides the database. The timestamp comes first: whatever it names was there before it."""
    if (first := home.channel / "timestamp.json").is_file():
        yield first
    yield from (
        path for path in (home.settings_file, home.root_file, home.root / "root.proposal.json") if path.is_file()
    )
    yield from sorted(home.tls.glob("[!.]*.pem"))
    for name in _FOLDERS:
        for path in sorted((home.root / name).rglob("*")):
            parts = path.relative_to(home.root).parts
            if (
                path.is_file()
                and path != first
                and not any(part.startswith(".") and part != ".series" for part in parts)
            ):
                yield path


def _secret(home: Home) -> list[Path]:
    """Every private key and secret of the home."""
    return sorted(path for path in (*home.keys.rglob("*"), *home.tls.glob("*.key")) if path.is_file())


def _locked(home: Home, passphrase: str) -> bytes:
    document = {
        str(path.relative_to(home.root)): base64.b64encode(path.read_bytes()).decode() for path in _secret(home)
    }
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    return (
        _MAGIC
        + salt
        + nonce
        + ChaCha20Poly1305(_key(passphrase, salt)).encrypt(nonce, canonical_json(document), _MAGIC)
    )


def _unseal(data: bytes, passphrase: str) -> dict[str, bytes]:
    start = len(_MAGIC)
    if len(data) > MAX_SEALED or not data.startswith(_MAGIC):
        raise FormatError("backup: the keys in it are of another form; a later version may know it")
    salt, nonce, box = (
        data[start : start + _SALT],
        data[start + _SALT : start + _SALT + _NONCE],
        data[start + _SALT + _NONCE :],
    )
    try:
        plain = ChaCha20Poly1305(_key(passphrase, salt)).decrypt(nonce, box, _MAGIC)
    except (InvalidTag, ValueError):
        raise ConfigError("the backup's passphrase is wrong, or the keys in it are damaged") from None
    document = load_json(plain, limit=MAX_SEALED, what="keys")
    fields = Fields(document, "keys", document if isinstance(document, dict) else ())
    if not all(archive.acceptable(name) and name.startswith(("keys/", "tls/")) for name in document):
        raise FormatError("backup: its keys would lie elsewhere than keys do")
    return {name: base64.b64decode(fields.text(name, most=MAX_SEALED)) for name in document}


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << 16, r=8, p=1).derive(passphrase.encode())  # 64 MiB, a third of a second


def _folder_of(path: Path) -> Path:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; make it first")
    return folder
