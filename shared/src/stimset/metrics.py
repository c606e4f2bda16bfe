"""How well probabilities fit labels, with intervals that respect that one person's windows are not independent.

NumPy alone, so that every part of the project (and a partner without scikit-learn) counts in the same way::

    score(probabilities, labels)["kappa"]                             # 0.66
    bootstrap(probabilities, labels, windows.person, seed=1)["kappa"]   # (0.58, 0.73)

Conventions. The decision is the most probable class (the first of equals). With two classes the last label is the
positive one, and sensitivity, specificity, F1, AUROC and AUPRC (average precision) speak of it; with more they are the
mean over the classes, each against the rest, of those classes for which they are defined. A number that the data does
not define (AUROC with one class only, say) is None, never NaN or 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stimset.errors import FormatError

Floats = NDArray[np.float64]

METRICS = (
    "accuracy", "kappa", "sensitivity", "specificity", "auroc", "auprc", "f1", "log_loss", "calibration_error",
)  # fmt: skip

BINS = 15
_FLOOR = 1e-12
_CELLS = 4_000_000  # draws x windows held at once while AUROCs are drawn: 32 MB


def score(probabilities: ArrayLike, labels: ArrayLike) -> dict[str, float | None]:
    """Every metric of `METRICS`.

    Args:
        probabilities: ``(n, classes)``, rows sum to 1.
        labels: ``(n,)`` whole numbers in ``[0, classes)``.

    Returns:
        Name -> value; None where the data does not define it.

    Raises:
        FormatError: the shapes don't fit, a probability is not in [0, 1], or a label is no class.
    """
    chances, truth = _checked(probabilities, labels)
    one = np.zeros(len(truth), dtype=np.int64)
    values = _Counts(chances, truth, one, 1).metrics(np.ones((1, 1)))
    return {name: _number(values[name][0]) for name in METRICS}


def bootstrap(
    probabilities: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float] | None]:
    """Percentile intervals of every metric, drawing whole groups (persons, or records) with replacement.

    Windows of one person resemble each other; drawing windows instead of persons would give intervals that are far too
    narrow. With few persons (below about ten) the intervals are still somewhat too narrow, and with one there are none.

    Args:
        probabilities: ``(n, classes)``, rows sum to 1.
        labels: ``(n,)`` whole numbers in ``[0, classes)``.
        groups: ``(n,)`` what each window belongs to.
        draws: how many resamples.
        seed: of the draws.
        level: the interval's nominal coverage.

    Returns:
        Name -> (low, high); None with a single group, or where a metric is undefined in more than half of the draws.

    Raises:
        FormatError: as `score`; or `groups`, `draws` or `level` don't fit.
    """
    values = resampled(probabilities, labels, groups, draws, seed)
    if not 0 < level < 1:
        raise FormatError("metrics: level must lie between 0 and 1")
    return dict.fromkeys(METRICS) if values is None else intervals_of(values, level)


def intervals_of(values: dict[str, Floats], level: float = 0.95) -> dict[str, tuple[float, float] | None]:
    """Percentile intervals of what `resampled` drew; None where a metric is undefined in more than half of the draws."""
    tails = [50 * (1 - level), 50 * (1 + level)]
    intervals: dict[str, tuple[float, float] | None] = {}
    for name in METRICS:
        known = values[name][np.isfinite(values[name])]
        if 2 * len(known) < len(values[name]):
            intervals[name] = None
        else:
            low, high = np.percentile(known, tails)
            intervals[name] = (float(low), float(high))
    return intervals


def resampled(
    probabilities: ArrayLike, labels: ArrayLike, groups: ArrayLike, draws: int = 1000, seed: int = 0
) -> dict[str, Floats] | None:
    """Every metric on each of the resamples behind `bootstrap`: name -> ``(draws,)``, NaN where undefined.

    With the same groups, draws and seed two models meet the same resamples, so their draws may be subtracted.

    Returns:
        None with a single group.

    Raises:
        FormatError: as `bootstrap`.
    """
    chances, truth = _checked(probabilities, labels)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if member.shape != truth.shape:
        raise FormatError(f"metrics: one group per window is expected, got {member.size} for {len(truth)} windows")
    if draws < 1:
        raise FormatError("metrics: draws must be at least 1")
    count = len(names)
    if count < 2:
        return None
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
    return _Counts(chances, truth, member.astype(np.int64), count).metrics(times)


def confusion_matrix(labels: ArrayLike, decisions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """``(classes, classes)`` counts; row = true class, column = decided class.

    Raises:
        FormatError: the lengths differ, or a label is no class.
    """
    truth, decided = _whole(labels, classes, "label"), _whole(decisions, classes, "decision")
    if truth.shape != decided.shape:
        raise FormatError(f"metrics: {len(truth)} labels and {len(decided)} decisions")
    return (
        np.bincount(truth * classes + decided, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
    )


def agreement(confusion: ArrayLike) -> dict[str, Floats]:
    """Accuracy, kappa, sensitivity, specificity and F1 of confusion matrices alone, whole numbers or not.

    Args:
        confusion: ``(matrices, classes, classes)`` counts, at least 0; row = true class.

    Returns:
        Name -> ``(matrices,)``, NaN where a matrix does not define it.
    """
    return _agreement(np.asarray(confusion, dtype=np.float64))


def cohen_kappa(labels: ArrayLike, decisions: ArrayLike, classes: int) -> float | None:
    """Agreement beyond chance: 1 perfect, 0 chance; None where chance agrees fully (one class on both sides)."""
    return _number(_agreement(confusion_matrix(labels, decisions, classes)[None].astype(np.float64))["kappa"][0])


def roc_curve(scores: ArrayLike, positive: ArrayLike) -> tuple[Floats, Floats] | None:
    """The points of the ROC, from (0, 0) to (1, 1), equal scores as one step.

    Args:
        scores: ``(n,)`` the larger, the more probably positive.
        positive: ``(n,)`` true where it is.

    Returns:
        ``(false positive rate, true positive rate)``; None where one side is empty.
    """
    chances, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    if not truth.any() or truth.all():
        return None
    order = np.argsort(-chances, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(chances[order]) != 0, True))
    hits = np.cumsum(truth[order])[ends]
    misses = ends + 1 - hits
    return np.append(0.0, misses / misses[-1]), np.append(0.0, hits / hits[-1])


class _Counts:
    """What all metrics are sums of, per group: a resample is then a product of matrices, no pass over the windows."""

    def __init__(self, chances: Floats, truth: NDArray[np.int64], member: NDArray[np.int64], groups: int) -> None:
        n, classes = chances.shape
        self.classes, self.member = classes, member
        decided = chances.argmax(axis=1)
        cells = (member * classes + truth) * classes + decided
        self.confusion = np.bincount(cells, minlength=groups * classes**2).reshape(groups, -1).astype(float)
        surprise = -np.log(np.maximum(chances[np.arange(n), truth], _FLOOR))
        self.surprise = np.bincount(member, weights=surprise, minlength=groups)
        # Calibration: per bin of certainty, the windows' excess of certainty over being right.
        certainty = chances.max(axis=1)
        place = member * BINS + np.clip(np.ceil(certainty * BINS).astype(np.int64) - 1, 0, BINS - 1)
        excess = np.bincount(place, weights=certainty - (decided == truth), minlength=groups * BINS)
        self.excess = excess.reshape(groups, BINS)
        self.sides = [(chances[:, k], truth == k) for k in ([1] if classes == 2 else range(classes))]

    def metrics(self, times: Floats) -> dict[str, Floats]:
        """Each metric per draw; `times` ``(draws, groups)`` says how often a group was drawn. NaN: undefined."""
        confusion = (times @ self.confusion).reshape(len(times), self.classes, self.classes)
        total = confusion.sum(axis=(1, 2))
        values = _agreement(confusion)
        with np.errstate(invalid="ignore", divide="ignore"):
            values["log_loss"] = (times @ self.surprise) / total
            values["calibration_error"] = np.abs(times @ self.excess).sum(axis=1) / total
        areas = np.stack([self._areas(times, chances, positive) for chances, positive in self.sides])
        values["auroc"], values["auprc"] = _mean_of_known(areas[:, 0]), _mean_of_known(areas[:, 1])
        return values

    def _areas(self, times: Floats, chances: Floats, positive: NDArray[np.bool_]) -> Floats:
        """``(2, draws)`` areas under the ROC (the share of (positive, negative) pairs in order, equals counting half) and under
        the precision-recall curve (average precision: each step of recall counts with the precision that it is reached at)."""
        order = np.argsort(chances, kind="stable")
        starts = np.flatnonzero(np.append(True, np.diff(chances[order]) != 0))
        member, hit = self.member[order], positive[order]
        areas = np.empty((2, len(times)))
        step = max(1, _CELLS // max(1, len(order)))
        for first in range(0, len(times), step):
            weight = times[first : first + step][:, member]
            positives = np.add.reduceat(weight * hit, starts, axis=1)
            negatives = np.add.reduceat(weight * ~hit, starts, axis=1)
            below = np.cumsum(negatives, axis=1) - 0.5 * negatives
            pairs = positives.sum(axis=1) * negatives.sum(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                areas[0, first : first + step] = (positives * below).sum(axis=1) / pairs
                hits = np.cumsum(positives[:, ::-1], axis=1)
                taken = np.cumsum((positives + negatives)[:, ::-1], axis=1)
                precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
                areas[1, first : first + step] = (positives[:, ::-1] * precision).sum(axis=1) / hits[:, -1]
        return areas


def _agreement(confusion: Floats) -> dict[str, Floats]:
    """Accuracy, kappa, sensitivity, specificity and F1 of ``(draws, classes, classes)`` counts; NaN where undefined."""
    total = confusion.sum(axis=(1, 2))
    right = np.trace(confusion, axis1=1, axis2=2)
    true, decided = confusion.sum(axis=2), confusion.sum(axis=1)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = right / total
        chance = (true * decided).sum(axis=1) / total**2
        # Exact test for "chance agrees fully", since 1 - chance may be a rounding error.
        certain = (true == total[:, None]).any(axis=1) & (true == decided).all(axis=1)
        kappa = np.where(certain, np.nan, (accuracy - chance) / (1 - chance))
        recall = hits / true
        rejection = (total[:, None] - true - decided + hits) / (total[:, None] - true)
        overlap = 2 * hits / (true + decided)
    sides = {"sensitivity": recall, "specificity": rejection, "f1": overlap}
    two = confusion.shape[1] == 2
    means = {name: of_each[:, 1] if two else _mean_of_known(of_each.T) for name, of_each in sides.items()}
    return {"accuracy": accuracy, "kappa": kappa, **means}


def _mean_of_known(rows: Floats) -> Floats:
    """Mean over the first axis of what is not NaN; NaN where nothing is known."""
    known = np.isfinite(rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = np.where(known, rows, 0.0).sum(axis=0) / known.sum(axis=0)
    return mean


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _whole(values: ArrayLike, classes: int, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.dtype == bool):
        raise FormatError(f"metrics: {what}s must be one row of whole numbers, got {array.dtype} {array.shape}")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise FormatError(f"metrics: a {what} lies outside 0 to {classes - 1}")
    return array.astype(np.int64)


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    chances = np.asarray(probabilities, dtype=np.float64)
    if chances.ndim != 2 or chances.shape[1] < 2 or not len(chances):
        raise FormatError(f"metrics: probabilities must be (n > 0, classes > 1), got shape {chances.shape}")
    if not np.isfinite(chances).all() or chances.min() < -1e-6 or chances.max() > 1 + 1e-6:
        raise FormatError("metrics: a probability is not a number in [0, 1]")
    truth = _whole(labels, chances.shape[1], "label")
    if len(truth) != len(chances):
        raise FormatError(f"metrics: {len(chances)} rows of probabilities and {len(truth)} labels")
    return np.clip(chances, 0.0, 1.0), truth
