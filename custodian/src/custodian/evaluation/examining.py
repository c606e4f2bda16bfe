"""One submission, from the ONNX file to the signed report, in the order that keeps the patients' side quiet.

1. the settings, the release and the number of patients allow an evaluation
2. the very same question was answered before: the same report, nothing is spent
3. the model is held against the allow-list and asked about public windows: only here can it be refused
4. the budget is charged; from here on there is an answer, whatever the model does
5. the model is asked about each patient apart, in an allotted time that does not depend on what it answers
6. votes are summed, noise is added, the report is kept, the ledger and the log say so, and only then it leaves
"""

from __future__ import annotations

import hashlib
import hmac
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from custodian.budget import Ledger, Mechanism
from custodian.budget.ledger import Reservation
from custodian.config import PSEUDONYM_KEY_FILE, Home, write_secret
from custodian.evaluation.asking import allotted, probe, public_windows, votes
from custodian.evaluation.box import Sandbox
from custodian.evaluation.counting import NoisyCounts, noisy_sum
from custodian.evaluation.held_out import HeldOut, held_out
from custodian.evaluation.limits import EvaluationDenied, Limits
from custodian.evaluation.policy import PURPOSE, Policy
from custodian.publish.keys import load_online
from custodian.publish.store import ReleaseStore
from custodian.state.log import Entry, record, short
from stimset.errors import PolicyDenied
from stimset.evaluation import Evaluation, Privacy, measured, sign_report, statement_bytes
from stimset.provenance import format_time
from stimset.release import Predicate, StimulusArrays, canonical_json
from stimset.shards import parse_shard
from stimset.windows import WindowSpec


@dataclass(frozen=True)
class Submission:
    """What a partner wants to know.

    Attributes:
        partner: its name; whom the ledger charges.
        fingerprint: SHA-256 (hex) of its certificate, for the log.
        release_id: the release that the model learned from, by the partner's word.
        model: the ONNX file.
    """

    partner: str
    fingerprint: str
    release_id: str
    model: bytes


@dataclass(frozen=True)
class _Question:
    """What makes a question the same one: its key draws the noise, its name finds the report and the ledger's entry."""

    key: bytes
    name: str

    @classmethod
    def of(cls, secret: bytes, submission: Submission, statement: str, patients: HeldOut, mechanism: Mechanism) -> _Question:
        said = [submission.partner, hashlib.sha256(submission.model).hexdigest(), statement, patients.seal, mechanism.document()]
        key = hmac.new(secret, b"stimset-evaluation:" + canonical_json(said), hashlib.sha256).digest()
        return cls(key, hashlib.sha256(key).hexdigest())


def examine(home: Home, submission: Submission, limits: Limits | None = None) -> bytes:
    """The signed report on a partner's model: a DSSE envelope (`stimset.evaluation`).

    Raises:
        EvaluationDenied: none is offered, or the budget is used up.
        ModelRefused: the model may not run, or was stopped on public windows.
        ConfigError, FormatError: something of the custodian's own is missing or damaged.
    """
    policy = Policy.of(home.settings())
    store = ReleaseStore(home.releases)
    predicate, statement = store.predicate(submission.release_id), store.summary(submission.release_id).statement_sha256
    patients = _allowed(home, policy, predicate.window_spec)
    mechanism = policy.mechanism()
    question = _Question.of(home.secret(PSEUDONYM_KEY_FILE), submission, statement, patients, mechanism)
    kept = home.evaluations / "reports" / f"{question.name}.json"
    if not kept.is_file():
        with Sandbox(limits or Limits()) as box:
            box.load(submission.model, patients.spec.shape, patients.spec.classes)
            pace = probe(box, public_windows(patients.spec, _stimuli(store, predicate).values))
            slot = allotted(pace, patients, box.limits)
            with closing(Ledger.open(home)) as ledger:
                reservation = _charge(ledger, policy, patients, submission.partner, question.name, mechanism)
                counts = noisy_sum(votes(box, patients, pace, slot), mechanism, question.key)
                report = _report(home, submission, statement, patients, policy, mechanism, counts)
                write_secret(kept, report)
                ledger.commit(reservation, hashlib.sha256(report).hexdigest())
    answered = Entry(
        "query", partner=short(submission.fingerprint), release=submission.release_id, epsilon=mechanism.epsilon or 0.0,
        delta=mechanism.delta or 0.0, once=f"query:{question.name}",
    )  # fmt: skip
    record(home, answered)
    return sign_report(kept.read_bytes(), load_online(home))


def _allowed(home: Home, policy: Policy, spec: WindowSpec) -> HeldOut:
    if not policy.queries:
        raise EvaluationDenied("the custodian offers no evaluation on held-out patients")
    patients = held_out(home)
    if patients.spec.digest() != spec.digest():
        raise EvaluationDenied("the release's window spec is not that of the held-out patients; submit a student of a newer release")
    if patients.patients < policy.patients:
        raise EvaluationDenied(f"the custodian has fewer than {policy.patients} held-out patients, and answers about no fewer")
    return patients


def _stimuli(store: ReleaseStore, predicate: Predicate) -> StimulusArrays:
    """The release's first shard."""
    name, count = next(iter(predicate.shards.items()))
    return parse_shard(store.path(predicate.release_id, name).read_bytes(), predicate.window_spec, count, name)


def _charge(
    ledger: Ledger, policy: Policy, patients: HeldOut, partner: str, name: str, mechanism: Mechanism
) -> Reservation:  # fmt: skip
    """Spend on this question; what was paid for before an interruption is not paid again."""
    spent = [e for e in ledger.entries(patients.account, partner) if e.kind == "reserve" and e.purpose == PURPOSE]
    drawn = [float(e.mechanism["noise"]) for e in spent]
    if name not in {e.key for e in spent} and not (len(spent) < policy.queries and policy.allows(drawn)):
        raise EvaluationDenied(
            f"all of your {policy.queries} evaluations on these patients are used; what was answered before is answered again, free"
        )
    try:
        return ledger.reserve(patients.account, mechanism, purpose=PURPOSE, subject=partner, key=name, most=policy.queries)
    except PolicyDenied:
        raise EvaluationDenied("the patients' privacy budget allows no further evaluation; ask the custodian") from None


def _report(
    home: Home, submission: Submission, statement: str, patients: HeldOut, policy: Policy, mechanism: Mechanism, counts: NoisyCounts
) -> bytes:  # fmt: skip
    """The statement's bytes: of the patients, `counts` alone goes into it."""
    return statement_bytes(
        Evaluation(
            model=hashlib.sha256(submission.model).hexdigest(),
            release_id=submission.release_id,
            statement=statement,
            window_spec=patients.spec.digest(),
            custodian=home.settings().name,
            created=format_time(datetime.now(UTC)),
            simulated=patients.simulated,
            labels=patients.spec.labels,
            counts=tuple(tuple(float(cell) for cell in row) for row in counts.values),
            least_patients=policy.patients,
            privacy=Privacy(mechanism.epsilon or 0.0, mechanism.delta or 0.0, counts.noise, policy.queries, policy.advantage),
            measures=measured(counts.values, counts.noise),
        )
    )
