"""Releases of several hospitals whose teachers see the same window otherwise: each stimulus gets the mean of what all of them would say.

A teacher has met the patients of one hospital: mild cases here, a sleep clinic's there, another recorder. Joined as they are, labels of
different teachers contradict each other, and a student of the union is no better than the mean of the students of each (measured: ADR 10).
So each release first teaches a student of its own, which says of the others' stimuli what its teacher would have said; the union's student
learns the mean. Distilling an ensemble is better than its members wherever they err differently (T. Lin et al., "Ensemble Distillation for
Robust Model Fusion in Federated Learning", NeurIPS 2020); there the data are unlabelled and public, here they are the releases themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stimset.release import StimulusArrays

Halves = tuple[StimulusArrays, StimulusArrays]
"""Of a release: stimuli to learn from, and stimuli held out."""

Answers = Callable[[NDArray[np.float32]], NDArray[np.float64]]
"""Stimuli ``(n, channels, samples)`` to probabilities ``(n, classes)``."""


def agreed(releases: Sequence[Halves], teach: Callable[[Halves], Answers]) -> list[Halves]:
    """The same stimuli with the mean belief of their own teacher and of the other releases' students.

    Args:
        releases: two or more.
        teach: fits a student on the first half of a release, with the second to stop by.
    """
    answers = [teach(halves) for halves in releases]
    return [
        (_mean(learned, others), _mean(held, others))
        for position, (learned, held) in enumerate(releases)
        for others in [[answer for other, answer in enumerate(answers) if other != position]]
    ]


def _mean(stimuli: StimulusArrays, others: Sequence[Answers]) -> StimulusArrays:
    beliefs = [stimuli.probabilities.astype(np.float64), *(answer(stimuli.values) for answer in others)]
    return StimulusArrays(stimuli.values, np.mean(beliefs, axis=0).astype(np.float32))
