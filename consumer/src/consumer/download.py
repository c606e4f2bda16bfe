"""From the wire to a verified folder: what is fetched, how far, and when it is believed.

The order is the protection:

1. the envelope, of at most 8 MiB; its signatures are verified over the received bytes before the statement is parsed;
2. each file that the verified statement names, of at most the signed size, against the signed SHA-256;
3. the whole folder, as `stimset.verifying` does for a folder from anywhere;
4. only then the folder gets its name. Until then it is ``.partial-RELEASE_ID`` beside it; a later pull goes on from it.

A file that arrives whole but wrong is deleted and read once more: a poisoned partial does not survive.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial as partial_of
from pathlib import Path
from typing import Protocol

from consumer.arriving import Arrival
from stimset.errors import ConfigError, ContentMismatch, FileTruncated, FormatError, TransportError
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES, STATEMENT_FILE, FileEntry, Statement
from stimset.verifying import TrustedRoot, VerifiedRelease, verify, verify_envelope

RELEASE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}\Z")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\Z")
SPARE_BYTES = 64 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Interrupted(TransportError):
    """The other side is away or broke off; trying again may help."""


class Source(Protocol):
    """Where bytes come from; `consumer.client.Client` is the one over gRPC."""

    def envelope(self, release_id: str) -> bytes:
        """The release's envelope, bounded, not verified."""

    def read(self, release_id: str, name: str, offset: int, limit: int) -> Iterator[bytes | memoryview]:
        """One attempt at a range of a file. Raises `Interrupted` when it breaks off."""


class OnProgress(Protocol):
    """Is told how far a pull is."""

    def __call__(self, done: int, total: int, file: str) -> None:
        """`done` of `total` bytes are here; `file` is being fetched."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to go on.

    Attributes:
        attempts: reads in a row without progress.
        short_attempts: for a short question (the catalogue, an envelope); whoever waits for it should soon know.
        first_wait_s, longest_wait_s: the wait doubles from the one to the other, less up to half by chance.
        call_s: the deadline of one call; a read that is still running then goes on with the next call.
        least_bytes: what a call must bring to count as progress, so that a trickle does not hold us for ever.
    """

    attempts: int = 7
    short_attempts: int = 4
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0
    call_s: float = 60.0
    least_bytes: int = 64 << 10

    def wait(self, failures: int) -> None:
        """Sleep before the next attempt after `failures` failures in a row."""
        seconds = min(self.longest_wait_s, self.first_wait_s * 2 ** (failures - 1))
        time.sleep(seconds * secrets.SystemRandom().uniform(0.5, 1.0))


@dataclass
class _Meter:
    """Adds up the files for the caller's progress."""

    total: int
    on_progress: OnProgress
    done: int = 0
    sizes: dict[str, int] = field(default_factory=dict)

    def at(self, name: str, size: int) -> None:
        self.done += size - self.sizes.get(name, 0)
        self.sizes[name] = size
        self.on_progress(self.done, self.total, name)


def ignore(done: int, total: int, file: str) -> None:
    """An `OnProgress` for callers that don't watch."""


def anything(statement: Statement, payload: bytes) -> None:
    """For callers without a channel: whatever is signed is fetched."""


def pull(
    source: Source,
    release_id: str,
    destination: Path,
    root: TrustedRoot,
    on_progress: OnProgress = ignore,
    policy: RetryPolicy | None = None,
    vouched: Callable[[Statement, bytes], None] = anything,
) -> VerifiedRelease:
    """Fetch and verify a release into `destination`; where it is there already, only verify it.

    Args:
        source: where bytes come from.
        release_id: which release.
        destination: its folder, once it is verified.
        root: whose signatures count.
        on_progress: is told how far it is.
        policy: how long to go on.
        vouched: is asked about the signed statement and its bytes before any file is fetched; raises to refuse.

    Raises:
        VerificationError: something is not what the pinned root's keys signed; the subclass says what.
        TransportError: the other side stayed away; what was fetched is kept for the next pull.
        PolicyDenied: there is no such release for us.
        ConfigError: the disk is full or can't be written, or another pull of the same release is running.
    """
    if not RELEASE_ID.match(release_id):
        raise FormatError("a release id has 1 to 128 lower-case letters, digits and hyphens")
    policy = policy or RetryPolicy()
    if destination.exists():
        return _checked(verify(destination, root), release_id, destination)
    with _disk(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.parent / f".partial-{release_id}"
    with _disk(destination.parent), _only_one(destination.parent / f".partial-{release_id}.lock", release_id):
        if destination.exists():  # a pull that just ended
            return _checked(verify(destination, root), release_id, destination)
        envelope = source.envelope(release_id)
        if len(envelope) > MAX_ENVELOPE_BYTES:
            raise FormatError(f"the envelope of {release_id} is larger than {MAX_ENVELOPE_BYTES} bytes; refused")
        statement_bytes, statement = verify_envelope(envelope, root)
        if statement.predicate.release_id != release_id:
            raise ContentMismatch(
                f"asked for {release_id}, the custodian sent {statement.predicate.release_id}; tell the custodian"
            )
        vouched(statement, statement_bytes)
        partial.mkdir(mode=0o700, exist_ok=True)
        _drop_strangers(partial, statement)
        _check_space(partial, statement)
        meter = _Meter(sum(entry.size for entry in statement.subjects), on_progress)
        for entry in statement.subjects:
            fetch(source, release_id, entry, partial, policy, partial_of(meter.at, entry.name))
        _store(partial / STATEMENT_FILE, statement_bytes)
        _store(partial / ENVELOPE_FILE, envelope)
        release = verify(partial, root)
        _sync_folder(partial)
        partial.rename(destination)
        _sync_folder(destination.parent)
    return release.moved(destination)


def fetch(
    source: Source,
    release_id: str,
    entry: FileEntry,
    folder: Path,
    policy: RetryPolicy,
    report: Callable[[int], None],
) -> None:
    """Bring one signed file into `folder`, from where an earlier attempt stopped.

    Raises:
        ContentMismatch: the custodian's file is not the signed one, also when read again from its beginning.
        FileTruncated: the custodian's file ends before the signed size.
        TransportError: no progress in `policy.attempts` attempts.
    """
    if not FILE_NAME.match(entry.name):
        raise FormatError("a signed file's name is not acceptable here; tell the custodian")
    path = folder / entry.name
    for _ in range(2):
        if _complete(source, release_id, entry, path, policy, report) == entry.sha256:
            return
        path.unlink()
    raise ContentMismatch(f"{entry.name}: the custodian sends other bytes than it signed; tell the custodian")


def _complete(
    source: Source,
    release_id: str,
    entry: FileEntry,
    path: Path,
    policy: RetryPolicy,
    report: Callable[[int], None],
) -> str:
    """Append to `path` until it has the signed size; the SHA-256 (hex) of all of it."""
    if path.exists() and (path.is_symlink() or path.stat().st_size > entry.size):
        path.unlink()
    failures = 0
    with Arrival(path) as arrival:
        report(arrival.have)
        while arrival.have < entry.size:
            before = arrival.have
            cause = ""
            try:
                for data in source.read(release_id, entry.name, before, entry.size - before):
                    if len(data) > entry.size - arrival.have:
                        raise ContentMismatch(f"{entry.name}: more comes than the signed {entry.size} bytes; refused")
                    arrival.append(data)
                    report(arrival.have)
            except Interrupted as error:
                cause = str(error)
            else:
                if arrival.have < entry.size:
                    raise FileTruncated(
                        f"{entry.name}: the custodian's copy ends at {arrival.have} of the signed {entry.size} bytes;"
                        " tell the custodian"
                    )
            failures = 0 if arrival.have - before >= policy.least_bytes else failures + 1
            if arrival.have < entry.size:
                if failures >= policy.attempts:
                    raise TransportError(f"{cause}; what was fetched is kept, pull again later") from None
                policy.wait(max(1, failures))
        return arrival.finish()


def _checked(release: VerifiedRelease, release_id: str, folder: Path) -> VerifiedRelease:
    if release.id != release_id:
        raise ContentMismatch(f"{folder} holds {release.id}, not {release_id}; move it away and pull again")
    return release


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """What the disk refuses, as an error of ours. A pull goes on once it takes more."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ConfigError(f"the disk at {folder} is full; make room and pull again, what was fetched is kept") from None
        raise ConfigError(f"{folder} can't be written ({error.strerror}); look at the disk, then pull again") from None


@contextmanager
def _only_one(path: Path, release_id: str) -> Iterator[None]:
    """Held by the kernel, so a killed pull leaves no lock behind."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.fstat(descriptor).st_ino == path.stat().st_ino
        except OSError:
            ours = False
        if not ours:  # held by another pull, or just taken away by one that ended
            raise ConfigError(f"another pull of {release_id} is running; wait for it to end")
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _drop_strangers(partial: Path, statement: Statement) -> None:
    """An earlier pull may have been of another signing of the release; what this one does not name must go."""
    known = {entry.name for entry in statement.subjects} | {STATEMENT_FILE, ENVELOPE_FILE}
    for path in partial.iterdir():
        if path.name not in known:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _check_space(partial: Path, statement: Statement) -> None:
    have = sum(path.stat().st_size for path in partial.iterdir() if path.is_file())
    need = max(0, sum(entry.size for entry in statement.subjects) - have) + SPARE_BYTES
    free = shutil.disk_usage(partial).free
    if free < need:
        raise ConfigError(f"{need >> 20} MiB are needed at {partial.parent}, {free >> 20} MiB are free; make room")


def _store(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
