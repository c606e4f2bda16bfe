"""Which students differ, and not only by luck: every pair's difference of kappa over resampled persons, corrected for how many pairs
were looked at.

The resamples are paired: both students of a pair are scored on the same drawn persons, so that what is hard for both cancels out. The
p-value is that of a t-test of the difference over its bootstrap deviation with (persons - 1) degrees of freedom, two-sided; Holm's
correction (1979) over all pairs holds the chance of a single false claim at 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two students on the same recordings.

    Attributes:
        better, worse: their names; `better` has the higher kappa here.
        difference: of kappa, not negative.
        interval: of the difference, 95 %.
        p: two-sided, uncorrected; `p_holm` corrected for all pairs of the report.
        differ: whether `p_holm` is below 5 %.
    """

    better: str
    worse: str
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float
    differ: bool


def compare(
    kappas: Mapping[str, float], draws: Mapping[str, NDArray[np.float64]], groups: int
) -> tuple[Comparison, ...]:
    """Every pair of students, most different first.

    Args:
        kappas: student -> kappa.
        draws: student -> ``(draws,)`` kappa on the same resamples; NaN where undefined.
        groups: how many persons (or recordings) were resampled.
    """
    from scipy.stats import t

    names = sorted(kappas, key=lambda name: (-kappas[name], name))
    found: list[tuple[str, str, float, tuple[float, float], float]] = []
    for i, better in enumerate(names):
        for worse in names[i + 1 :]:
            apart = draws[better] - draws[worse]
            apart = apart[np.isfinite(apart)]
            if groups < 3 or len(apart) < 20:
                continue
            difference, deviation = kappas[better] - kappas[worse], float(apart.std(ddof=1))
            p = 2 * float(t.sf(difference / deviation, groups - 1)) if deviation > 0 else float(difference == 0)
            low, high = np.percentile(apart, [2.5, 97.5])
            found.append((better, worse, difference, (float(low), float(high)), p))
    found.sort(key=lambda entry: (entry[4], -entry[2], entry[0], entry[1]))
    corrected = holm([entry[4] for entry in found])
    return tuple(Comparison(*entry, p, p < LEVEL) for entry, p in zip(found, corrected, strict=True))


def holm(ordered: list[float]) -> list[float]:
    """Holm's step-down correction of p-values in ascending order."""
    corrected: list[float] = []
    for i, p in enumerate(ordered):
        corrected.append(max(min(1.0, p * (len(ordered) - i)), corrected[-1] if corrected else 0.0))
    return corrected
