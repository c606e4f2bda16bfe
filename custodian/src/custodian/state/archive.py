"""A backup's file: a tar whose first member lists all others with size and SHA-256, and nothing is believed that it does not list.

Any tar reads it; `unpack` reads it once, front to back, with every size known before a byte is written.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stimset.errors import ConfigError, ContentMismatch, FormatError
from stimset.release import canonical_json
from stimset.strict import Fields, load_json

MANIFEST = "manifest.json"
FORMAT = "stimset-backup-1"
MAX_MANIFEST = 32 << 20
MAX_MEMBERS = 200_000
MAX_BYTES = 1 << 44
_BLOCK = 1 << 20
_NAME = re.compile(r"(?:\.?[A-Za-z0-9_][A-Za-z0-9._-]{0,254}/){0,4}\.?[A-Za-z0-9_][A-Za-z0-9._-]{0,254}")
_HASH = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Member:
    """One file: its name within the home, size in bytes, SHA-256 (hex)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    Attributes:
        facts: who made it and when; short texts.
        members: the files, in their order.
    """

    facts: Mapping[str, str]
    members: tuple[Member, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        members = [{"name": m.name, "sha256": m.sha256, "size": m.size} for m in self.members]
        return canonical_json({"facts": dict(self.facts), "format": FORMAT, "members": members})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read one.

        Raises:
            FormatError: it is none, or a name in it leads out of the home.
        """
        fields = Fields(load_json(data, limit=MAX_MANIFEST, what="backup"), "backup", ("facts", "format", "members"))
        fields.exactly("format", FORMAT)
        facts = fields.mapping("facts", most=20)
        texts = Fields(facts, "backup", facts)
        members = []
        for entry in fields.sequence("members", most=MAX_MEMBERS):
            part = Fields(entry, "backup", ("name", "sha256", "size"))
            size = part.integer("size", 0, MAX_BYTES)
            members.append(Member(part.text("name", pattern=_NAME), size, part.text("sha256", pattern=_HASH)))
        if len({m.name for m in members}) != len(members):
            raise FormatError("backup: a file is listed twice")
        return cls({name: texts.text(name, most=200) for name in facts}, tuple(members))


def acceptable(name: str) -> bool:
    """Whether a file of this name stays within the home."""
    return _NAME.fullmatch(name) is not None


def measure(name: str, path: Path) -> Member:
    """Size and digest of a file."""
    if not acceptable(name):
        raise ConfigError(f"{path} has a name that a backup can't hold; rename it")
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Member(name, os.fstat(file.fileno()).st_size, digest)


def pack(out: Path, facts: Mapping[str, str], files: Sequence[tuple[Member, Path]]) -> None:
    """Write the archive (mode 0600) in one step; a file that exists is never replaced.

    Raises:
        ConfigError: `out` exists or can't be written, or a file changed since it was measured.
    """
    manifest = Manifest(facts, tuple(member for member, _ in files)).to_bytes()
    partial = out.with_name(f".{out.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                tar.addfile(_header(MANIFEST, len(manifest)), io.BytesIO(manifest))
                for member, path in files:
                    with path.open("rb") as source:
                        tar.addfile(_header(member.name, member.size), source)
                    if measure(member.name, path) != member:
                        raise ConfigError(f"{path} changed while it was copied; run 'custodian backup' again")
            raw.flush()
            os.fsync(raw.fileno())
        os.link(partial, out)  # unlike a rename, it never replaces
    except FileExistsError:
        raise ConfigError(f"{out} exists already; a backup never replaces another, choose another name") from None
    except OSError as error:
        raise ConfigError(f"{out}: the backup can't be written ({error.strerror or error})") from None
    finally:
        partial.unlink(missing_ok=True)


def unpack(archive: Path, folder: Path) -> Manifest:
    """Write every file of the archive into an empty folder, each held against its digest.

    Raises:
        ConfigError: it can't be read.
        FormatError: it is no backup, or its files are not those of its list.
        ContentMismatch: a file's bytes are not those of the list.
    """
    try:
        with tarfile.open(archive, "r|") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.size > MAX_MANIFEST:
                raise FormatError(f"{archive} is no backup of a custodian's home")
            manifest = Manifest.from_bytes(_stream(tar, first).read(MAX_MANIFEST + 1))
            for expected in manifest.members:
                found = tar.next()
                if found is None or not found.isreg() or (found.name, found.size) != (expected.name, expected.size):
                    raise FormatError(
                        f"{archive}: {expected.name} is missing or out of its place; the backup is damaged"
                    )
                _extract(_stream(tar, found), expected, folder / expected.name)
            if tar.next() is not None:
                raise FormatError(f"{archive} holds more than its list says; the backup is damaged")
    except tarfile.TarError:
        raise FormatError(f"{archive} is damaged, or no backup of a custodian's home") from None
    except OSError as error:
        raise ConfigError(f"{archive}: it can't be restored ({error.strerror or error})") from None
    return manifest


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _stream(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(info)
    if stream is None:
        raise FormatError(f"backup: {info.name[:80]} is no file")
    return stream


def _extract(source: IO[bytes], expected: Member, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), expected.size
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while left and (data := source.read(min(_BLOCK, left))):
            digest.update(data)
            file.write(data)
            left -= len(data)
        file.flush()
        os.fsync(file.fileno())
    if left or digest.hexdigest() != expected.sha256:
        raise ContentMismatch(f"backup: {expected.name} is not what was backed up; take another copy of the backup")
