"""The channel's metadata: which releases stand now, signed so that no old answer can be passed off as a new one.

A TUF repository (https://theupdateframework.github.io/specification/) whose targets are the statements of the releases that
stand. A release that is no longer among them is withdrawn. A target's name is its own digest, so a partner learns how many
releases there are, and nothing of those that it may not see.

::

    HOME/channel/1.root.json       the root, as partners pinned it
    HOME/channel/N.targets.json    signed by builder and officer, as every release is; lives 30 days
    HOME/channel/N.snapshot.json   which targets are the newest; signed by the daemon's key
    HOME/channel/timestamp.json    which snapshot is the newest; signed by the daemon's key, lives a day

Usage::

    draft = draft_targets(home, now, add=[statement_bytes])
    install_targets(home, sign_metadata(draft, signers), now)
    refresh(home, load_online(home), now)          # the daemon does it every minute
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from custodian.config import Home
from stimset.errors import ConfigError, RollbackRefused, SignatureInvalid
from stimset.release import STATEMENT_FILE
from stimset.roots import S, read_metadata, read_root, tuf_signer
from stimset.signing import Signer

TARGETS_DAYS = 30
SNAPSHOT_DAYS = 7
TIMESTAMP_HOURS = 24
MAX_METADATA_BYTES = 3 << 20
TIMESTAMP_FILE = "timestamp.json"
METADATA_NAME = re.compile(r"timestamp\.json|[1-9][0-9]{0,8}\.(?:root|targets|snapshot)\.json")


def target_name(statement: bytes) -> str:
    """The name under which the channel vouches for a statement: nothing but its digest."""
    return f"{hashlib.sha256(statement).hexdigest()}.json"


def standing(home: Home) -> dict[str, bytes]:
    """Target name -> statement of every release that lies in the home's ``releases``."""
    statements = (path.read_bytes() for path in sorted(home.releases.glob(f"[!.]*/{STATEMENT_FILE}")))
    return {target_name(data): data for data in statements}


def draft_targets(
    home: Home, now: datetime, *, add: Iterable[bytes] = (), remove: Iterable[bytes] = (), days: int = TARGETS_DAYS
) -> bytes:
    """The next targets, unsigned: the releases that lie in the home, those in `add`, without those in `remove`."""
    statements = standing(home) | {target_name(data): data for data in add}
    for data in remove:
        statements.pop(target_name(data), None)
    targets = {name: TargetFile.from_data(name, data, ["sha256"]) for name, data in statements.items()}
    signed = Targets(current_version(home) + 1, expires=_moment(now + timedelta(days=days)), targets=targets)
    return Metadata(signed).to_bytes(JSONSerializer(compact=True))


def current_version(home: Home) -> int:
    """The number of the newest targets; 0 where there are none yet."""
    return max((int(path.name.split(".")[0]) for path in home.channel.glob("*.targets.json")), default=0)


def install_targets(home: Home, data: bytes) -> None:
    """Put signed targets in their place; `refresh` makes them visible.

    Raises:
        SignatureInvalid: not every key of the root's role ``targets`` has signed.
        RollbackRefused: they do not follow the newest that are there.
        FormatError: they are none, or too large.
    """
    metadata = read_metadata(data, Targets)
    if len(data) > MAX_METADATA_BYTES:
        raise ConfigError("the channel holds too many releases; withdraw those that have expired")
    check_targets(read_root(home.root_file), data)
    with _lock(home):
        if metadata.signed.version != current_version(home) + 1:
            raise RollbackRefused(
                f"targets version {metadata.signed.version} do not follow {current_version(home)}; propose again"
            )
        root = read_metadata(read_root(home.root_file), Root)
        _write(home.channel / f"{root.signed.version}.root.json", read_root(home.root_file))
        _write(home.channel / f"{metadata.signed.version}.targets.json", data)


def check_targets(root: bytes, data: bytes) -> Targets:
    """Return when every key that the root demands has signed the targets.

    Raises:
        SignatureInvalid: one has not.
        FormatError: they are none.
    """
    metadata = read_metadata(data, Targets)
    try:
        read_metadata(root, Root).signed.verify_delegate(Targets.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError:
        raise SignatureInvalid("the channel's targets are not signed by everybody who must; get them signed") from None
    return metadata.signed


def refresh(home: Home, online: Signer, now: datetime | None = None) -> bool:
    """Sign snapshot and timestamp anew where the targets are newer, or where less than half of a life is left.

    Returns:
        Whether something was signed. Nothing is where the home has no targets yet.
    """
    moment = now or datetime.now(UTC)
    if not (version := current_version(home)):
        return False
    with _lock(home):
        snapshot, timestamp = _newest_snapshot(home), _timestamp(home)
        number = 0 if snapshot is None else snapshot.version
        if snapshot is None or snapshot.meta["targets.json"].version != version or _old(snapshot, moment, SNAPSHOT_DAYS * 24):
            number += 1
            signed = Snapshot(
                number, expires=_moment(moment + timedelta(days=SNAPSHOT_DAYS)), meta={"targets.json": MetaFile(version)}
            )
            _write(home.channel / f"{number}.snapshot.json", _signed(Metadata(signed), online))
        elif timestamp is not None and timestamp.snapshot_meta.version == number and not _old(timestamp, moment, TIMESTAMP_HOURS):
            return False
        beat = Timestamp(
            1 if timestamp is None else timestamp.version + 1,
            expires=_moment(moment + timedelta(hours=TIMESTAMP_HOURS)),
            snapshot_meta=MetaFile(number),
        )
        _write(home.channel / TIMESTAMP_FILE, _signed(Metadata(beat), online))
    return True


def read(home: Home, name: str) -> bytes | None:
    """One metadata file by the name that TUF gives it; None where there is none."""
    if not METADATA_NAME.fullmatch(name):
        return None
    try:
        with (home.channel / name).open("rb") as file:
            return file.read(MAX_METADATA_BYTES)
    except FileNotFoundError:
        return None


def _newest_snapshot(home: Home) -> Snapshot | None:
    paths = sorted(home.channel.glob("*.snapshot.json"), key=lambda path: int(path.name.split(".")[0]))
    return read_metadata(paths[-1].read_bytes(), Snapshot).signed if paths else None


def _timestamp(home: Home) -> Timestamp | None:
    data = read(home, TIMESTAMP_FILE)
    return None if data is None else read_metadata(data, Timestamp).signed


def _old(signed: Snapshot | Timestamp, now: datetime, hours: float) -> bool:
    return signed.expires.replace(tzinfo=UTC) - now < timedelta(hours=hours / 2)


def _signed(metadata: Metadata[S], online: Signer) -> bytes:
    metadata.sign(tuf_signer(online))
    return metadata.to_bytes(JSONSerializer(compact=True))


def _moment(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """Command line and daemon write in turn."""
    home.channel.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home.channel / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
