"""Each patient's vote, their noisy sum, and the one type in which anything of the patients leaves an evaluation.

A patient's vote is the confusion matrix of the patient's windows divided by their number: at most 1 in all cells together, so adding or
removing a patient moves the sum of the votes by at most 1 in the L2 norm, however many windows the patient has and whatever the model does
with them. A vote depends on that patient's windows alone, so the model is asked about each patient apart: a model that mixes the windows of
one batch mixes them within one patient. """

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from custodian.budget import Mechanism
from custodian.budget.account import with_noise
from stimset.metrics import confusion_matrix
from stimset.sealed import Sealed

_SEAL = object()
SENSITIVITY = 1.0


class NoisyCounts(Sealed):
    """The sum of all votes with noise. `noisy_sum` makes it; nothing else of patients is put into a report.

    Attributes:
        values: ``(classes, classes)`` float64, row = true class, in patients; single cells may be negative.
        noise: standard deviation of each.
    """

    __slots__ = ("noise", "values")

    values: NDArray[np.float64]
    noise: float

    def __init__(self, values: NDArray[np.float64], noise: float, *, _seal: object = None) -> None:
        if _seal is not _SEAL:
            raise TypeError("NoisyCounts are made by custodian.evaluation.counting.noisy_sum alone")
        values.setflags(write=False)
        self._store(values=values, noise=noise)


def vote(labels: NDArray[np.int64], probabilities: NDArray[np.float32] | None, classes: int) -> NDArray[np.float64]:
    """One patient's vote ``(classes, classes)``: cells sum to 1.

    Args:
        labels: ``(n,)`` of the patient's windows. probabilities: ``(n, classes)`` as the model answered; None where it gave no answer. A
        window whose answer is not finite, or that has
            none, counts as decided for the first class: that a model failed on a patient is not told otherwise.
        classes: how many there are.
    """
    decided = np.zeros(len(labels), dtype=np.int64)
    if probabilities is not None:
        finite = np.isfinite(probabilities).all(axis=1, keepdims=True)
        decided = np.where(finite, probabilities, 0).argmax(axis=1)
    return confusion_matrix(labels, decided, classes) / len(labels)


def noisy_sum(votes: Iterable[NDArray[np.float64]], mechanism: Mechanism, key: bytes) -> NoisyCounts:
    """All votes together, with the mechanism's Gaussian noise on every cell.

    Args:
        votes: one of each patient, of `vote`.
        mechanism: Gaussian; paid for already.
        key: 32 secret bytes that belong to this question to these patients and to nothing else, and not to its answer: were the noise drawn
            from the answer, two equal answers to two models would show that they are equal.
    """
    deviation = mechanism.noise * SENSITIVITY
    return NoisyCounts(with_noise(np.sum(list(votes), axis=0), deviation, key), deviation, _seal=_SEAL)
