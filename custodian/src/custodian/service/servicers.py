"""The release service's methods: decode and bound the request, ask the store, encode the answer. Nothing else."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Protocol

import grpc

from custodian.publish.channel import METADATA_NAME
from custodian.service.interceptors import caller
from custodian.service.journal import Journal
from custodian.service.reading import pieces
from custodian.service.status import BadRequest, NotFound, NothingYet, OutOfRange
from custodian.state.log import Entry, short
from stimset.errors import ConfigError, ContentMismatch, FormatError
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES, MAX_FILES, FileEntry
from stimset.v1 import release_service_pb2 as pb
from stimset.v1 import release_service_pb2_grpc as pb_grpc

INLINE_BYTES = 3 << 20
DEFAULT_PAGE = 50
LARGEST_PAGE = 100
LARGEST_PAGE_ASKED = 1000
RELEASE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}\Z")
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,254}\Z")


class Summary(Protocol):
    """What the store says of a release."""

    @property
    def release_id(self) -> str:
        """The release's id."""

    @property
    def name(self) -> str:
        """The series; grants are about series."""

    @property
    def sequence(self) -> int:
        """The number within the series."""

    @property
    def created(self) -> str:
        """UTC, ``YYYY-MM-DDTHH:MM:SSZ``."""

    @property
    def expires(self) -> str:
        """UTC, ``YYYY-MM-DDTHH:MM:SSZ``."""

    @property
    def simulated(self) -> bool:
        """Whether the patients are simulated."""

    @property
    def stimuli(self) -> int:
        """How many stimuli."""

    @property
    def bytes(self) -> int:
        """Total size of the files."""


class Store(Protocol):
    """Where signed releases lie; `custodian.publish.store.ReleaseStore` is the one that the daemon uses."""

    def list(self) -> Sequence[Summary]:
        """Every release that may be served."""

    def files(self, release_id: str) -> Sequence[FileEntry]:
        """A release's signed files."""

    def path(self, release_id: str, file: str) -> Path:
        """Where one file lies; raises ConfigError where it is not there."""


class ReleaseServicer(pb_grpc.ReleaseServiceServicer):
    """`stimset.v1.ReleaseService` over a `Store`, the channel's files and the log.

    Catalogue and files are those of the caller's granted releases only. What leaves is recorded before it leaves.
    """

    def __init__(self, store: Store, metadata: Callable[[str], bytes | None], journal: Journal) -> None:
        self._store = store
        self._metadata = metadata
        self._journal = journal

    async def ListReleases(  # noqa: N802
        self, request: pb.ListReleasesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListReleasesResponse:
        """One page of the catalogue. The token is the last id of the page before, so pages survive a new release."""
        if not 0 <= request.page_size <= LARGEST_PAGE_ASKED:
            raise BadRequest(f"page_size must be 0 to {LARGEST_PAGE_ASKED}")
        if request.page_token and not RELEASE_ID.match(request.page_token):
            raise BadRequest("page_token must be the next_page_token of an earlier answer")
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        granted = await self._granted()
        rest = [granted[key] for key in sorted(granted) if key > request.page_token]
        token = rest[size - 1].release_id if len(rest) > size else ""
        return pb.ListReleasesResponse(releases=[_summary(entry) for entry in rest[:size]], next_page_token=token)

    async def GetRelease(  # noqa: N802
        self, request: pb.GetReleaseRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetReleaseResponse:
        """A release's envelope and the hints about its files."""
        entry = await self._release(request.release_id)
        files = await asyncio.to_thread(self._store.files, entry.release_id)
        envelope = await asyncio.to_thread(self._envelope, entry.release_id)
        if len(files) > MAX_FILES:
            raise FormatError(f"release {entry.release_id} has more than {MAX_FILES} files")
        answer = pb.GetReleaseResponse(
            summary=_summary(entry),
            envelope_size=len(envelope),
            files=[pb.FileHint(name=file.name, size=file.size, sha256=file.sha256) for file in files],
        )
        if answer.ByteSize() + len(envelope) <= INLINE_BYTES:
            await self._leaves(entry.release_id, ENVELOPE_FILE, 0, len(envelope))
            answer.envelope = envelope
        return answer

    async def ReadFile(  # noqa: N802
        self, request: pb.ReadFileRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """A range of a file, in pieces of at most 1 MiB; encoded already (`stimset.pieces`)."""
        if not FILE_NAME.match(request.file_name):
            raise BadRequest("file_name must have 1 to 255 letters, digits, dots, hyphens and underscores")
        if request.offset < 0 or request.limit < 0:
            raise BadRequest("offset and limit must be at least 0")
        entry = await self._release(request.release_id)
        path = await asyncio.to_thread(self._file, entry.release_id, request.file_name)
        descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if request.offset > size:
                raise OutOfRange(f"offset must be at most the file's size, {size}")
            end = min(size, request.offset + request.limit) if request.limit else size
            position = request.offset
            if position < end:
                await self._leaves(entry.release_id, request.file_name, position, end - position)
                async with aclosing(pieces(descriptor, position, end)) as messages:
                    async for message in messages:
                        yield message
                if os.fstat(descriptor).st_size < end:
                    raise ContentMismatch(f"{path} became shorter while it was read")
        finally:
            os.close(descriptor)

    async def GetMetadata(  # noqa: N802
        self, request: pb.GetMetadataRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetMetadataResponse:
        """One file of the TUF repository."""
        if not METADATA_NAME.fullmatch(request.name):
            raise BadRequest("name must be timestamp.json, or N.root.json, N.targets.json or N.snapshot.json")
        data = await asyncio.to_thread(self._metadata, request.name)
        if data is None:
            raise NothingYet(f"the channel has no {request.name}")
        return pb.GetMetadataResponse(data=data)

    async def GetCheckpoint(  # noqa: N802
        self, request: pb.GetCheckpointRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetCheckpointResponse:
        """The log's newest checkpoint, and the proof that it goes on from the one that the caller knows."""
        if request.known_size < 0:
            raise BadRequest("known_size must be at least 0")
        checkpoint, proof = await self._journal.shown(request.known_size)
        if checkpoint is None:
            raise NothingYet("no checkpoint of the log has been signed yet")
        return pb.GetCheckpointResponse(checkpoint=checkpoint, consistency=proof)

    async def _leaves(self, release_id: str, file: str, offset: int, size: int) -> None:
        """Record what may leave by this call."""
        partner = short(caller().fingerprint)
        await self._journal.record(Entry("serve", partner=partner, release=release_id, file=file, offset=offset, bytes=size))

    async def _granted(self) -> dict[str, Summary]:
        partner = caller()
        entries = await asyncio.to_thread(self._store.list)
        return {entry.release_id: entry for entry in entries if partner.sees(entry.name)}

    async def _release(self, release_id: str) -> Summary:
        if not RELEASE_ID.match(release_id):
            raise BadRequest("release_id must have 1 to 128 lower-case letters, digits and hyphens")
        entry = (await self._granted()).get(release_id)
        if entry is None:
            raise NotFound(f"release {release_id} does not exist or is not granted")
        return entry

    def _file(self, release_id: str, name: str) -> Path:
        if name != ENVELOPE_FILE and name not in {file.name for file in self._store.files(release_id)}:
            raise NotFound(f"release {release_id} has no file {name}")
        try:
            return self._store.path(release_id, name)
        except ConfigError as error:  # it is listed, and yet not there
            raise ContentMismatch(str(error)) from None

    def _envelope(self, release_id: str) -> bytes:
        path = self._file(release_id, ENVELOPE_FILE)
        if path.stat().st_size > MAX_ENVELOPE_BYTES:
            raise FormatError(f"{path} is larger than {MAX_ENVELOPE_BYTES} bytes")
        return path.read_bytes()


def _summary(entry: Summary) -> pb.ReleaseSummary:
    return pb.ReleaseSummary(
        release_id=entry.release_id,
        name=entry.name,
        sequence=entry.sequence,
        created=entry.created,
        expires=entry.expires,
        simulated=entry.simulated,
        stimuli=entry.stimuli,
        bytes=entry.bytes,
    )
