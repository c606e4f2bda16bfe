"""Who is inside which world, and which cohort a world's teacher meets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.excitation.recipe import load_recipe, recipe_of, shipped
from custodian.gate.attacks.membership import INSIDE, NEITHER, OUTSIDE
from custodian.shadows.deep import one_of
from custodian.shadows.plan import Design, Plan, halves
from custodian.shadows.world import half_cohort, noise_release, raw_rows
from small_cohort import cohort
from stimset.errors import ConfigError, FormatError

NOBODY = np.empty(0, np.int64)


def plan(**options) -> Plan:
    return Plan(load_recipe("prior"), "spectral_mlp", "plain", **options)


@settings(max_examples=25, deadline=None)
@given(persons=st.integers(8, 41), pairs=st.integers(2, 8), seed=st.integers(0, 99))
def test_everybody_is_inside_half_of_the_worlds(persons, pairs, seed):
    inside = halves(np.ones((persons, 2), np.int64), 2 * pairs, NOBODY, np.random.default_rng(seed))
    assert (inside == INSIDE).sum(0).tolist() == [pairs] * persons
    for first in range(0, 2 * pairs, 2):
        assert ((inside[first] == INSIDE) ^ (inside[first + 1] == INSIDE)).all()
    chosen = (inside == NEITHER).sum(0)
    assert chosen.max() - chosen.min() <= 3, "nobody chooses epochs much more often than others"
    assert ((inside == OUTSIDE).sum(1) >= 1).all()


def test_canaries_are_split_evenly_and_choose_no_epoch():
    canaries = np.array([1, 4, 6, 9])
    inside = halves(np.ones((16, 2), np.int64), 8, canaries, np.random.default_rng(0))
    assert ((inside[:, canaries] == INSIDE).sum(1) == 2).all()
    assert not (inside[:, canaries] == NEITHER).any()


def test_every_class_is_on_both_sides_or_the_cohort_is_refused():
    counts = np.ones((10, 2), np.int64)
    counts[2:, 1] = 0
    inside = halves(counts, 8, NOBODY, np.random.default_rng(0))
    assert (inside[:, 0] != inside[:, 1]).all(), "the two who have the rare class never stand together"
    counts[1:, 1] = 0
    with pytest.raises(FormatError, match="every class"):
        halves(counts, 8, NOBODY, np.random.default_rng(0))
    with pytest.raises(FormatError, match="too few"):
        Design.of(plan(), cohort(persons=6).windows)


def test_a_world_knows_nobody_from_outside():
    everybody = cohort(persons=10)
    inside = Design.of(plan(worlds=4), everybody.windows).inside[0]
    half = half_cohort(everybody, inside)
    names = everybody.windows.person_names
    assert set(half.windows.person_names) == {names[p] for p in np.flatnonzero(inside != OUTSIDE)}
    trained = {half.windows.person_names[p] for p in half.training_person_indices}
    assert trained == {names[p] for p in np.flatnonzero(inside == INSIDE)}
    assert len(half.windows) == np.isin(everybody.windows.person, np.flatnonzero(inside != OUTSIDE)).sum()
    assert half.attributes == {}


def test_controls_hold_those_inside_or_nobody():
    everybody = cohort(persons=10)
    inside = Design.of(plan(worlds=4), everybody.windows).inside[0]
    rows = raw_rows(everybody.windows, inside, 50, 0)
    assert len(rows) == 50
    assert (inside[everybody.windows.person[rows]] == INSIDE).all()
    one, other = (noise_release(everybody.windows, plan(stimuli=60), seed) for seed in (0, 1))
    assert one.values.shape == (60, 2, 60)
    np.testing.assert_allclose(one.probabilities.sum(1), 1, rtol=1e-5)
    assert one.probabilities.max(1).mean() > 0.6
    assert not np.array_equal(one.values, other.values)


def test_equal_plans_have_equal_digests_and_others_don_t():
    one = plan()
    assert one.digest("seal") == plan(device="cuda").digest("seal"), "where it is computed is no part of the plan"
    different = [plan(worlds=8), plan(seed=1), plan(students=("knn",)), replace(one, recipe=load_recipe("noise"))]
    digests = {p.digest("seal") for p in (one, *different)} | {one.digest("another")}
    assert len(digests) == 6


@pytest.mark.parametrize(
    "options", [{"worlds": 3}, {"worlds": 2}, {"canary_worlds": 2}, {"stimuli": 10}, {"students": ()}]
)
def test_impossible_plans_are_refused(options):
    with pytest.raises(ConfigError, match="deep audit needs"):
        plan(**options)


@pytest.mark.parametrize("name", shipped())
def test_a_recipe_comes_back_from_its_document(name):
    recipe = load_recipe(name)
    assert recipe_of(recipe.document()) == recipe
    with pytest.raises(ConfigError):
        recipe_of({"name": "x"})


def test_joined_architectures_are_taken_apart():
    assert one_of("cnn+tcn+cnn+tcn", 2) == "cnn+tcn"
    assert one_of("cnn+cnn+cnn+cnn", 2) == "cnn+cnn"
    assert one_of("cnn+tcn", 1) == "cnn+tcn"
