"""A release's bytes on the disk: shards, synced read-only files, and the numbers of a series."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from custodian.excitation.candidates import CandidateSet
from stimset.errors import ConfigError
from stimset.provenance import MAX_SEQUENCE
from stimset.release import SHARD_PATTERN, FileEntry, StimulusArrays
from stimset.shards import shard_bytes

SHARD_BYTES = 64 << 20
_HEADER_ROOM = 4096

Progress = Callable[[float, str], None]


def write_shards(candidates: CandidateSet, folder: Path, on_progress: Progress) -> dict[str, int]:
    """Write the stimuli anew, as shards of at most `SHARD_BYTES`.

    Only arrays cross over: neither the candidate files' names nor their metadata.

    Returns:
        Shard name -> number of stimuli, in order.
    """
    spec = candidates.spec
    per_stimulus = 4 * (spec.channels * spec.samples + spec.classes)
    per_shard = max(1, (SHARD_BYTES - _HEADER_ROOM) // per_stimulus)
    counts: dict[str, int] = {}
    for arrays in _regrouped((candidates.arrays(name) for name in candidates.shards), per_shard):
        name = SHARD_PATTERN.format(len(counts))
        write_file(folder / name, shard_bytes(arrays))
        counts[name] = len(arrays)
        on_progress(sum(counts.values()), name)
    return counts


def _regrouped(parts: Iterator[StimulusArrays], size: int) -> Iterator[StimulusArrays]:
    """The same stimuli in groups of `size`; the last may be smaller."""
    values: list[StimulusArrays] = []
    held = 0
    for part in parts:
        start = 0
        while start < len(part):
            taken = min(size - held, len(part) - start)
            values.append(StimulusArrays(part.values[start : start + taken], part.probabilities[start : start + taken]))
            held, start = held + taken, start + taken
            if held == size:
                yield _joined(values)
                values, held = [], 0
    if values:
        yield _joined(values)


def _joined(parts: list[StimulusArrays]) -> StimulusArrays:
    return StimulusArrays(
        np.concatenate([part.values for part in parts]), np.concatenate([part.probabilities for part in parts])
    )


def write_file(path: Path, data: bytes) -> None:
    """Write a new file that nobody may change (mode 0444), down to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the folder's own entries down to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entries(folder: Path) -> tuple[FileEntry, ...]:
    """Every file of the folder with digest and size, by name."""
    found = []
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            found.append(FileEntry(path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size))
    return tuple(found)


@contextmanager
def series_lock(releases: Path) -> Iterator[None]:
    """Hold the folder of releases for one publisher, and make it where it is missing."""
    releases.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (releases / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def next_sequence(releases: Path, name: str) -> int:
    """The next number of a series: one more than any that was ever published, even if its folder is gone.

    Raises:
        ConfigError: the record of the last number is damaged, or the series is full.
    """
    used = [0]
    for path in releases.glob(f"{name}-*"):
        series, _, digits = path.name.rpartition("-")
        if series == name and digits.isdecimal() and len(digits) >= 4:
            used.append(int(digits))
    record = _record(releases, name)
    if record.is_file():
        try:
            used.append(int(record.read_text()))
        except ValueError:
            raise ConfigError(f"{record} is damaged; write the last published number of '{name}' into it") from None
    if (following := max(used) + 1) > MAX_SEQUENCE:
        raise ConfigError(f"the series '{name}' is full; begin another")
    return following


def record_sequence(releases: Path, name: str, sequence: int) -> None:
    """Keep the number as used; a consumer that saw it must never see it again with other content."""
    record = _record(releases, name)
    record.parent.mkdir(mode=0o700, exist_ok=True)
    partial = record.with_suffix(".partial")
    with partial.open("w") as file:
        file.write(f"{sequence}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(record)
    sync_folder(record.parent)


def _record(releases: Path, name: str) -> Path:
    return releases / ".series" / f"{name}.last"
