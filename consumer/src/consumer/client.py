"""The consumer's end of the wire: gRPC over mutual TLS, with deadlines, bounds, retries, and errors of our own tree.

Usage::

    with Client.to(enrolment.find(home, None), home) as client:
        newest = client.list_releases()[-1]
        release = channel.pull(client, home, custodian, newest.release_id)      # consumer.channel

What the other side says is a hint until it is verified; `consumer.download` says in which order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from consumer import download
from consumer.config import Home
from consumer.download import Interrupted, OnProgress, RetryPolicy, ignore
from consumer.enrolment import AUTHORITY_FILE, CERTIFICATE_FILE, Custodian, key_file
from stimset.errors import ConfigError, FormatError, PolicyDenied, StimsetError, TransportError
from stimset.merkle import HASH_BYTES, MAX_PROOF
from stimset.pieces import unframed
from stimset.release import ENVELOPE_FILE, MAX_ENVELOPE_BYTES, Statement
from stimset.v1 import release_service_pb2 as pb
from stimset.v1 import release_service_pb2_grpc as pb_grpc
from stimset.verifying import TrustedRoot, VerifiedRelease

T = TypeVar("T")

MESSAGE_BYTES = 4 << 20
CONNECT_MS = 20_000
_READ_FILE = f"/{pb.DESCRIPTOR.services_by_name['ReleaseService'].full_name}/ReadFile"
MAX_RELEASES = 10_000
PAGE = 100
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name, how long a connection may take to be made: a far or a busy custodian's handshake needs more than a moment,
    # and whoever gives up early and begins anew keeps it busy (grpc/grpc issue 12830).
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # We retry ourselves: gRPC would begin a stream anew, not go on with it.
    ("grpc.enable_retries", 0),
    ("grpc.compression_enabled_algorithms_bitset", 1),
]
_TRY_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,  # "Stream removed": the connection went away under the call
}
_DENIED = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@dataclass(frozen=True)
class ReleaseSummary:
    """What the catalogue says of a release: hints, none of them verified.

    Attributes:
        created, expires: UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
        bytes: total size of the files.
    """

    release_id: str
    name: str
    sequence: int
    created: str
    expires: str
    simulated: bool
    stimuli: int
    bytes: int


class Client:
    """A connection to one custodian's daemon; close it, or use it in a ``with``.

    Args:
        address: ``HOST:PORT``; the host must stand in the daemon's certificate.
        authority: PEM of the custodian's certificate authority; no other is believed, the system's neither.
        certificate, key: PEM of our own certificate and its key.
        policy: deadlines and retries.
    """

    def __init__(
        self, address: str, *, authority: bytes, certificate: bytes, key: bytes, policy: RetryPolicy | None = None
    ) -> None:
        self.address = address
        self._policy = policy or RetryPolicy()
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        self._channel = grpc.secure_channel(address, credentials, options=_OPTIONS)
        self._stub = pb_grpc.ReleaseServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._read_file = self._channel.unary_stream(
            _READ_FILE, request_serializer=pb.ReadFileRequest.SerializeToString, response_deserializer=unframed
        )

    @classmethod
    def to(
        cls, custodian: Custodian, home: Home, *, address: str | None = None, policy: RetryPolicy | None = None
    ) -> Client:
        """A client of a trusted custodian.

        Raises:
            ConfigError: a key or certificate is missing.
        """
        try:
            authority = (custodian.folder / AUTHORITY_FILE).read_bytes()
            certificate = (custodian.folder / CERTIFICATE_FILE).read_bytes()
            key = key_file(home, custodian.folder).read_bytes()
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}; run 'consumer trust add' again") from None
        return cls(address or custodian.address, authority=authority, certificate=certificate, key=key, policy=policy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def stub(self, kind: Callable[[grpc.Channel], T]) -> T:
        """The stub of another service, on this connection."""
        return kind(self._channel)

    def ask(
        self, method: Callable[..., Any], request: Any, *, seconds: float | None = None, refused: type[StimsetError] = TransportError
    ) -> Any:  # fmt: skip
        """One answer of a stub's method that may be asked again without harm.

        Args:
            method: of a stub from `stub`.
            request: its message.
            seconds: the deadline of one attempt; the policy's where None.
            refused: what INVALID_ARGUMENT becomes, with the custodian's words.

        Raises:
            TransportError, PolicyDenied: as `list_releases`.
        """

        def once() -> Any:
            try:
                return method(request, timeout=seconds or self._policy.call_s)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT and refused is not TransportError:
                    raise refused(shown(error.details())) from None
                raise self._mapped(error) from None

        return self._attempt(once)

    def list_releases(self) -> tuple[ReleaseSummary, ...]:
        """Every release granted to us, by age and then by id.

        Raises:
            TransportError: the custodian can't be reached.
            PolicyDenied: it does not take our certificate.
            FormatError: an answer is out of bounds.
        """
        found: dict[str, ReleaseSummary] = {}
        token = ""
        while True:
            request = pb.ListReleasesRequest(page_size=PAGE, page_token=token)
            page = self._call(self._stub.ListReleases, request)
            for entry in page.releases:
                found[entry.release_id] = _summary(entry)
            # A token that does not grow could keep us here for ever.
            if not page.next_page_token:
                break
            if page.next_page_token <= token or len(found) > MAX_RELEASES:
                raise FormatError(f"the catalogue of {self.address} has no end; refused")
            token = page.next_page_token
        return tuple(sorted(found.values(), key=lambda entry: (entry.created, entry.release_id)))

    def envelope(self, release_id: str) -> bytes:
        """The release's signed envelope, at most 8 MiB, not verified.

        Raises:
            TransportError: the custodian can't be reached.
            PolicyDenied: there is no such release for us.
            FormatError: it claims to be larger than allowed.
        """
        answer = self._call(self._stub.GetRelease, pb.GetReleaseRequest(release_id=release_id))
        if answer.envelope:
            return bytes(answer.envelope)
        if not 0 < answer.envelope_size <= MAX_ENVELOPE_BYTES:
            raise FormatError(f"the envelope of {release_id} is empty or too large; tell the custodian")
        return self._attempt(lambda: self._whole(release_id, ENVELOPE_FILE, answer.envelope_size))

    def read(self, release_id: str, name: str, offset: int, limit: int) -> Iterator[memoryview]:
        """One attempt at a range of a file, piece by piece.

        Raises:
            Interrupted: it broke off; go on with a new call.
            TransportError, PolicyDenied: as `list_releases`.
        """
        request = pb.ReadFileRequest(release_id=release_id, file_name=name, offset=offset, limit=limit)
        call = self._read_file(request, timeout=self._policy.call_s)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._mapped(error) from None
        finally:
            call.cancel()

    def metadata(self, name: str) -> bytes | None:
        """One file of the custodian's channel, not verified; None where there is none.

        Raises:
            TransportError, PolicyDenied: as `list_releases`.
        """

        def once() -> bytes | None:
            try:
                answer = self._stub.GetMetadata(pb.GetMetadataRequest(name=name), timeout=self._policy.call_s)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                raise self._mapped(error) from None
            return bytes(answer.data)

        return self._attempt(once)

    def checkpoint(self, known_size: int) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The newest checkpoint of the custodian's log and the proof that it goes on from `known_size` records, not verified.

        None where none was signed yet, or where the daemon is of a version without a log.

        Raises:
            FormatError: the answer is out of bounds.
            TransportError, PolicyDenied: as `list_releases`.
        """

        def once() -> tuple[bytes, tuple[bytes, ...]] | None:
            try:
                answer = self._stub.GetCheckpoint(pb.GetCheckpointRequest(known_size=known_size), timeout=self._policy.call_s)
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED):
                    return None
                raise self._mapped(error) from None
            return bytes(answer.checkpoint), tuple(answer.consistency)

        found = self._attempt(once)
        if found is not None and (len(found[1]) > MAX_PROOF or any(len(value) != HASH_BYTES for value in found[1])):
            raise FormatError(f"the proof about the log of {self.address} is out of bounds; tell the custodian")
        return found

    def pull(
        self,
        release_id: str,
        destination: Path,
        root: TrustedRoot,
        on_progress: OnProgress = ignore,
        *,
        vouched: Callable[[Statement, bytes], None] | None = None,
    ) -> VerifiedRelease:
        """Fetch and verify a release into `destination`; see `consumer.download.pull`, also for the errors.

        It says nothing about whether the release still stands; `consumer.channel.pull` does.
        """
        return download.pull(self, release_id, destination, root, on_progress, self._policy, vouched or download.anything)

    def _whole(self, release_id: str, name: str, size: int) -> bytes:
        data = bytearray()
        for piece in self.read(release_id, name, 0, size):
            data += piece
            if len(data) > size:
                raise FormatError(f"{name}: the custodian sends more than it announced; refused")
        return bytes(data)

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        return self.ask(method, request)

    def _attempt(self, once: Callable[[], T]) -> T:
        for failures in range(1, self._policy.short_attempts + 1):
            try:
                return once()
            except Interrupted as error:
                if failures == self._policy.short_attempts:
                    raise TransportError(str(error)) from None
            self._policy.wait(failures)
        raise TransportError(f"{self.address} was not asked; allow at least one attempt")

    def _mapped(self, error: grpc.RpcError) -> StimsetError:
        """A gRPC error as one of ours. The other side's words are shown cut and without control characters."""
        code: grpc.StatusCode = error.code()
        words = shown(error.details())
        if code in _DENIED:
            return PolicyDenied(f"the custodian at {self.address} refuses: {words}")
        if code is grpc.StatusCode.UNAVAILABLE and ("CERTIFICATE_VERIFY_FAILED" in words or "Peer name" in words):
            return TransportError(
                f"{self.address} does not show a certificate of this custodian for this host name; check the address,"
                " and that nobody stands in between"
            )
        if code in _TRY_AGAIN:
            hint = "check the address, the network, and that our certificate is valid ('consumer trust list')"
            return Interrupted(f"{self.address} can't be reached or broke off ({code.name}: {words}); {hint}")
        return TransportError(f"{self.address} could not answer ({code.name}: {words}); tell the custodian")


def shown(words: str | None) -> str:
    """The other side's words, cut and without control characters."""
    return "".join(c if c.isprintable() else " " for c in (words or ""))[:300]


def _summary(entry: pb.ReleaseSummary) -> ReleaseSummary:
    texts = (entry.release_id, entry.name, entry.created, entry.expires)
    if (
        not download.RELEASE_ID.match(entry.release_id)
        or not all(text.isprintable() and len(text) <= 128 for text in texts)
        or not (_TIME.match(entry.created) and _TIME.match(entry.expires))
        or min(entry.sequence, entry.stimuli, entry.bytes) < 0
    ):
        raise FormatError("the catalogue holds an entry that is out of bounds; tell the custodian")
    return ReleaseSummary(
        release_id=entry.release_id,
        name=entry.name,
        sequence=entry.sequence,
        created=entry.created,
        expires=entry.expires,
        simulated=entry.simulated,
        stimuli=entry.stimuli,
        bytes=entry.bytes,
    )
