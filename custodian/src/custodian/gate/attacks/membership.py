"""Patient-level membership: was this person's recording among those that the release was made from?

The worlds are made elsewhere (`custodian.shadows`): in each, a random half of the persons made a release as the custodian makes one. Here
are only the numbers: a score of every person in every world, and who was inside. For each person and world the score is held against what
that person scored in the *other* worlds, with them inside and without::

    worlds = Worlds(inside)                       # (worlds, persons): 1 inside, 0 outside, -1 neither
    ratios = likelihood_ratios(losses, worlds)    # large: more probably inside
    roc = measure(ratios, worlds, seed=0)         # AUC with its interval, true positives at few false ones

N. Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022 (LiRA; the variance is pooled, as they advise for few
shadow models); S. Zarifzadeh, P. Liu, R. Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML 2024 (RMIA).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.gate.attacks.base import Curve
from custodian.gate.attacks.intervals import Clustered, Statistic, interval
from stimset.errors import DataInvalid

Floats = NDArray[np.float64]

INSIDE, OUTSIDE, NEITHER = 1, 0, -1
FEW_FALSE, SOME_FALSE = 0.01, 0.10
LEAST_VARIANCE = 1e-12
POLISH = 8
LEAST_SHIFT = 0.05
"""Of the deviation: being inside is taken to lower a score by so much at least. Were the direction left to the other worlds too,
chance would turn it for all persons at once: without any effect (simulated, 16 worlds, 32 persons) the AUC then strayed by 0.038 around
0.488, with the floor by 0.023 around 0.494."""


@dataclass(frozen=True)
class Worlds:
    """Who was inside which world.

    Attributes:
        inside: ``(worlds, units)`` of `INSIDE`, `OUTSIDE`, `NEITHER`. Worlds 2i and 2i + 1 are halves of each other: they are left out
            together, for leaving out one alone would take an observation from one side only, and its mean would flee from it.
        person: ``(units,)`` whose each unit is; by default units are persons.
    """

    inside: NDArray[np.int8]
    person: NDArray[np.int64]

    @classmethod
    def of(cls, inside: NDArray[np.int8]) -> Worlds:
        """Worlds whose units are persons.

        Raises:
            DataInvalid: fewer than two pairs of worlds.
        """
        if inside.ndim != 2 or len(inside) < 4 or len(inside) % 2:
            raise DataInvalid(f"membership: an even number of 4 or more worlds is needed, got shape {inside.shape}")
        return cls(inside.astype(np.int8), np.arange(inside.shape[1]))

    def of_units(self, person: NDArray[np.int64]) -> Worlds:
        """The same worlds for smaller units, such as windows: ``(units,)`` says whose each is."""
        return Worlds(self.inside[:, person], person)

    def only(self, units: NDArray[np.int64]) -> Worlds:
        """The same worlds for some of the units."""
        return Worlds(self.inside[:, units], self.person[units])

    def leaving_out(self) -> Iterator[tuple[slice, Worlds]]:
        """Each pair of worlds, with what the others know: `inside` with the pair as `NEITHER`."""
        for first in range(0, len(self.inside), 2):
            others = self.inside.copy()
            others[first : first + 2] = NEITHER
            yield slice(first, first + 2), Worlds(others, self.person)


def likelihood_ratios(scores: Floats, worlds: Worlds, units: NDArray[np.int64] | None = None) -> Floats:
    """The log-likelihood ratio of inside against outside, by Gaussians around each unit's own means in the other worlds.

    Three things are added to LiRA for the few worlds that a hospital can afford. What moves everybody's score in a world alike (a good
    teacher, a bad one) is taken out. The shift between a unit's two means, which few worlds tell badly, is shrunk toward the mean shift of
    all units as far as its own noise explains the difference (empirical Bayes). And being inside never raises a score.

    Args:
        scores: ``(worlds, units)``, lower for who is inside: mean losses, distances; NaN where a unit was neither inside nor outside.
        worlds: who was inside.
        units: of whom it is asked; all of them tell what moves everybody. None asks of all.

    Returns:
        ``(worlds, units)``, NaN where a unit was `NEITHER`; the larger, the more probably inside.
    """
    known = calibrated(scores, worlds)
    if units is not None:
        known, worlds = known[:, units], worlds.only(units)
    ratios = np.full(known.shape, np.nan)
    for pair, others in worlds.leaving_out():
        middle, shift, variance = _shifts(known, others.inside)
        ratios[pair] = (known[pair] - middle) * shift / variance
    return ratios


def calibrated(scores: Floats, worlds: Worlds) -> Floats:
    """Scores less what moves them all in a world: the median, over units, of what their own means leave.

    A unit's mean is itself over worlds that moved; so the two are found in turns (Tukey's median polish, with means for units).
    """
    known = np.where(worlds.inside == NEITHER, np.nan, scores)
    for _ in range(POLISH):
        known = known - np.nanmedian(known - _mean(known, 0), axis=1, keepdims=True)
    return known


def _shifts(known: Floats, inside: NDArray[np.int8]) -> tuple[Floats, Floats, float]:
    """Each unit's middle between its two means, the shrunk shift from outside to inside, and the pooled variance around the means."""
    sides = [np.where(inside == side, known, np.nan) for side in (INSIDE, OUTSIDE)]
    means, counts = [_mean(side, 0) for side in sides], [np.isfinite(side).sum(0) for side in sides]
    squares = sum(float(np.nansum((side - mean) ** 2)) for side, mean in zip(sides, means, strict=True))
    freedom = sum(int(np.maximum(count - 1, 0).sum()) for count in counts)
    variance = max(squares / max(freedom, 1), LEAST_VARIANCE)
    shift, noise = means[0] - means[1], variance * (1 / np.maximum(counts[0], 1) + 1 / np.maximum(counts[1], 1))
    told, floor = np.isfinite(shift), -LEAST_SHIFT * float(np.sqrt(variance))
    common = min(float(shift[told].mean()) if told.any() else 0.0, floor)
    between = max(0.0, float(((shift - common) ** 2 - noise)[told].mean())) if told.any() else 0.0
    shrunk = common + between / (between + noise) * (np.where(told, shift, common) - common)
    return (means[0] + means[1]) / 2, np.minimum(shrunk, floor), variance


def relative_ratios(losses: Floats, worlds: Worlds) -> Floats:
    """RMIA: the share of strangers in this world whom a unit beats in likelihood over its own average likelihood elsewhere.

    Args:
        losses: ``(worlds, units)`` in nats; the likelihood is ``exp(-loss)``.
        worlds: who was inside; strangers are those outside.

    Returns:
        ``(worlds, units)`` within [0, 1], NaN where a unit was `NEITHER`; the larger, the more probably inside.
    """
    likelihood = np.exp(-np.where(worlds.inside == NEITHER, np.nan, losses))
    shares = np.full(likelihood.shape, np.nan)
    for pair, others in worlds.leaving_out():
        average = sum(_mean(np.where(others.inside == side, likelihood, np.nan), 0) for side in (INSIDE, OUTSIDE)) / 2
        for world in range(pair.start, pair.stop):
            shares[world] = _share_beaten(likelihood[world] / average, worlds.inside[world] == OUTSIDE)
    return shares


def _share_beaten(ratio: Floats, stranger: NDArray[np.bool_]) -> Floats:
    """Of the strangers' finite ratios the share below each ratio, equals counting half, never counting a unit against itself."""
    rest = np.sort(ratio[stranger & np.isfinite(ratio)])
    if not len(rest):
        return np.full(ratio.shape, np.nan)
    beaten = (np.searchsorted(rest, ratio, "left") + np.searchsorted(rest, ratio, "right")) / 2
    own = stranger & np.isfinite(ratio)
    share = np.where(own, (beaten - 0.5) / max(1, len(rest) - 1), beaten / len(rest))
    return np.where(np.isfinite(ratio), share, np.nan)


@dataclass(frozen=True)
class Measured:
    """How well scores tell inside from outside, over all pairs of a unit and a world.

    Attributes:
        auc: area under the ROC; 0.5 is guessing.
        at_few, at_some: true-positive rate at 1 % and at 10 % false positives.
        intervals: 95 % of the three, where there are persons enough.
        curve: the ROC.
        pairs: how many pairs of a unit and a world.
    """

    auc: float
    at_few: float
    at_some: float
    intervals: tuple[tuple[float, float] | None, ...]
    curve: Curve
    pairs: int

    def numbers(self, prefix: str = "") -> dict[str, float]:
        """The three numbers by name."""
        return dict(zip(_names(prefix), (self.auc, self.at_few, self.at_some), strict=True))

    def known_intervals(self, prefix: str = "") -> dict[str, tuple[float, float]]:
        """Their intervals by name."""
        return {name: ends for name, ends in zip(_names(prefix), self.intervals, strict=True) if ends}


def _names(prefix: str) -> tuple[str, str, str]:
    return f"{prefix}auc", f"{prefix}tpr-at-1", f"{prefix}tpr-at-10"


def measure(scores: Floats, worlds: Worlds, *, seed: int) -> Measured:
    """Hold the scores of units inside against those outside.

    Args:
        scores: ``(worlds, units)``; the larger, the more probably inside.
        worlds: who was inside.
        seed: of the bootstrap, which draws whole persons with all their worlds.

    Raises:
        DataInvalid: nobody was inside, or nobody outside, or no score is finite.
    """
    used = np.isfinite(scores) & (worlds.inside != NEITHER)
    values, positive = scores[used], worlds.inside[used] == INSIDE
    owner = np.broadcast_to(worlds.person, scores.shape)[used]
    if not positive.any() or positive.all():
        raise DataInvalid("membership: persons inside and persons outside are needed; run more worlds")
    persons = Clustered.by_person(np.column_stack([values, positive]), owner)

    def drawn(which: int) -> Statistic:
        def statistic(parts: list[NDArray[np.floating]]) -> float:
            rows = np.concatenate(parts)
            return rates(rows[:, 0], rows[:, 1] > 0)[which]

        return statistic

    ends = tuple(interval(drawn(i), [persons], seed=seed, lowest=0.0, highest=1.0) for i in range(3))
    return Measured(*rates(values, positive), ends, Curve.of(values[positive], values[~positive]), len(values))


def rates(values: Floats, positive: NDArray[np.bool_]) -> tuple[float, float, float]:
    """The AUC, and the true-positive rates at 1 % and 10 % false positives, of scores ``(n,)``; NaN where one side is empty."""
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.diff(values[order]) != 0, True)
    hits = np.append(0.0, np.cumsum(positive[order])[ends])
    misses = np.append(0.0, np.cumsum(~positive[order])[ends])
    if not hits[-1] or not misses[-1]:
        return (np.nan, np.nan, np.nan)
    tpr, fpr = hits / hits[-1], misses / misses[-1]
    reached = [float(tpr[fpr <= limit + 1e-12].max()) for limit in (FEW_FALSE, SOME_FALSE)]
    return float(np.trapezoid(tpr, fpr)), reached[0], reached[1]


def _mean(values: Floats, axis: int) -> Floats:
    """The mean of what is not NaN; NaN, without a warning, where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))
