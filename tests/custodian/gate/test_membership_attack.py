"""Membership by likelihood ratios: what it finds, what it must not find, and its arithmetic against slower oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from custodian.gate.attacks.membership import (
    INSIDE,
    NEITHER,
    OUTSIDE,
    Worlds,
    calibrated,
    likelihood_ratios,
    measure,
    rates,
    relative_ratios,
)
from custodian.shadows.plan import halves
from stimset.errors import DataInvalid


def world_of(seed: int, worlds: int = 16, persons: int = 32) -> Worlds:
    rng = np.random.default_rng(seed)
    return Worlds.of(halves(np.ones((persons, 2), np.int64), worlds, np.empty(0, np.int64), rng))


def losses(worlds: Worlds, effect: float, seed: int) -> np.ndarray:
    """Every person has a level, every world a difficulty; whoever is inside loses `effect` deviations of the noise."""
    rng = np.random.default_rng(seed)
    shape = worlds.inside.shape
    level, difficulty = rng.normal(0, 1, shape[1]), rng.normal(0, 1, (shape[0], 1))
    return 3 + level + difficulty + 0.5 * rng.normal(size=shape) - 0.5 * effect * (worlds.inside == INSIDE)


@pytest.mark.parametrize("attack", [likelihood_ratios, relative_ratios])
def test_without_an_effect_it_guesses_and_with_one_it_tells(attack):
    found = {}
    for effect in (0.0, 0.5, 2.0):
        areas = []
        for seed in range(12):
            worlds = world_of(seed)
            scores = attack(losses(worlds, effect, 100 + seed), worlds)
            used = np.isfinite(scores)
            areas.append(rates(scores[used], worlds.inside[used] == INSIDE)[0])
        found[effect] = np.mean(areas)
    assert abs(found[0.0] - 0.5) < 0.025
    assert 0.55 < found[0.5] < 0.75
    assert found[2.0] > 0.85


def test_shifts_of_single_persons_are_found_too():
    worlds = world_of(1)
    few = np.arange(32) < 6
    scores = losses(worlds, 0.0, 1) - 3.0 * few * (worlds.inside == INSIDE)
    ratios = likelihood_ratios(scores, worlds)
    assert measure(ratios[:, few], worlds.only(np.flatnonzero(few)), seed=0).auc > 0.95
    assert measure(ratios, worlds, seed=0).at_few > 0.1


def test_what_moves_everybody_is_taken_out():
    worlds = world_of(2)
    scores = losses(worlds, 1.0, 2)
    moved = scores + np.random.default_rng(0).normal(0, 50, (16, 1))
    found, again = (likelihood_ratios(values, worlds) for values in (scores, moved))
    np.testing.assert_allclose(found, again, atol=0.02)
    assert np.abs(np.nanmedian(calibrated(moved, worlds) - np.nanmean(moved), axis=1)).std() < 1


def test_a_pair_of_worlds_is_judged_by_the_others_alone():
    """Lowering one score of a pair, calibration apart, moves that ratio in proportion and no other ratio of the pair."""
    worlds = world_of(3)
    known = losses(worlds, 1.0, 3)
    person = int(np.flatnonzero(worlds.inside[0] == INSIDE)[0])
    steps = []
    for change in (0.0, -0.01, -0.02):
        altered = known.copy()
        altered[0, person] += change
        steps.append(likelihood_ratios(altered, worlds)[0, person])
    assert steps[0] < steps[1] < steps[2]
    assert steps[2] - steps[1] == pytest.approx(steps[1] - steps[0], rel=0.05)


def test_relative_ratios_equal_counting_by_hand():
    worlds = world_of(4, worlds=6, persons=10)
    scores = losses(worlds, 1.0, 4)
    found = relative_ratios(scores, worlds)
    world = 3
    others = [w for w in range(6) if w not in (2, 3)]
    ratio = {}
    for person in range(10):
        if worlds.inside[world, person] == NEITHER:
            assert np.isnan(found[world, person])
            continue
        sides = [
            np.mean([np.exp(-scores[w, person]) for w in others if worlds.inside[w, person] == side])
            for side in (INSIDE, OUTSIDE)
        ]
        ratio[person] = np.exp(-scores[world, person]) / np.mean(sides)
    for person, mine in ratio.items():
        strangers = [r for p, r in ratio.items() if p != person and worlds.inside[world, p] == OUTSIDE]
        assert found[world, person] == pytest.approx(np.mean([mine > r for r in strangers]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_that_of_scikit_learn(rows):
    values, positive = np.array([v for v, _ in rows], float), np.array([p for _, p in rows])
    if positive.all() or not positive.any():
        assert np.isnan(rates(values, positive)[0])
        return
    auc, few, some = rates(values, positive)
    assert auc == pytest.approx(roc_auc_score(positive, values))
    assert 0 <= few <= some <= 1


def test_intervals_stand_on_persons():
    worlds = world_of(5)
    found = measure(likelihood_ratios(losses(worlds, 1.0, 5), worlds), worlds, seed=0)
    low, high = found.known_intervals()["auc"]
    assert low < found.auc < high
    assert 0.05 < high - low < 0.2
    assert found.pairs == int((worlds.inside != NEITHER).sum())
    assert set(found.numbers("x-")) == {"x-auc", "x-tpr-at-1", "x-tpr-at-10"}
    small = world_of(5, persons=4)
    assert measure(likelihood_ratios(losses(small, 1.0, 5), small), small, seed=0).known_intervals() == {}


def test_windows_are_units_of_their_persons():
    worlds = world_of(6)
    person = np.repeat(np.arange(32), 5)
    by_window = worlds.of_units(person)
    scores = losses(worlds, 1.0, 6)[:, person] + np.random.default_rng(1).normal(0, 1.0, (16, 160))
    found = measure(likelihood_ratios(scores, by_window), by_window, seed=0)
    assert 0.5 < found.auc < measure(likelihood_ratios(losses(worlds, 1.0, 6), worlds), worlds, seed=0).auc


def test_what_makes_no_worlds_is_refused():
    with pytest.raises(DataInvalid, match="even number"):
        Worlds.of(np.ones((3, 8), np.int8))
    everybody = Worlds.of(np.ones((4, 8), np.int8))
    with pytest.raises(DataInvalid, match="outside"):
        measure(np.zeros((4, 8)), everybody, seed=0)
