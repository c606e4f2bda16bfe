"""Intervals over persons: against textbook numbers, other implementations, and coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from custodian.gate.attacks.base import CURVE_POINTS, Curve
from custodian.gate.attacks.intervals import (
    LEAST_PERSONS,
    Clustered,
    area,
    interval,
    mean_difference,
    share_interval,
    too_few,
)

scores = arrays(np.float64, st.integers(1, 60), elements=st.integers(0, 9).map(float))


def mean(parts):
    return float(np.concatenate(parts).mean())


@given(scores, scores)
def test_the_area_is_scikit_learns_with_ties_too(these, those):
    wanted = roc_auc_score(np.r_[np.ones(len(these)), np.zeros(len(those))], np.r_[these, those])
    assert area([these], [those]) == pytest.approx(wanted)


@given(scores, scores)
def test_a_curve_ascends_and_encloses_that_area(these, those):
    curve = Curve.of(these, those)
    assert (curve.fpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 1, 1)
    assert (np.diff(curve.fpr) >= 0).all()
    assert (np.diff(curve.tpr) >= 0).all()
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(area([these], [those]))


def test_a_long_curve_is_thinned_most_where_it_matters_least():
    rng = np.random.default_rng(0)
    these, those = rng.normal(1, 1, 5000), rng.normal(0, 1, 5000)
    curve = Curve.of(these, those)
    assert len(curve.fpr) <= CURVE_POINTS
    at_1_percent = curve.tpr[int(np.searchsorted(curve.fpr, 0.01, "right")) - 1]
    assert at_1_percent == pytest.approx((these > np.quantile(those, 0.99)).mean(), abs=0.01)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(area([these], [those]), abs=0.01)


def test_the_interval_covers_the_truth_where_windows_of_a_person_are_alike():
    """Eight persons, windows with a shared part: 95 % intervals hold the truth 95 times of 100; those of windows would not."""
    hits, naive = 0, 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        person = np.repeat(np.arange(8), 20)
        values = rng.normal(0, 1, 8)[person] + rng.normal(0, 1, 160)
        low, high = interval(mean, [Clustered.by_person(values, person)], seed=trial, replicates=100)
        hits += low <= 0 <= high
        naive += abs(values.mean()) <= 1.96 * values.std() / math.sqrt(160)
    assert hits >= 182
    assert naive < 120


def test_the_interval_is_repeatable_cut_at_its_bounds_and_around_the_value():
    rng = np.random.default_rng(1)
    these = Clustered.one_by_one(rng.normal(3, 1, 200))
    those = Clustered.by_person(rng.normal(0, 1, 120), np.repeat(np.arange(6), 20))
    first = interval(area, [these, those], seed=4, lowest=0.0, highest=1.0)
    assert first == interval(area, [these, those], seed=4, lowest=0.0, highest=1.0)
    assert first[0] < area(these.parts, those.parts) < first[1] <= 1.0
    low, high = interval(mean_difference, [these, those], seed=4)
    assert (low + high) / 2 == pytest.approx(mean_difference(these.parts, those.parts))


def test_too_few_persons_have_no_interval_and_are_told_how_many_it_takes():
    few = Clustered.by_person(np.arange(40.0), np.repeat(np.arange(LEAST_PERSONS - 1), 10))
    assert interval(mean, [few], seed=0) is None
    assert "at least 5 are needed, about 25 persons in the cohort" in too_few(4)
    assert interval(lambda parts: float("nan"), [Clustered.by_person(np.arange(20.0), np.arange(20))], seed=0) is None


def test_the_interval_of_a_share_is_clopper_and_pearsons():
    assert share_interval(0, 30) == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
    assert share_interval(30, 30) == (pytest.approx(0.025 ** (1 / 30)), 1.0)
    assert share_interval(8, 20) == (pytest.approx(0.1912, abs=1e-4), pytest.approx(0.6395, abs=1e-4))  # tables
