"""Metrics against scikit-learn, an independent implementation, and against a slow, plain bootstrap."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from stimset import metrics
from stimset.errors import FormatError


def sample(n: int, classes: int, seed: int, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities on a coarse grid (many ties), labels that follow them."""
    rng = np.random.default_rng(seed)
    chances = np.round(rng.dirichlet(np.ones(classes), size=n), decimals)
    chances = np.clip(chances, 10.0**-decimals, 1)
    chances /= chances.sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)
    return chances, labels


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_metric_equals_sklearns(classes: int, seed: int) -> None:
    chances, labels = sample(400, classes, seed)
    decided = chances.argmax(axis=1)
    got = metrics.score(chances, labels)
    assert got["accuracy"] == pytest.approx(oracle.accuracy_score(labels, decided))
    assert got["kappa"] == pytest.approx(oracle.cohen_kappa_score(labels, decided))
    assert got["log_loss"] == pytest.approx(
        oracle.log_loss(labels, np.clip(chances, 1e-12, 1), labels=range(classes)), abs=1e-6
    )
    rejections = [oracle.recall_score(labels != k, decided != k) for k in range(classes)]
    if classes == 2:
        assert got["sensitivity"] == pytest.approx(oracle.recall_score(labels, decided))
        assert got["specificity"] == pytest.approx(oracle.recall_score(labels, decided, pos_label=0))
        assert got["auroc"] == pytest.approx(oracle.roc_auc_score(labels, chances[:, 1]))
        assert got["auprc"] == pytest.approx(oracle.average_precision_score(labels, chances[:, 1]))
        assert got["f1"] == pytest.approx(oracle.f1_score(labels, decided))
    else:
        assert got["sensitivity"] == pytest.approx(oracle.recall_score(labels, decided, average="macro"))
        assert got["specificity"] == pytest.approx(np.mean(rejections))
        assert got["auroc"] == pytest.approx(oracle.roc_auc_score(labels, chances, multi_class="ovr", average="macro"))
        assert got["auprc"] == pytest.approx(oracle.average_precision_score(np.eye(classes)[labels], chances, average="macro"))
        assert got["f1"] == pytest.approx(oracle.f1_score(labels, decided, average="macro"))
    assert np.array_equal(metrics.confusion_matrix(labels, decided, classes), oracle.confusion_matrix(labels, decided))


def test_calibration_error_by_hand() -> None:
    chances = np.array([[0.1, 0.9]] * 10 + [[0.4, 0.6]] * 10)
    labels = np.array([1] * 8 + [0] * 2 + [1] * 6 + [0] * 4)
    assert metrics.score(chances, labels)["calibration_error"] == pytest.approx(0.5 * 0.1 + 0.5 * 0.0)


def test_bootstrap_equals_a_plain_one() -> None:
    chances, labels = sample(300, 3, 4)
    groups = np.random.default_rng(0).integers(0, 9, 300) * 7  # ids with gaps
    got = metrics.bootstrap(chances, labels, groups, draws=200, seed=3)
    names = np.unique(groups)
    times = np.random.default_rng(3).multinomial(len(names), np.full(len(names), 1 / len(names)), size=200)
    plain: dict[str, list[float]] = {name: [] for name in metrics.METRICS}
    for draw in times:
        rows = np.concatenate([np.flatnonzero(groups == g).repeat(t) for g, t in zip(names, draw, strict=True)])
        for name, value in metrics.score(chances[rows], labels[rows]).items():
            plain[name].append(value)
    for name in metrics.METRICS:
        assert got[name] == pytest.approx(tuple(np.percentile(plain[name], [2.5, 97.5]))), name


def test_intervals_over_persons_are_wider_than_over_windows() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(12), 100)
    right = rng.uniform(size=1200) < rng.uniform(0.5, 1, 12)[person]
    labels = rng.integers(0, 2, 1200)
    chances = np.eye(2)[np.where(right, labels, 1 - labels)]
    wide = metrics.bootstrap(chances, labels, person)["accuracy"]
    narrow = metrics.bootstrap(chances, labels, np.arange(1200))["accuracy"]
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_what_is_undefined_is_none() -> None:
    alone = metrics.score([[0.2, 0.8], [0.4, 0.6]], [1, 1])
    assert alone["auroc"] is None and alone["kappa"] is None and alone["specificity"] is None
    assert alone["accuracy"] == 1.0 and alone["sensitivity"] == 1.0
    constant = metrics.score([[0.9, 0.1], [0.9, 0.1]], [0, 1])
    assert constant["kappa"] == 0.0 and constant["auroc"] == 0.5
    assert metrics.bootstrap([[0.2, 0.8], [0.4, 0.6]], [0, 1], [5, 5]) == dict.fromkeys(metrics.METRICS)
    assert metrics.bootstrap([[0.2, 0.8], [0.4, 0.6]], [1, 1], [5, 6])["auroc"] is None


def test_a_class_that_does_not_occur_is_left_out_of_the_mean() -> None:
    chances = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    got = metrics.score(chances, [0, 1, 1])
    assert got["sensitivity"] == pytest.approx((1 + 0.5) / 2)
    assert got["auroc"] == 1.0


def test_roc_curve_integrates_to_the_auroc() -> None:
    chances, labels = sample(300, 2, 7, decimals=1)
    false, true = metrics.roc_curve(chances[:, 1], labels == 1)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(metrics.score(chances, labels)["auroc"])
    assert metrics.roc_curve([0.1, 0.2], [True, True]) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 10_000))
def test_bounds_hold_for_all(classes: int, n: int, seed: int) -> None:
    got = metrics.score(*sample(n, classes, seed, decimals=1))
    for name, value in got.items():
        if value is not None and name not in ("kappa", "log_loss"):
            assert -1e-12 <= value <= 1 + 1e-12, name
    assert got["kappa"] is None or -1 - 1e-12 <= got["kappa"] <= 1


@pytest.mark.parametrize(
    ("chances", "labels"),
    [
        ([[0.5, 0.5]], [2]),
        ([[0.5, 0.5]], [-1]),
        ([[0.5, 0.5]], [0.5]),
        ([[0.5, 0.5]], [0, 1]),
        ([[np.nan, 0.5]], [0]),
        ([[1.5, -0.5]], [0]),
        ([[1.0]], [0]),
        ([0.5, 0.5], [0, 1]),
        (np.empty((0, 2)), np.empty(0, int)),
    ],
)
def test_bad_input_is_refused(chances: list, labels: list) -> None:
    with pytest.raises(FormatError, match="metrics"):
        metrics.score(chances, labels)


def test_a_thousand_draws_of_a_real_size_are_quick() -> None:
    chances, labels = sample(17_000, 2, 0, decimals=6)
    began = time.perf_counter()
    metrics.bootstrap(chances, labels, np.arange(17_000) % 35)
    assert time.perf_counter() - began < 8
