"""A server that holds the custodian's TLS key and none of its signing keys, and answers as an attack wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from custodian.config import Home
from stimset.v1 import release_service_pb2 as pb
from stimset.v1 import release_service_pb2_grpc as pb_grpc

MetadataAnswer = Callable[[str], bytes | None]
CheckpointAnswer = Callable[[int], tuple[bytes, list[bytes]] | None]
FileAnswer = Callable[[str, int], Iterator[bytes]]


class Hostile(pb_grpc.ReleaseServiceServicer):
    """Answers from a folder of metadata and a release's folder, unless an attack takes over."""

    def __init__(self, channel: Path, release: Path) -> None:
        self.channel, self.release = channel, release
        self.metadata: MetadataAnswer = self.honest_metadata
        self.file: FileAnswer = self.honest_file
        self.envelope: bytes | None = None
        self.checkpoint: CheckpointAnswer | None = None
        self.asked: list[str] = []

    def honest_metadata(self, name: str) -> bytes | None:
        path = self.channel / name
        return path.read_bytes() if path.is_file() else None

    def honest_file(self, name: str, offset: int) -> Iterator[bytes]:
        yield (self.release / name).read_bytes()[offset:]

    def GetMetadata(self, request, context):  # noqa: N802
        self.asked.append(request.name)
        data = self.metadata(request.name)
        if data is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return pb.GetMetadataResponse(data=data)

    def GetCheckpoint(self, request, context):  # noqa: N802
        if self.checkpoint is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "of a version without a log")
        answer = self.checkpoint(request.known_size)
        if answer is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "none")
        return pb.GetCheckpointResponse(checkpoint=answer[0], consistency=answer[1])

    def GetRelease(self, request, context):  # noqa: N802
        envelope = self.envelope or (self.release / "provenance.dsse.json").read_bytes()
        return pb.GetReleaseResponse(envelope=envelope, envelope_size=len(envelope))

    def ReadFile(self, request, context):  # noqa: N802
        for data in self.file(request.file_name, request.offset):
            yield pb.ReadFileResponse(data=data)


@contextmanager
def serving(home: Home, hostile: Hostile) -> Iterator[str]:
    """Mutual TLS on loopback; yields the address."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", 64 << 20)])
    pb_grpc.add_ReleaseServiceServicer_to_server(hostile, server)
    key, chain, authority = ((home.tls / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem"))
    credentials = grpc.ssl_server_credentials([(key, chain)], root_certificates=authority, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(0).wait()
