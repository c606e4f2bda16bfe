"""What a release says of recordings: a copy says all, noise nothing; attributes and canaries likewise."""

from dataclasses import replace

import numpy as np
import pytest

from custodian.gate.attacks import attribute, canaries, controls
from custodian.gate.attacks.membership import INSIDE, Worlds
from custodian.gate.attacks.responses import (
    Subjects,
    distance_to_stimuli,
    singled_out,
    squared_distances,
    student_surprise,
)
from custodian.shadows.plan import halves
from small_cohort import cohort
from stimset.learning.training import soft_targets
from stimset.release import StimulusArrays

WINDOWS = cohort(persons=8, per_person=40).windows
SUBJECTS = Subjects(WINDOWS)


def released(persons) -> StimulusArrays:
    """Raw windows of these persons, as a careless custodian would release them."""
    mine = WINDOWS.of_persons(persons)
    return StimulusArrays(mine.values, soft_targets(mine.labels, 3))


def noise() -> StimulusArrays:
    rng = np.random.default_rng(0)
    return StimulusArrays(
        controls.noise(WINDOWS.spec, 160, rng), rng.dirichlet([1.0, 1.0, 1.0], 160).astype(np.float32)
    )


def test_a_copy_is_nearest_to_whom_it_was_copied_from():
    inside = np.isin(WINDOWS.person, [0, 1, 2, 3])
    found = distance_to_stimuli(released([0, 1, 2, 3]), SUBJECTS)
    assert found[inside].mean() < found[~inside].mean() - 0.2
    away = distance_to_stimuli(noise(), SUBJECTS)
    assert abs(away[inside].mean() - away[~inside].mean()) < 0.2


def test_a_copy_singles_out_its_person_and_nobody_else():
    found, share = singled_out(released([0, 1, 2, 3]), SUBJECTS)
    assert found.shape == (8,)
    assert found[:4].max() < found[4:].min()
    assert share == 1.0


def test_a_student_of_a_copy_is_less_surprised_by_it():
    # Labels by lot: whoever knows them has learnt them by heart.
    by_lot = replace(WINDOWS, labels=np.random.default_rng(99).integers(3, size=len(WINDOWS)))
    inside = np.isin(by_lot.person, [0, 1, 2, 3])
    copy = StimulusArrays(by_lot.values[inside], soft_targets(by_lot.labels[inside], 3))
    losses, decided = student_surprise(copy, Subjects(by_lot), "decision_tree", seed=0)
    assert losses[inside].mean() < losses[~inside].mean() - 0.1
    assert losses.shape == decided.shape == (len(WINDOWS),)
    again, _ = student_surprise(copy, Subjects(by_lot), "decision_tree", seed=0)
    np.testing.assert_array_equal(losses, again)


def test_distances_equal_those_by_hand():
    rng = np.random.default_rng(0)
    these, those = rng.normal(size=(1500, 4)), rng.normal(size=(7, 4))
    found = np.concatenate([squared for _, squared in squared_distances(these, those)])
    np.testing.assert_allclose(found, ((these[:, None] - those) ** 2).sum(-1), atol=1e-9)


def test_too_few_stimuli_of_a_class_are_made_up_by_the_others():
    few = StimulusArrays(WINDOWS.values[:6], np.array([[1, 0, 0]] * 5 + [[0, 1, 0]], np.float32))
    assert np.isfinite(distance_to_stimuli(few, SUBJECTS)).all()


GROUPS = attribute.groups_of({"sex": tuple("male" if p % 2 else "female" for p in range(8))})[0]


def test_an_attribute_marked_in_raw_windows_is_read_and_noise_betrays_none():
    inside = halves(np.full((8, 3), 9), 8, np.empty(0, np.int64), np.random.default_rng(0))
    worlds = Worlds.of(inside)
    reader = attribute.Reader.learn(GROUPS, SUBJECTS.features, WINDOWS.person, seed=0)
    nothing = np.stack([reader.read(SUBJECTS.seen(noise().values), SUBJECTS)] * 8)
    read = []
    for row in inside:
        rows = np.flatnonzero(row[WINDOWS.person] == INSIDE)
        read.append(attribute.raw_reading(GROUPS, SUBJECTS, rows, seed=0))
    gained = attribute.advantage(np.stack(read), worlds, seed=0)
    assert gained.value > 0.2
    assert gained.ends[0] > 0
    assert attribute.advantage(nothing, worlds, seed=0).value == pytest.approx(0.0, abs=1e-9)


def test_nobody_teaches_the_model_that_reads_them():
    reader = attribute.Reader.learn(GROUPS, SUBJECTS.features, WINDOWS.person, seed=0)
    features = SUBJECTS.features.copy()
    features[WINDOWS.person == 3] = 99.0
    other = attribute.Reader.learn(GROUPS, features, WINDOWS.person, seed=0)
    np.testing.assert_array_equal(reader.weights[reader.fold[3]], other.weights[reader.fold[3]])
    assert not np.array_equal(reader.weights, other.weights)


def test_unknown_persons_are_left_out_and_uniform_attributes_are_none():
    groups = attribute.groups_of({"bmi": ("under 25", "", "under 25", "30 and over", "30 and over", "", "", "")})[0]
    assert groups.of_person.tolist() == [1, -1, 1, 0, 0, -1, -1, -1]
    assert groups.measurable
    reader = attribute.Reader.learn(groups, SUBJECTS.features, WINDOWS.person, seed=0)
    shares = reader.read(SUBJECTS.seen(noise().values), SUBJECTS)
    assert np.isnan(shares[[1, 5, 6, 7]]).all()
    assert np.isfinite(shares[[0, 2, 3, 4]]).all()
    assert not attribute.groups_of({"sex": ("male",) * 7 + ("female",)})[0].measurable
    assert attribute.groups_of({}) == []


def test_canaries_carry_tone_and_wrong_labels_and_the_others_nothing():
    chosen = canaries.choose(8, seed=0)
    assert len(chosen) == 2
    planted = canaries.planted(WINDOWS, chosen)
    mine = np.isin(WINDOWS.person, chosen)
    np.testing.assert_array_equal(planted.values[~mine], WINDOWS.values[~mine])
    np.testing.assert_array_equal(planted.labels[mine], (WINDOWS.labels[mine] + 1) % 3)
    np.testing.assert_array_equal(planted.values[:, 1], WINDOWS.values[:, 1])
    assert np.abs(planted.values).max() <= WINDOWS.spec.clip


def test_a_canarys_tone_is_heard_in_its_own_windows_only():
    chosen = canaries.choose(8, seed=0)
    planted = canaries.planted(WINDOWS, chosen)
    first = canaries.heard(planted.of_persons(chosen[:1]).values, chosen, 8)
    second = canaries.heard(planted.of_persons(chosen[1:]).values, chosen, 8)
    assert first[chosen[0]] < second[chosen[0]] - 1
    assert second[chosen[1]] < first[chosen[1]] - 1
    assert np.isnan(np.delete(first, chosen)).all()
