"""Utility: does a student unlike the teacher learn enough from the stimuli?

The same family is trained on the stimuli and on the true windows; both are judged on the validation persons, whom neither the teacher
nor the students trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.gate.attacks.intervals import Clustered, interval
from stimset.learning.families import build
from stimset.metrics import cohen_kappa
from stimset.release import StimulusArrays

MAX_WINDOWS = 12_000


@dataclass(frozen=True)
class StudentTrial:
    """Cohen's kappa of one family on the validation persons' windows, trained on the stimuli and on the true windows.

    Attributes:
        family: of both students.
        stimuli_kappa, true_kappa: of either.
        loss_interval: 95 % interval of `loss` over the validation persons; None where they are too few.
    """

    family: str
    stimuli_kappa: float
    true_kappa: float
    loss_interval: tuple[float, float] | None = None

    @property
    def loss(self) -> float:
        """What the stimuli cost; negative where they teach better."""
        return self.true_kappa - self.stimuli_kappa


def try_student(
    family: str,
    stimuli: StimulusArrays,
    cohort: Cohort,
    *,
    seed: int,
    on_progress: Callable[[float], None] | None = None,
) -> StudentTrial:
    """Train one family on both and compare."""
    training, validation, spec = cohort.training, cohort.validation, cohort.spec
    rows = np.random.default_rng(seed).permutation(len(training))[:MAX_WINDOWS]

    def decisions(values: NDArray[np.float32], targets: NDArray[np.generic], first: float) -> NDArray[np.int64]:
        student = build(family, *spec.shape, spec.classes, seed=seed)
        student.fit(values, targets, on_progress=lambda share: on_progress(first + share / 2) if on_progress else None)
        decided: NDArray[np.int64] = student.predict_proba(validation.values).argmax(1)
        return decided

    on_stimuli = decisions(stimuli.values, stimuli.probabilities, 0.0)
    on_true = decisions(training.values[rows], training.labels[rows], 0.5)
    judged = np.stack([validation.labels, on_stimuli, on_true], axis=1)

    def kappa(judged: NDArray[np.int64], column: int) -> float:
        return cohen_kappa(judged[:, 0], judged[:, column], spec.classes) or 0.0

    def loss(parts: Sequence[NDArray[np.int64]]) -> float:
        drawn = np.concatenate(parts)
        return kappa(drawn, 2) - kappa(drawn, 1)

    persons = Clustered.by_person(judged, validation.person)
    return StudentTrial(
        family, kappa(judged, 1), kappa(judged, 2), interval(loss, [persons], seed=seed, lowest=-2.0, highest=2.0)
    )
