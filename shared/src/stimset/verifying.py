"""Folder + pinned root -> `VerifiedRelease`, or an error that says which promise is broken.

The order is part of the promise (`shared/FORMAT.md`): nothing is parsed before the signatures over it hold, and
nothing that was verified is read a second time without comparing its digest again.

    1. the envelope, bounded; its signatures by the root's ``targets`` keys, over the payload as received
    2. ``statement.json`` is the payload, byte for byte
    3. the payload is parsed, strictly; release and root have not expired
    4. the folder holds the signed files and nothing else: no folder, no link, no hidden file
    5. every file's size and SHA-256
    6. every shard's tensors and numbers against the window spec

Everything works offline, on any copy of the folder::

    release = verify(Path("apnea-0001"), TrustedRoot.load("root.json", fingerprint))
    for arrays in release.iter_shards():
        arrays.values, arrays.probabilities
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stimset.envelope import Envelope, parse_envelope
from stimset.errors import (
    ConfigError,
    ContentMismatch,
    Expired,
    FileMissing,
    FileTruncated,
    FileUnexpected,
    FormatError,
    SignatureInvalid,
    UnknownSigner,
)
from stimset.plainfiles import open_plain, read_plain, read_up_to
from stimset.provenance import parse_statement, parse_time
from stimset.release import (
    ENVELOPE_FILE,
    MAX_ENVELOPE_BYTES,
    MAX_STATEMENT_BYTES,
    PAYLOAD_TYPE,
    STATEMENT_FILE,
    FileEntry,
    Predicate,
    Statement,
    StimulusArrays,
)
from stimset.roots import TrustedRoot
from stimset.sealed import Sealed
from stimset.shards import ShardScan, hash_file, parse_shard
from stimset.windows import WindowSpec

__all__ = ["TrustedRoot", "VerifiedRelease", "check_files", "check_proposal", "check_signatures", "verify", "verify_envelope"]

TensorDataset: TypeAlias = Any  # torch.utils.data.TensorDataset, which is not imported here
_SEAL = object()
_HASH_THREADS = 4
_WORTH_THREADS = 4 << 20  # below, starting threads costs more than hashing


class VerifiedRelease(Sealed):
    """A release whose every promise was checked. `verify` makes it; nothing else can.

    A shard is read again when its stimuli are asked for, its digest is compared again over the very bytes that are
    then used, so a file that changed meanwhile is noticed.

    Attributes:
        folder: where the files lie.
        statement: what was signed.
        signed_by: ids of the root's keys whose signatures hold, sorted.
        root_fingerprint: SHA-256 (hex) of the root that was pinned.
        valid_until: UTC; the earlier of the release's and the root's expiry.
    """

    __slots__ = ("folder", "root_fingerprint", "signed_by", "statement", "valid_until")

    folder: Path
    statement: Statement
    signed_by: tuple[str, ...]
    root_fingerprint: str
    valid_until: datetime

    def __init__(
        self,
        folder: Path,
        statement: Statement,
        signed_by: tuple[str, ...],
        root_fingerprint: str,
        valid_until: datetime,
        *,
        _seal: object = None,
    ) -> None:
        if _seal is not _SEAL:
            raise TypeError("a VerifiedRelease is made by stimset.verifying.verify alone")
        self._store(
            folder=folder, statement=statement, signed_by=signed_by, root_fingerprint=root_fingerprint, valid_until=valid_until
        )

    def __repr__(self) -> str:
        return f"VerifiedRelease({self.id}, {self.predicate.stimuli} stimuli)"

    @property
    def predicate(self) -> Predicate:
        """What the custodian says of the stimulus set."""
        return self.statement.predicate

    @property
    def id(self) -> str:
        """The release's id, ``<name>-<sequence>``."""
        return self.predicate.release_id

    @property
    def spec(self) -> WindowSpec:
        """How a recording becomes what the students expect."""
        return self.predicate.window_spec

    @property
    def simulated(self) -> bool:
        """True where the patients behind it are simulated."""
        return self.predicate.simulated

    def moved(self, folder: Path) -> VerifiedRelease:
        """The same release after its folder was renamed to `folder`.

        Its files are not hashed anew: whoever asks for a shard has its digest compared over the very bytes in any case.
        """
        return VerifiedRelease(
            folder, self.statement, self.signed_by, self.root_fingerprint, self.valid_until, _seal=_SEAL
        )

    def stimuli(self, shard: str | None = None) -> StimulusArrays:
        """The stimuli of one shard, or of all in order, as writable arrays.

        Raises:
            ConfigError: the release has no shard of this name.
            VerificationError: a file was changed or taken away since it was verified.
        """
        if shard is not None:
            if shard not in self.predicate.shards:
                raise ConfigError(f"{self.id} has no shard '{shard[:80]}'; it has {len(self.predicate.shards)}")
            return self._shard(shard)
        parts = list(self.iter_shards())
        if len(parts) == 1:
            return parts[0]
        return StimulusArrays(
            np.concatenate([part.values for part in parts]), np.concatenate([part.probabilities for part in parts])
        )

    def to_numpy(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All stimuli as ``X`` ``(n, channels, samples)`` and soft labels ``P`` ``(n, classes)``; raises what `stimuli` raises."""
        found = self.stimuli()
        return found.values, found.probabilities

    def to_torch(self) -> TensorDataset:
        """All stimuli as a ``torch.utils.data.TensorDataset`` of (windows, soft labels), for a ``DataLoader``.

        Raises:
            ConfigError: torch is not installed.
            VerificationError: as `stimuli`.
        """
        try:  # by name: checking a release must never need torch
            torch, data = importlib.import_module("torch"), importlib.import_module("torch.utils.data")
        except ModuleNotFoundError:
            raise ConfigError("to_torch needs torch; run: pip install 'stimset-consumer[torch]'") from None
        found = self.stimuli()
        made: TensorDataset = data.TensorDataset(torch.from_numpy(found.values), torch.from_numpy(found.probabilities))
        return made

    def splits(self, held_out: float = 0.1, seed: int = 0) -> tuple[StimulusArrays, StimulusArrays]:
        """Stimuli to learn from and stimuli held out, drawn by `seed`; raises what `stimuli` and `StimulusArrays.split` raise."""
        return self.stimuli().split(held_out, seed)

    def iter_shards(self) -> Iterator[StimulusArrays]:
        """The shards in order, one in memory at a time; raises what `stimuli` raises."""
        for shard in self.predicate.shards:
            yield self._shard(shard)

    def _shard(self, name: str) -> StimulusArrays:
        entry = next(entry for entry in self.statement.subjects if entry.name == name)
        return _load_shard(self.folder, entry, self.predicate)


def verify(folder: Path | str, root: TrustedRoot, *, now: datetime | None = None) -> VerifiedRelease:
    """Check a release folder against the pinned root.

    Args:
        folder: the release, complete.
        root: whose signatures count.
        now: the moment that expiry is judged by; the clock's where None.

    Raises:
        FileMissing: a signed file, the statement or the envelope is not there (or there is no such folder).
        UnknownSigner: no key of the root has signed.
        SignatureInvalid: a signature does not hold, or fewer than the root's threshold signed.
        Expired: release or root.
        FileUnexpected: something is in the folder that nobody signed.
        FileTruncated: a file is shorter than signed.
        ContentMismatch: a file's bytes are not those that were signed.
        FormatError: envelope, statement or a shard is not what FORMAT.md says, though it may be signed.
    """
    folder = Path(folder)
    statement, signed_by, valid_until = _check(folder, root, root.threshold, now)
    return VerifiedRelease(folder, statement, signed_by, root.fingerprint, valid_until, _seal=_SEAL)


def check_proposal(
    folder: Path | str, root: TrustedRoot, *, now: datetime | None = None
) -> tuple[Statement, tuple[str, ...]]:
    """Check a release that not everybody has signed yet, by all other promises that `verify` checks.

    It is no release: a consumer refuses it. This is for the person who is to sign next.

    Returns:
        What is to be signed, and the ids of the root's keys that have signed.

    Raises:
        VerificationError, FormatError: as `verify`, but one signature of the root's keys is enough.
    """
    return _check(Path(folder), root, 1, now)[:2]


def check_files(folder: Path, statement: Statement) -> None:
    """Hold a folder's files against a statement, whoever signed it; raises what `verify` raises for files."""
    _check_file_set(folder, statement)
    _check_digests(folder, statement)


def _check(
    folder: Path, root: TrustedRoot, threshold: int, now: datetime | None
) -> tuple[Statement, tuple[str, ...], datetime]:
    """Every promise, in the order of the module's docstring."""
    envelope = parse_envelope(read_plain(folder, ENVELOPE_FILE, MAX_ENVELOPE_BYTES))
    signed_by = check_signatures(envelope, root, threshold)
    _check_statement_file(folder, envelope.payload)
    statement = parse_statement(envelope.payload)
    valid_until = _valid_until(statement, root, _in_utc(now or datetime.now(UTC)))
    _check_file_set(folder, statement)
    seen = _check_digests(folder, statement)
    for entry in statement.subjects:
        if entry.name in statement.predicate.shards and entry.name not in seen:
            _load_shard(folder, entry, statement.predicate)
    return statement, signed_by, valid_until


def verify_envelope(
    data: bytes, root: TrustedRoot, *, now: datetime | None = None
) -> tuple[bytes, Statement]:
    """Check a received envelope alone, before its files are fetched: what is to be fetched, as signed.

    It is no release yet: only `verify` on the complete folder makes a `VerifiedRelease`.

    Args:
        data: the envelope's bytes as received.
        root: whose signatures count.
        now: the moment that expiry is judged by; the clock's where None.

    Returns:
        The signed payload, which is ``statement.json`` byte for byte, and what it says.

    Raises:
        FormatError, UnknownSigner, SignatureInvalid, Expired: as `verify`.
    """
    envelope = parse_envelope(data)
    check_signatures(envelope, root, root.threshold)
    statement = parse_statement(envelope.payload)
    _valid_until(statement, root, _in_utc(now or datetime.now(UTC)))
    return envelope.payload, statement


def _valid_until(statement: Statement, root: TrustedRoot, moment: datetime) -> datetime:
    valid_until = min(parse_time(statement.predicate.expires), root.expires)
    if moment >= valid_until:
        whose = "root" if valid_until == root.expires else f"release {statement.predicate.release_id}"
        raise Expired(f"the {whose} was valid until {valid_until:%Y-%m-%d %H:%M} UTC; get a newer one")
    return valid_until


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def check_signatures(
    envelope: Envelope, root: TrustedRoot, threshold: int, *, payload_type: str = PAYLOAD_TYPE
) -> tuple[str, ...]:
    """Hold every signature by a known key, and count distinct key bytes against the threshold.

    Returns:
        Ids of the root's keys whose signatures hold, sorted.

    Raises:
        FormatError: the payload is of another type.
        UnknownSigner, SignatureInvalid: as `verify`.
    """
    if envelope.payload_type != payload_type:
        raise FormatError(f"envelope: the payload is not of type {payload_type}")
    known = [(root.keys[s.keyid], s.value) for s in envelope.signatures if s.keyid in root.keys]
    if not known:
        raise UnknownSigner(
            "none of the pinned root's keys has signed: another custodian's release, or the wrong root"
        )
    message = envelope.pae()
    for key, signature in known:
        key.verify(signature, message)
    if (count := len({key.raw for key, _ in known})) < threshold:
        raise SignatureInvalid(f"{count} of the root's keys signed, {threshold} must; get the complete release")
    return tuple(sorted(key.keyid for key, _ in known))


def _check_statement_file(folder: Path, payload: bytes) -> None:
    data = read_plain(folder, STATEMENT_FILE, MAX_STATEMENT_BYTES)
    if data == payload:
        return
    if len(data) < len(payload):
        raise FileTruncated(f"{STATEMENT_FILE} has {len(data)} bytes, {len(payload)} were signed; copy it again")
    raise ContentMismatch(f"{STATEMENT_FILE} is not the statement that was signed; get the release again")


def _check_file_set(folder: Path, statement: Statement) -> None:
    expected = {entry.name for entry in statement.subjects} | {STATEMENT_FILE, ENVELOPE_FILE}
    found = set()
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise ConfigError(f"{folder} can't be listed ({error.strerror})") from None
    for entry in entries:
        if entry.name not in expected:
            raise FileUnexpected(f"{entry.name!r:.120} is in the folder, but nobody signed it; move it away")
        if not entry.is_file(follow_symlinks=False):
            raise FileUnexpected(f"{entry.name} is a link, a folder or a device; a release holds plain files only")
        found.add(entry.name)
    if missing := sorted(expected - found):
        raise FileMissing(f"{missing[0]} is missing ({len(missing)} files in all); get the release again")


def _check_digests(folder: Path, statement: Statement) -> frozenset[str]:
    """Hash every file, in threads where it pays; the shards whose numbers were found good on the way are named."""
    predicate = statement.predicate

    def check(entry: FileEntry) -> bool:
        count = predicate.shards.get(entry.name)
        scan = None if count is None else ShardScan(predicate.window_spec, count)
        with open_plain(folder, entry.name) as file:
            _check_size(entry, os.fstat(file.fileno()).st_size)
            _check_digest(entry, hash_file(file, scan))
        return scan is not None and scan.holds()

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(_HASH_THREADS, cores, len(statement.subjects))
    if threads == 1 or sum(entry.size for entry in statement.subjects) < _WORTH_THREADS:
        found = [check(entry) for entry in statement.subjects]
    else:
        with ThreadPoolExecutor(threads) as pool:  # hashing releases the GIL
            found = list(pool.map(check, statement.subjects))
    return frozenset(entry.name for entry, good in zip(statement.subjects, found, strict=True) if good)


def _load_shard(folder: Path, entry: FileEntry, predicate: Predicate) -> StimulusArrays:
    """Read a shard once, and parse the very bytes whose digest was compared."""
    data = read_up_to(folder, entry.name, entry.size + 1)
    _check_size(entry, len(data))
    _check_digest(entry, hashlib.sha256(data).hexdigest())
    return parse_shard(data, predicate.window_spec, predicate.shards[entry.name], entry.name)


def _check_size(entry: FileEntry, size: int) -> None:
    if size < entry.size:
        raise FileTruncated(f"{entry.name} has {size} bytes, {entry.size} were signed; copy it again")
    if size > entry.size:
        raise ContentMismatch(f"{entry.name} is longer than the {entry.size} bytes that were signed; get it again")


def _check_digest(entry: FileEntry, sha256: str) -> None:
    if sha256 != entry.sha256:
        raise ContentMismatch(f"{entry.name} is not the file that was signed (another SHA-256); get it again")
