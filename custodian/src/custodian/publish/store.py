"""The signed releases in the home's ``releases``: what the daemon serves and ``custodian release`` shows.

A release's folder never changes once it is there, so its statement is read once per process. A folder that can't be
read as a release is served to nobody; `ReleaseStore.broken` says why.

Usage::

    store = ReleaseStore(home.releases)
    for summary in store.list():
        store.files(summary.release_id)
    store.path("apnea-0001", "card.json")
"""

from __future__ import annotations

import builtins
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from stimset.envelope import parse_envelope
from stimset.errors import ConfigError, FormatError, StimsetError
from stimset.provenance import parse_statement
from stimset.release import (
    ENVELOPE_FILE,
    MAX_ENVELOPE_BYTES,
    MAX_STATEMENT_BYTES,
    STATEMENT_FILE,
    FileEntry,
    Predicate,
    Statement,
)

_RELEASE_ID = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")
_MAX_RELEASE_ID = 64


class UnknownRelease(ConfigError):
    """There is no release or no file of this name in the store."""


@dataclass(frozen=True)
class ReleaseSummary:
    """One line of the catalogue.

    Attributes:
        release_id, name, sequence, created, expires, simulated, stimuli: as in `stimset.release.Predicate`.
        bytes: of all files together, statement and envelope included.
        statement_sha256: SHA-256 (hex) of ``statement.json``.
        signed_by: key ids that stand in the envelope; whether they hold is for `stimset.verifying` to say.
    """

    release_id: str
    name: str
    sequence: int
    created: str
    expires: str
    simulated: bool
    stimuli: int
    bytes: int
    statement_sha256: str
    signed_by: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    summary: ReleaseSummary
    statement: Statement


class ReleaseStore:
    """Read access to a folder of releases.

    Args:
        folder: ``home.releases``; it may be missing, then the store is empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, _Entry] = {}

    def list(self) -> tuple[ReleaseSummary, ...]:
        """Every readable release, by name and sequence."""
        entries = [entry for release_id in self._ids() if isinstance(entry := self._try(release_id), _Entry)]
        return tuple(sorted((e.summary for e in entries), key=lambda s: (s.name, s.sequence)))

    def broken(self) -> dict[str, str]:
        """Folder name -> why it is no release that can be served."""
        return {release_id: str(e) for release_id in self._ids() if isinstance(e := self._try(release_id),
        StimsetError)}

    def statement(self, release_id: str) -> Statement:
        """What was signed of a release.

        Raises:
            UnknownRelease: there is none of this id.
            FormatError: its folder is damaged.
        """
        return self._entry(release_id).statement

    def predicate(self, release_id: str) -> Predicate:
        """What the custodian says of a release; raises what `statement` raises."""
        return self.statement(release_id).predicate

    def summary(self, release_id: str) -> ReleaseSummary:
        """A release's line of the catalogue; raises what `statement` raises."""
        return self._entry(release_id).summary

    def files(self, release_id: str) -> tuple[FileEntry, ...]:
        """A release's signed files, by name; raises what `statement` raises.

        Statement and envelope are not among them, since they carry the signatures; `path` gives them as well.
        """
        return self.statement(release_id).subjects

    def path(self, release_id: str, file: str) -> Path:
        """Where one file of a release lies.

        Only names that the release itself lists are found, so no name from outside reaches the disk.

        Raises:
            UnknownRelease: there is no such release, or it has no such file.
            FormatError: the release's folder is damaged.
        """
        names = {entry.name for entry in self.files(release_id)} | {STATEMENT_FILE, ENVELOPE_FILE}
        if file not in names:
            raise UnknownRelease(f"release {release_id} has no file '{file[:80]}'")
        path = self.folder / release_id / file
        if path.is_symlink() or not path.is_file():
            raise UnknownRelease(f"release {release_id} has lost its file {file}; restore it from a copy")
        return path

    def _ids(self) -> builtins.list[str]:
        try:
            return sorted(p.name for p in self.folder.iterdir() if not p.name.startswith(".") and p.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self.folder} can't be listed ({error.strerror})") from None

    def _try(self, release_id: str) -> _Entry | StimsetError:
        try:
            return self._entry(release_id)
        except StimsetError as error:
            return error

    def _entry(self, release_id: str) -> _Entry:
        folder = self.folder / release_id if _is_id(release_id) else None
        if folder is None or folder.is_symlink() or not folder.is_dir():
            self._known.pop(release_id, None)
            raise UnknownRelease(f"there is no release '{release_id[:80]}'; 'custodian release list' names them")
        if (entry := self._known.get(release_id)) is None:
            entry = self._known[release_id] = _read(folder)
        return entry


def _is_id(text: str) -> bool:
    return len(text) <= _MAX_RELEASE_ID and _RELEASE_ID.fullmatch(text) is not None


def _read(folder: Path) -> _Entry:
    try:
        data = _bounded(folder / STATEMENT_FILE, MAX_STATEMENT_BYTES)
        envelope_bytes = _bounded(folder / ENVELOPE_FILE, MAX_ENVELOPE_BYTES)
    except OSError as error:
        raise FormatError(f"{folder.name} is no release: {error.filename or 'a file'} can't be read") from None
    envelope = parse_envelope(envelope_bytes)
    statement = parse_statement(data)
    p = statement.predicate
    if envelope.payload != data or p.release_id != folder.name:
        raise FormatError(f"{folder.name} is no release: its statement is not that of its envelope or of its name")
    summary = ReleaseSummary(
        release_id=p.release_id,
        name=p.name,
        sequence=p.sequence,
        created=p.created,
        expires=p.expires,
        simulated=p.simulated,
        stimuli=p.stimuli,
        bytes=sum(entry.size for entry in statement.subjects) + len(data) + len(envelope_bytes),
        statement_sha256=hashlib.sha256(data).hexdigest(),
        signed_by=tuple(signature.keyid for signature in envelope.signatures),
    )
    return _Entry(summary, statement)


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return file.read(most + 1)
