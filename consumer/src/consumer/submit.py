"""A student is sent to the custodian, which tries it on patients whom nobody trained on, and answers with a signed report.

The patients' windows stay there, and the model that is sent is not kept. The answer is noisy and there are few of them (`budget`); the very
same model, submitted again, gets the same report and costs nothing.

Usage::

    with Client.to(custodian, home) as client:
        data, evaluation = submit(client, current_root(custodian), Path("cnn.onnx"))
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.client import Client
from consumer.lineage import JOINT, properties_of
from stimset.errors import ConfigError, ContentMismatch, FormatError, UnknownSigner
from stimset.evaluation import MAX_REPORT_BYTES, Evaluation, verify_report
from stimset.roots import TrustedRoot
from stimset.v1 import evaluation_service_pb2 as pb
from stimset.v1 import evaluation_service_pb2_grpc as pb_grpc

MAX_MODEL_BYTES = 64 << 20
PIECE_BYTES = 1 << 20
EVALUATION_SECONDS = 900.0
REPORT_SUFFIX = ".evaluation.json"

OnSent = Callable[[float], None]


def report_file(model: Path, custodian: str | None) -> Path:
    """Where a report on this model goes unless somebody says otherwise; reports of several custodians lie beside each other."""
    return model.with_name(model.name + (f".{custodian}" if custodian else "") + REPORT_SUFFIX)


class ModelRefused(FormatError):
    """The custodian does not evaluate the model; its words say why."""


@dataclass(frozen=True)
class Spent:
    """An entry of the custodian's ledger about us.

    Attributes:
        number, created, hash: as the custodian's own list has them.
        kind: ``reserve`` counts as spent; ``commit`` says that the answer was given.
        epsilon, delta: what a reserve costs by itself.
        detail: of a commit, the SHA-256 (hex) of the statement that was given.
    """

    number: int
    created: str
    kind: str
    epsilon: float
    delta: float
    detail: str
    hash: str


@dataclass(frozen=True)
class Budget:
    """What a custodian lets us know of its held-out patients: hints, by its word.

    Attributes:
        queries: answers in all; 0 where it offers no evaluation.
        left: how many are left.
        advantage: all of them together let nobody tell a person's presence with an AUC above ``0.5 + advantage``.
        entries: what was spent, in order.
    """

    queries: int
    left: int
    advantage: float
    entries: tuple[Spent, ...]


def submit(
    client: Client, root: TrustedRoot, model: Path, *, release_id: str | None = None, on_sent: OnSent = lambda share: None
) -> tuple[bytes, Evaluation]:  # fmt: skip
    """Send a model, wait for its evaluation, and verify the report.

    Args:
        client: connected to the custodian.
        root: the custodian's newest root; its daemon's key must have signed.
        model: the ONNX file.
        release_id: of this custodian; what the file's own properties name where None.
        on_sent: is told which share of the file is sent.

    Returns:
        The signed report's bytes, and what it says.

    Raises:
        ConfigError: the file can't be read, or names no release or several.
        ModelRefused: the custodian does not run this model.
        PolicyDenied: it does not know the release for us, or our budget is used up.
        TransportError: it can't be reached.
        VerificationError, FormatError: what it sent is no report on this model.
    """
    data = _read(model)
    wanted = release_id or _named(data, model, client)
    digest = hashlib.sha256(data).hexdigest()
    stub: Any = client.stub(pb_grpc.EvaluationServiceStub)
    for offset in range(0, len(data), PIECE_BYTES):
        piece = data[offset : offset + PIECE_BYTES]
        request = pb.SendModelRequest(sha256=digest, size=len(data), offset=offset, data=piece)
        client.ask(stub.SendModel, request, refused=ModelRefused)
        on_sent((offset + len(piece)) / len(data))
    question = pb.EvaluateModelRequest(sha256=digest, release_id=wanted)
    answer = client.ask(stub.EvaluateModel, question, seconds=EVALUATION_SECONDS, refused=ModelRefused)
    report = bytes(answer.report)
    evaluation = verify_report(report, root.online)
    if (evaluation.model, evaluation.release_id) != (digest, wanted):
        raise ContentMismatch("the custodian's report is about another model or release; tell the custodian")
    return report, evaluation


def budget(client: Client) -> Budget:
    """What the custodian's ledger says of us.

    Raises:
        TransportError, PolicyDenied: it can't be asked.
        FormatError: its answer is out of bounds.
    """
    stub: Any = client.stub(pb_grpc.EvaluationServiceStub)
    answer = client.ask(stub.GetEvaluationBudget, pb.GetEvaluationBudgetRequest())
    entries = tuple(Spent(e.number, e.created, e.kind, e.epsilon, e.delta, e.detail, e.hash) for e in answer.entries)
    texts = [text for e in entries for text in (e.created, e.kind, e.detail, e.hash)]
    if not 0 <= answer.left <= answer.queries or not all(text.isprintable() and len(text) <= 200 for text in texts):
        raise FormatError("the custodian's words about our budget are out of bounds; tell the custodian")
    return Budget(answer.queries, answer.left, answer.advantage, entries)


def check_report(file: Path, roots: list[tuple[str, TrustedRoot]]) -> tuple[str, Evaluation]:
    """Verify a report offline, against each of the roots; returns which one vouches for it, and what it says.

    Raises:
        UnknownSigner, SignatureInvalid, FormatError: it is no report of any of these custodians.
        ConfigError: the file can't be read.
    """
    try:
        with file.open("rb") as source:
            data = source.read(MAX_REPORT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} can't be read ({error.strerror})") from None
    for position, (name, root) in enumerate(roots):
        try:
            return name, verify_report(data, root.online)
        except UnknownSigner:
            if position == len(roots) - 1:
                raise
    raise ConfigError("no root was given to verify against")


def _read(model: Path) -> bytes:
    try:
        with model.open("rb") as file:
            data = file.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{model} can't be read ({error.strerror})") from None
    if not 0 < len(data) <= MAX_MODEL_BYTES:
        raise ConfigError(f"{model.name} has no bytes or more than {MAX_MODEL_BYTES}; a custodian takes no such model")
    return data


def _named(data: bytes, model: Path, client: Client) -> str:
    """The release of this custodian that the file names; one that learned from several hospitals names one of each."""
    named = [name for name in properties_of(data).get("stimset.release", "").split(JOINT) if name]
    if len(named) > 1:
        granted = {entry.release_id for entry in client.list_releases()}
        named = [name for name in named if name in granted]
    if len(named) != 1:
        raise ConfigError(f"{model.name} does not name one release of this custodian; say by --release which one it learned from")
    return named[0]
