"""95 % intervals where persons, not windows, are what was drawn.

Windows of one person are alike, so a bootstrap of windows is far too sure. Here whole persons are drawn with replacement (a cluster
bootstrap: Field and Welsh, J. R. Stat. Soc. B 69, 2007); and because few persons make even that too sure, its standard error is widened by
``sqrt(n / (n - 1))`` and multiplied by Student's quantile of ``n - 1`` degrees of freedom rather than by 1.96 (Cameron, Gelbach and Miller,
Rev. Econ. Stat. 90, 2008), where n is the smallest number of persons that stand in a group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from scipy.stats import t as student_t

LEAST_PERSONS = 5
"""With fewer, a bootstrap has hardly any different draws, and Student's quantile grows past any use."""
REPLICATES = 400

Values = NDArray[Any]
Statistic = Callable[..., float]


@dataclass(frozen=True)
class Clustered:
    """Numbers that were drawn together.

    Attributes:
        parts: one array per person; or a single array of independent draws, if `independent`.
        independent: whether the rows of the single part were drawn one by one (stimuli, which belong to no person).
    """

    parts: tuple[Values, ...]
    independent: bool = False

    @classmethod
    def by_person(cls, values: Values, persons: NDArray[np.integer]) -> Clustered:
        """Rows ``(n, ...)`` grouped by ``(n,)`` persons."""
        return cls(tuple(values[persons == p] for p in np.unique(persons)))

    @classmethod
    def one_by_one(cls, values: Values) -> Clustered:
        """Rows ``(n, ...)``, each drawn for itself."""
        return cls((values,), independent=True)

    def drawn(self, rng: np.random.Generator) -> list[Values]:
        """As many persons (or rows) again, with replacement."""
        if self.independent:
            only = self.parts[0]
            return [only[rng.integers(len(only), size=len(only))]]
        return [self.parts[i] for i in rng.integers(len(self.parts), size=len(self.parts))]


def persons_in(groups: Sequence[Clustered]) -> int:
    """How many persons the smallest group has; groups of independent draws don't count."""
    return min((len(g.parts) for g in groups if not g.independent), default=0)


def interval(
    statistic: Statistic, groups: Sequence[Clustered], *, seed: int, lowest: float = -math.inf, highest: float = math.inf,
    replicates: int = REPLICATES,
) -> tuple[float, float] | None:  # fmt: skip
    """The 95 % interval of a statistic.

    Args:
        statistic: takes one list of arrays per group (see `Clustered.drawn`) and returns a number.
        groups: what it is computed of.
        seed: of the draws.
        lowest, highest: bounds of the statistic, at which the interval is cut.
        replicates: draws.

    Returns:
        Both ends, or None where a group has fewer than `LEAST_PERSONS` persons, or no draw has a value (`too_few` says it in words).
    """
    persons = persons_in(groups)
    if persons < LEAST_PERSONS:
        return None
    rng = np.random.default_rng(seed)
    draws = np.array([statistic(*(g.drawn(rng) for g in groups)) for _ in range(replicates)])
    draws = draws[np.isfinite(draws)]
    if len(draws) < replicates / 2:
        return None
    value = statistic(*(list(g.parts) for g in groups))
    half = student_t.ppf(0.975, persons - 1) * draws.std(ddof=1) * math.sqrt(persons / (persons - 1))
    return float(max(lowest, value - half)), float(min(highest, value + half))


def share_interval(hits: int, draws: int) -> tuple[float, float]:
    """The exact 95 % interval of a share of independent draws (Clopper and Pearson, Biometrika 26, 1934)."""
    low = float(beta.ppf(0.025, hits, draws - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, draws - hits)) if hits < draws else 1.0


def too_few(persons: int, *, side: str = "strangers", share: float = 0.2) -> str:
    """Why there is no interval, and what it would take.

    Args:
        persons: how many there are.
        side: who they are.
        share: their share of the whole cohort.
    """
    cohort = math.ceil(LEAST_PERSONS / share)
    return (
        f"{persons} {side} are too few for an interval: at least {LEAST_PERSONS} are needed, about {cohort} persons in the cohort at a "
        f"share of {share:.0%}"
    )


def mean_difference(these: Sequence[Values], those: Sequence[Values]) -> float:
    """Mean of all of the first group's numbers less that of the second's."""
    return float(np.concatenate(these).mean() - np.concatenate(those).mean())


def area(these: Sequence[Values], those: Sequence[Values]) -> float:
    """Chance that a number of the first group is larger than one of the second, ties counted half: the area under the ROC curve."""
    first, second = np.concatenate(these), np.sort(np.concatenate(those))
    below = np.searchsorted(second, first, "left") + np.searchsorted(second, first, "right")
    return float(below.mean() / (2 * len(second)))
