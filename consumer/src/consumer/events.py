"""What a physician reads first: how many events an hour of each recording has, as the labels say and as a student says.

With two labels, the index of a recording is the number of its epochs of the last label per hour of labelled recording. For minutes of
apnea that is an hour's minutes with apnea, 0 to 60: a cousin of the apnea-hypopnea index, which counts single events. Agreement is
that of Bland and Altman (1986): the mean difference, and the limits within which 95 % of the recordings' differences lie if these are
normally distributed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_REACH = 1.96


@dataclass(frozen=True)
class EventAgreement:
    """A student's event index against the labels', per recording.

    Attributes:
        label: whose epochs are counted.
        recordings: their names, and `hours` the labelled hours of each.
        labelled: index per hour by the labels; `found` by the student.
        bias: mean of found minus labelled, and `limits` of agreement around it (None with one recording).
        mean_absolute: mean absolute difference.
        correlation: Pearson's, None where one side does not vary.
    """

    label: str
    recordings: tuple[str, ...]
    hours: tuple[float, ...]
    labelled: tuple[float, ...]
    found: tuple[float, ...]
    bias: float
    limits: tuple[float, float] | None
    mean_absolute: float
    correlation: float | None


def agreement(
    labels: NDArray[np.int64],
    decisions: NDArray[np.int64],
    record: NDArray[np.int64],
    names: tuple[str, ...],
    epoch_s: float,
    label: str,
) -> EventAgreement:
    """Count epochs of class 1 per recording.

    Args:
        labels, decisions: ``(n,)`` 0 or 1.
        record: ``(n,)`` index into `names`.
        names: of the recordings; one without epochs is left out.
        epoch_s: seconds of an epoch.
        label: the name of class 1.
    """
    epochs = np.bincount(record, minlength=len(names))
    there = np.flatnonzero(epochs)
    hours = epochs[there] * epoch_s / 3600
    labelled, found = (np.bincount(record, weights=of == 1, minlength=len(names))[there] / hours for of in (labels, decisions))
    difference = found - labelled
    bias = float(difference.mean())
    limits = None
    if len(there) > 1:
        reach = _REACH * float(difference.std(ddof=1))
        limits = (bias - reach, bias + reach)
    varies = len(there) > 1 and labelled.std() > 0 and found.std() > 0
    return EventAgreement(
        label, tuple(names[i] for i in there), tuple(hours.tolist()), tuple(labelled.tolist()), tuple(found.tolist()), bias, limits,
        float(np.abs(difference).mean()), float(np.corrcoef(labelled, found)[0, 1]) if varies else None,
    )  # fmt: skip
