"""From a model to a signed report: real sandbox, real ledger, real keys; and what a hostile model learns on the way."""

from __future__ import annotations

import hashlib
from contextlib import closing

import numpy as np
import pytest

import evaluation_world
import student_models
from custodian.budget import Ledger
from custodian.evaluation import examining
from custodian.evaluation.asking import allotted, probe, public_windows, votes
from custodian.evaluation.box import Sandbox
from custodian.evaluation.counting import vote
from custodian.evaluation.examining import Submission, examine
from custodian.evaluation.held_out import held_out
from custodian.evaluation.limits import EvaluationDenied, Limits, ModelRefused
from custodian.evaluation.policy import Policy
from custodian.publish.keys import own_root
from stimset.errors import ConfigError
from stimset.evaluation import verify_report

FINGERPRINT = "ab" * 32
QUICK = Limits(least_slot=0.3)


@pytest.fixture
def world(tmp_path):
    return evaluation_world.world(tmp_path, queries=2)


def ask(world, model, partner="acme"):
    submission = Submission(partner, FINGERPRINT, world.release.release.folder.name, model)
    return examine(world.home, submission, QUICK)


def entries(world):
    with closing(Ledger.open(world.home)) as ledger:
        return ledger.entries()


def test_a_report_names_model_and_release_and_states_its_noise(world):
    model = student_models.by_mean()
    evaluation = verify_report(ask(world, model), own_root(world.home).online)
    assert evaluation.model == hashlib.sha256(model).hexdigest()
    statement = (world.release.folder / "statement.json").read_bytes()
    assert (evaluation.release_id, evaluation.statement) == ("tiny-0001", hashlib.sha256(statement).hexdigest())
    assert evaluation.labels == ("normal", "apnea")
    assert evaluation.privacy.noise == pytest.approx(Policy(2, 0.02, 20).noise)
    assert evaluation.simulated and not evaluation.precise
    for measure in evaluation.measures.values():
        # The noise is secret and of a size with these few patients: sometimes it leaves a measure without a value.
        assert None in (measure.low, measure.value, measure.high) or measure.low <= measure.value <= measure.high
    reserve, commit = entries(world)
    assert (reserve.kind, reserve.purpose, reserve.subject) == ("reserve", "evaluation", "acme")
    assert reserve.epsilon == evaluation.privacy.epsilon
    kept = next((world.home.evaluations / "reports").glob("*.json")).read_bytes()
    assert commit.detail == hashlib.sha256(kept).hexdigest()


def test_the_same_model_gets_the_same_report_for_nothing(world):
    model = student_models.by_mean()
    first = ask(world, model)
    before = entries(world)
    assert ask(world, model) == first
    assert entries(world) == before


def test_another_partner_pays_for_its_own_noise(world):
    model = student_models.by_mean()
    keys = own_root(world.home).online
    ours, theirs = (verify_report(ask(world, model, partner), keys) for partner in ("acme", "other"))
    assert ours.counts != theirs.counts
    assert [e.subject for e in entries(world) if e.kind == "reserve"] == ["acme", "other"]


def test_the_queries_end_and_a_refused_model_costs_none(world):
    with pytest.raises(ModelRefused):
        ask(world, student_models.endless_loop())
    assert entries(world) == ()
    first = [ask(world, student_models.by_mean(scale)) for scale in (1.0, 2.0)]
    with pytest.raises(EvaluationDenied, match="all of your 2"):
        ask(world, student_models.by_mean(3.0))
    assert ask(world, student_models.by_mean(1.0)) == first[0]
    assert sum(e.kind == "reserve" for e in entries(world)) == 2


def test_the_cohorts_own_limit_holds_too(world):
    with world.home.settings_file.open("a") as settings:
        settings.write("budget_epsilon = 0.01\nbudget_delta = 1e-6\n")
    with pytest.raises(EvaluationDenied, match="privacy budget"):
        ask(world, student_models.by_mean())


def test_nothing_is_answered_about_few_patients(tmp_path):
    world = evaluation_world.world(tmp_path, queries=2, patients=41)
    with pytest.raises(EvaluationDenied, match="fewer than 41"):
        ask(world, student_models.by_mean())


def test_what_was_reserved_and_never_given_is_not_paid_twice(world, monkeypatch):
    def broken(*_):
        raise ConfigError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(examining, "write_secret", broken)
        with pytest.raises(ConfigError):
            ask(world, student_models.by_mean())
    ask(world, student_models.by_mean())
    assert [e.kind for e in entries(world)] == ["reserve", "commit"]


def answered(world, model):
    """The votes on the world's patients, and the true labels' own."""
    patients = held_out(world.home)
    with Sandbox(QUICK) as box:
        box.load(model, patients.spec.shape, patients.spec.classes)
        pace = probe(box, public_windows(patients.spec, np.zeros((0, *patients.spec.shape), np.float32)))
        return list(votes(box, patients, pace, allotted(pace, patients, box.limits))), patients


def test_votes_are_those_of_the_model_asked_outside(world):
    found, patients = answered(world, student_models.by_mean())
    for (values, labels), counted in zip(patients.each(), found, strict=True):
        decided = (values.mean(axis=(1, 2)) > 0).astype(int)
        expected = np.zeros((2, 2))
        np.add.at(expected, (labels, decided), 1 / len(labels))
        assert counted == pytest.approx(expected)
        assert counted.sum() == pytest.approx(1.0)


def test_a_model_that_fails_on_one_patient_alone_is_answered_all_the_same(world):
    """It answers no number near one patient's windows: no refusal, and the others' votes are what they were."""
    values, _ = next(held_out(world.home).each())
    calm, _ = answered(world, student_models.near(values + 100))
    found, _ = answered(world, _no_number_near(values))
    assert found[0] == pytest.approx(calm[0])  # decided for the first class, as everywhere else
    for ours, theirs in zip(found[1:], calm[1:], strict=True):
        assert ours == pytest.approx(theirs)


def test_a_model_that_mixes_its_batch_mixes_one_patient_only(world):
    """One patient's windows change nobody else's vote, though the model answers by the mean over all that it sees at once."""
    patients = held_out(world.home)
    nodes, constants = student_models.flat()
    node, constant = student_models.node, student_models.constant
    nodes += [
        node("ReduceMean", ["x", "rows"], ["mean"], keepdims=1), node("Sub", ["x", "x"], ["nil"]), node("Add", ["nil", "mean"], ["same"]),
        node("MatMul", ["same", "w"], ["z"]), node("Softmax", ["z"], ["probabilities"], axis=1),
    ]  # fmt: skip
    weights = np.stack([-np.ones(10), np.ones(10)], 1)
    model = student_models.model(nodes, [*constants, constant("rows", [0], np.int64), constant("w", weights)]).SerializeToString()
    found, _ = answered(world, model)
    for (values, labels), counted in zip(patients.each(), found, strict=True):
        assert counted == pytest.approx(vote(labels, np.eye(2, dtype=np.float32)[np.full(len(labels), int(values.mean() > 0))], 2))


def _no_number_near(values: np.ndarray) -> bytes:
    """0 / 0 for known windows, the first class for all others."""
    nodes, constants = student_models.flat()
    node, constant = student_models.node, student_models.constant
    nodes += [
        node("Unsqueeze", ["x", "middle"], ["wide"]), node("Sub", ["wide", "known"], ["apart"]), node("Abs", ["apart"], ["sizes"]),
        node("ReduceSum", ["sizes", "last"], ["distances"], keepdims=0), node("ReduceMin", ["distances", "middle"], ["least"], keepdims=1),
        node("Div", ["least", "least"], ["one"]), node("Sub", ["one", "one"], ["nil"]),
        node("Concat", ["one", "nil"], ["probabilities"], axis=1),
    ]  # fmt: skip
    known = values.reshape(1, len(values), -1)
    constants += [constant("known", known), constant("middle", [1], np.int64), constant("last", [2], np.int64)]
    return student_models.model(nodes, constants).SerializeToString()
