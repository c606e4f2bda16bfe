"""Each regime trains by name, says what it guarantees, and keeps what it says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from custodian.teacher.accounting import PrivacyTarget
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.grouped import balanced_halves, disjoint_groups, groups_of
from custodian.teacher.regimes import REGIMES, regime_of
from custodian.teacher.training import TEACHER_REGIME, planned_rounds, privacy_drawn, train_teacher
from small_cohort import cohort
from stimset.errors import ConfigError
from stimset.release import canonical_json

FEW = {name: replace(regime.plan, epochs=2, batch=32, steps_at_least=0) for name, regime in REGIMES.items()}


@pytest.mark.parametrize("name", REGIMES)
def test_a_regime_trains_by_name_and_its_checkpoint_comes_back(name, tmp_path):
    seen = []
    teacher = train_teacher(
        cohort(),
        architecture="spectral_mlp",
        regime=name,
        plan=FEW[name],
        on_epoch=lambda epoch, note: seen.append(epoch),
    )
    assert teacher.facts["regime"] == name
    assert "{" not in teacher.facts["guarantee"]
    canonical_json(dict(teacher.facts))
    rounds = planned_rounds(cohort(), architecture="spectral_mlp", regime=name, plan=FEW[name])
    assert seen.count(1) == len(rounds)
    assert len(seen) <= sum(rounds)
    teacher.save(tmp_path, "teacher")
    values = cohort().validation.values[:7]
    belief = teacher.predict(values)
    np.testing.assert_allclose(belief.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(TrainedNetwork.load(tmp_path, "teacher").predict(values), belief)


def test_the_guarantee_states_epsilon_only_where_there_is_a_proof():
    for name, regime in REGIMES.items():
        draw = privacy_drawn(cohort(), architecture="spectral_mlp", regime=name, plan=FEW[name])
        assert (draw is not None) == (regime.draws is not None) == (name in ("pate", "dp-sgd"))
        words = regime.words({"epsilon": 8.0, "delta": 1e-4})
        assert ("(8, 0.0001)-differential privacy" in words) == (draw is not None)
        assert draw is None or draw.epsilon <= 8.0 + 1e-6


def test_what_was_drawn_before_training_is_what_the_facts_say():
    target = PrivacyTarget(epsilon=3.0, delta=1e-3)
    for name in ("pate", "dp-sgd"):
        draw = privacy_drawn(cohort(), architecture="spectral_mlp", regime=name, plan=FEW[name], privacy=target)
        teacher = train_teacher(cohort(), architecture="spectral_mlp", regime=name, plan=FEW[name], privacy=target)
        assert (teacher.facts["epsilon"], teacher.facts["delta"]) == (draw.epsilon, draw.delta)
        assert 2.9 < draw.epsilon <= 3.0 + 1e-6
        assert "(3, 0.001)" in teacher.facts["guarantee"]


@pytest.mark.parametrize("name", ["regularised", "aggregated", "cross-fitted"])
def test_regimes_without_secret_noise_are_deterministic(name):
    once, again = (
        train_teacher(cohort(), architecture="spectral_mlp", regime=name, plan=FEW[name], seed=4).digest()
        for _ in range(2)
    )
    assert once == again


@pytest.mark.parametrize("name", ["pate", "dp-sgd"])
def test_secret_noise_comes_back_from_no_seed(name):
    once, again = (
        train_teacher(cohort(), architecture="spectral_mlp", regime=name, plan=FEW[name], seed=4).digest()
        for _ in range(2)
    )
    assert once != again


def test_the_default_regime_learns_with_unlike_architectures_together():
    plan = replace(regime_of(TEACHER_REGIME).plan, epochs=12, batch=32, steps_at_least=0, patience=12)
    teacher = train_teacher(cohort(), architecture="tcn+spectral_mlp", plan=plan, seed=1)
    assert teacher.facts["regime"] == TEACHER_REGIME
    assert teacher.facts["validationKappa"] > 0.5


def test_groups_are_disjoint_and_halves_complete_each_other():
    training = cohort().training_person_indices
    groups = groups_of(cohort(), seed=3)
    assert sorted(np.concatenate(groups)) == list(training)
    assert min(map(len, groups)) >= 2
    halves = balanced_halves(cohort(), 4, seed=3)
    counts = np.bincount(np.concatenate(halves), minlength=8)
    assert set(counts[training]) == {2}
    assert set(counts) <= {0, 2}
    with pytest.raises(ConfigError, match="too few for 4 groups"):
        disjoint_groups(cohort(), 4, seed=0)


def test_a_person_changes_one_group_only():
    before = disjoint_groups(cohort(12), 3, seed=5)
    whole = cohort(12)
    person = int(whole.training_person_indices[0])
    blanked = replace(whole, windows=whole.windows.select(whole.windows.person != person))
    after = disjoint_groups(blanked, 3, seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_wrong_names_and_too_many_networks_are_told():
    with pytest.raises(ConfigError, match="known are plain, regularised"):
        train_teacher(cohort(), regime="forgetful")
    with pytest.raises(ConfigError, match="fewer architectures"):
        train_teacher(cohort(), architecture="+".join(["mlp"] * 5), regime="cross-fitted", plan=FEW["cross-fitted"])
    with pytest.raises(ConfigError, match="protects nobody"):
        train_teacher(cohort(), regime="dp-sgd", privacy=PrivacyTarget(8.0, 0.5))


def test_facts_say_nothing_of_single_persons():
    text = json.dumps(
        dict(train_teacher(cohort(), architecture="mlp", regime="aggregated", plan=FEW["aggregated"]).facts)
    )
    assert not any(name in text for name in cohort().windows.person_names)
