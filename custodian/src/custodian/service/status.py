"""What an error becomes on the other side: one table, and nothing that it does not name crosses the border.

A public message is fixed here, except for the errors that the service itself raises with a text written for partners
(`BadRequest`, `OutOfRange`, `Busy`). The detail goes to the custodian's log.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from custodian.evaluation.limits import EvaluationDenied, ModelRefused
from stimset.errors import (
    ConfigError,
    ContentMismatch,
    Expired,
    FormatError,
    PolicyDenied,
    ReleaseRefused,
    RollbackRefused,
    StimsetError,
    TransportError,
    VerificationError,
    Withdrawn,
)


class BadRequest(FormatError):
    """A field of a request is out of bounds. The text is sent to the partner: it names the field and its bounds."""


class OutOfRange(BadRequest):
    """A range begins behind the file's end. The text is sent to the partner."""


class NotFound(PolicyDenied):
    """No such release or file, or not granted: the partner is not told which."""


class NothingYet(NotFound):
    """The channel has no such file, or the log no checkpoint: an answer to a question, no refusal."""


class Unauthenticated(PolicyDenied):
    """The certificate is nobody's whom we know."""


class Busy(TransportError):
    """A quota is used up. The text is sent to the partner.

    Attributes:
        quota: which one, as the metrics call it.
        retry_s: when to try again, in seconds; sent along as ``google.rpc.RetryInfo``.
    """

    def __init__(self, message: str, quota: str = "concurrency", retry_s: float = 1.0) -> None:
        super().__init__(message)
        self.quota = quota
        self.retry_s = retry_s


class TooSlow(TransportError):
    """A call lasted longer than the daemon's own limit. The text is sent to the partner."""


DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Answer:
    """How a class of errors is told to a partner.

    Attributes:
        code: the gRPC status.
        message: the public text; None where the error's own text is public by construction.
    """

    code: grpc.StatusCode
    message: str | None


_DAMAGED = "the custodian's copy of this release can't be read; ask the custodian"

# The most specific class wins (see `answer`).
TABLE: dict[type[StimsetError], Answer] = {
    StimsetError: Answer(grpc.StatusCode.INTERNAL, "the custodian could not answer; ask the custodian"),
    ConfigError: Answer(grpc.StatusCode.INTERNAL, "the custodian's set-up is incomplete; ask the custodian"),
    FormatError: Answer(grpc.StatusCode.DATA_LOSS, _DAMAGED),
    BadRequest: Answer(grpc.StatusCode.INVALID_ARGUMENT, None),
    OutOfRange: Answer(grpc.StatusCode.OUT_OF_RANGE, None),
    VerificationError: Answer(grpc.StatusCode.DATA_LOSS, _DAMAGED),
    ContentMismatch: Answer(grpc.StatusCode.DATA_LOSS, _DAMAGED),
    Expired: Answer(grpc.StatusCode.FAILED_PRECONDITION, "the release has expired; ask for a newer one"),
    RollbackRefused: Answer(grpc.StatusCode.FAILED_PRECONDITION, "the release was replaced; ask for the newer one"),
    Withdrawn: Answer(grpc.StatusCode.FAILED_PRECONDITION, "the release has been withdrawn; delete your copies"),
    ReleaseRefused: Answer(grpc.StatusCode.FAILED_PRECONDITION, "the release is not available"),
    PolicyDenied: Answer(grpc.StatusCode.PERMISSION_DENIED, "your certificate was revoked or has expired"),
    NotFound: Answer(grpc.StatusCode.NOT_FOUND, "there is no such release or file, or it is not granted to you"),
    ModelRefused: Answer(grpc.StatusCode.INVALID_ARGUMENT, None),
    EvaluationDenied: Answer(grpc.StatusCode.FAILED_PRECONDITION, None),
    Unauthenticated: Answer(grpc.StatusCode.UNAUTHENTICATED, "your certificate is not that of a partner; enrol first"),
    TransportError: Answer(grpc.StatusCode.UNAVAILABLE, "the custodian can't answer at the moment; try again"),
    Busy: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, None),
    TooSlow: Answer(grpc.StatusCode.DEADLINE_EXCEEDED, None),
}


def answer(error: StimsetError) -> tuple[grpc.StatusCode, str]:
    """The status and the public message for an error raised on purpose."""
    entry = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    return entry.code, str(error) if entry.message is None else entry.message


def retry_details(code: grpc.StatusCode, message: str, seconds: float) -> bytes:
    """The ``google.rpc.Status`` that tells a client when to try again, for the trailing metadata `DETAILS_KEY`."""
    info = Any()
    info.Pack(RetryInfo(retry_delay=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))))
    details: bytes = Status(code=code.value[0], message=message, details=[info]).SerializeToString()
    return details


def unplanned(reference: str) -> tuple[grpc.StatusCode, str]:
    """The answer for an error that nobody foresaw: a reference into the custodian's log, and nothing of the error."""
    return grpc.StatusCode.INTERNAL, f"a fault on the custodian's side; tell them the reference {reference}"
