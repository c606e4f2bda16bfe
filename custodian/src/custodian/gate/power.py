"""How much a cohort of this size can show at all: what theory says before any attack has run.

The standard error of an AUC from n persons inside and m outside is Hanley and McNeil's (Radiology 143:29, 1982). It takes persons as the
units, as a patient-level attack must, and holds for an attack that scores each of them once; an attack that sees each person in many shadow
worlds can do somewhat better, never better than its own bootstrapped interval says.
"""

from __future__ import annotations

import math

Z95 = 1.959964
_MOST = 1_000_000


def auc_half_width(inside: int, outside: int, auc: float = 0.5) -> float:
    """Half of the 95 % interval of an AUC that `inside` persons give against `outside` others; infinite where a side is empty.

    Args:
        inside, outside: how many persons on each side.
        auc: the true value; 0.5, where nothing leaks, is the widest but for small differences.
    """
    if inside < 1 or outside < 1:
        return math.inf
    larger, both = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (inside - 1) * (larger - auc**2) + (outside - 1) * (both - auc**2)
    return Z95 * math.sqrt(variance / (inside * outside))


def persons_needed(half_width: float, auc: float = 0.5) -> int:
    """How many persons in all, half of them inside, let an AUC be known to within `half_width`; at most a million is answered."""
    low, high = 1, _MOST // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if auc_half_width(middle, middle, auc) <= half_width else (middle + 1, high)
    return 2 * low


def cohort_warning(inside: int, outside: int, half_width: float) -> str | None:
    """One sentence where the persons are too few for a claim of `half_width`, which says how many it would take; else None.

    Args:
        inside, outside: persons whom the teacher learned, and strangers.
        half_width: that the policy asks for.
    """
    reached = auc_half_width(inside, outside)
    if reached <= half_width:
        return None
    within = f"to within ±{reached:.2f} at best" if math.isfinite(reached) else "not at all"
    return (
        f"The cohort has {inside} patients and {outside} strangers to compare them with. An attack's success (AUC, 0.5 is chance) can be "
        f"measured on so few {within}, so a small leak would not be seen; to within ±{half_width:.2f} it takes about "
        f"{persons_needed(half_width)} persons, half of them strangers. Passed checks mean that no large leak was found, not that there is "
        "none."
    )
