"""How much noise: against an attacker who knows everything but whether one person is there."""

from __future__ import annotations

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from custodian.budget.mechanisms import composed
from custodian.config import Settings
from custodian.evaluation.counting import NoisyCounts, noisy_sum, vote
from custodian.evaluation.policy import DELTA, Policy, separation
from stimset.errors import ConfigError


@pytest.mark.parametrize(("queries", "advantage"), [(1, 0.02), (4, 0.02), (10, 0.1), (50, 0.3)])
def test_the_best_attack_on_all_answers_has_the_promised_auc(queries, advantage):
    """The oracle simulates: with and without a vote of 1 in one cell, all answers averaged, AUC over a million pairs."""
    policy = Policy(queries, advantage, 20)
    rng = np.random.default_rng(0)
    without, present = policy.noise * rng.standard_normal((2, 200_000, queries)).mean(axis=2)
    ordered = np.sort(without)
    found = np.searchsorted(ordered, present + 1).mean() / len(ordered)
    assert found == pytest.approx(0.5 + advantage, abs=0.003)


def test_the_mechanism_costs_what_an_independent_accountant_says():
    policy = Policy(4, 0.02, 20)
    mechanism = policy.mechanism()
    one = pld.from_gaussian_mechanism(policy.noise, value_discretization_interval=1e-4)
    assert mechanism.epsilon == pytest.approx(one.get_epsilon_for_delta(DELTA), abs=2e-3)
    together = pld.from_gaussian_mechanism(1 / separation(0.02), value_discretization_interval=1e-4)
    assert composed([mechanism] * 4, DELTA) == pytest.approx(together.get_epsilon_for_delta(DELTA), abs=2e-3)


def test_the_promise_holds_though_the_settings_change_between_answers():
    few, many = Policy(2, 0.02, 20), Policy(10, 0.02, 20)
    assert few.allows([few.noise]) and not few.allows([few.noise, few.noise])
    assert many.allows([many.noise] * 9) and not many.allows([many.noise] * 10)
    assert many.allows([few.noise] + [many.noise] * 4)
    assert not many.allows([few.noise] + [many.noise] * 5)
    assert not Policy(10, 0.01, 20).allows([few.noise])


def test_settings_out_of_range_are_refused():
    Policy.of(Settings("x"))
    for wrong in ((-1, 0.02, 20), (1001, 0.02, 20), (4, 0.0, 20), (4, 0.5, 20), (4, 0.02, 4)):
        with pytest.raises(ConfigError, match="evaluation_"):
            Policy(*wrong)


def test_one_patient_moves_the_sum_by_at_most_one():
    rng = np.random.default_rng(1)
    for _ in range(200):
        n, classes = int(rng.integers(1, 50)), int(rng.integers(2, 6))
        answers = rng.normal(size=(n, classes)).astype(np.float32)
        answers[rng.random(n) < 0.3] = rng.choice([np.nan, np.inf, -np.inf])
        made = vote(rng.integers(classes, size=n), answers, classes)
        assert made.sum() == pytest.approx(1.0)
        assert np.linalg.norm(made) <= 1 + 1e-9


def test_what_is_no_answer_counts_for_the_first_class():
    labels = np.array([0, 1, 1])
    answers = np.array([[0.1, 0.9], [np.nan, 0.9], [0.2, np.inf]], np.float32)
    assert vote(labels, answers, 2).tolist() == [[0, 1 / 3], [2 / 3, 0]]
    assert vote(labels, None, 2).tolist() == [[1 / 3, 0], [2 / 3, 0]]


def test_noise_has_its_size_and_belongs_to_its_key():
    mechanism = Policy(4, 0.02, 20).mechanism()
    exact = np.zeros((2, 2))
    drawn = np.array([noisy_sum([exact], mechanism, i.to_bytes(32)).values for i in range(2000)])
    assert drawn.std() == pytest.approx(mechanism.noise, rel=0.03)
    assert np.corrcoef(drawn.reshape(2000, 4).T)[0, 1:] == pytest.approx(0, abs=0.1)
    again, first = (noisy_sum([exact], mechanism, bytes(32)).values for _ in range(2))
    assert (again == first).all()


def test_noisy_counts_are_made_by_the_noise_alone():
    with pytest.raises(TypeError):
        NoisyCounts(np.zeros((2, 2)), 0.0)
