"""Utility: does a student unlike the teacher learn enough from the stimuli?

The same family is trained on the stimuli and on the true windows; both are judged on the validation persons, whom neither the teacher
nor the students trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from stimset.learning.families import build
from stimset.metrics import cohen_kappa
from stimset.release import StimulusArrays

MAX_WINDOWS = 12_000


@dataclass(frozen=True)
class StudentTrial:
    """Cohen's kappa of one family on the validation persons' windows, trained on the stimuli and on the true windows."""

    family: str
    stimuli_kappa: float
    true_kappa: float

    @property
    def loss(self) -> float:
        """What the stimuli cost; negative where they teach better."""
        return self.true_kappa - self.stimuli_kappa


def try_student(
    family: str, stimuli: StimulusArrays, cohort: Cohort, *, seed: int, on_progress: Callable[[float], None] | None = None
) -> StudentTrial:
    """Train one family on both and compare."""
    training, validation, spec = cohort.training, cohort.validation, cohort.spec
    rows = np.random.default_rng(seed).permutation(len(training))[:MAX_WINDOWS]

    def kappa(values: NDArray[np.float32], targets: NDArray[np.generic], first: float) -> float:
        student = build(family, *spec.shape, spec.classes, seed=seed)
        student.fit(values, targets, on_progress=lambda share: on_progress(first + share / 2) if on_progress else None)
        decisions = student.predict_proba(validation.values).argmax(1)
        return cohen_kappa(validation.labels, decisions, spec.classes) or 0.0

    return StudentTrial(
        family,
        kappa(stimuli.values, stimuli.probabilities, 0.0),
        kappa(training.values[rows], training.labels[rows], 0.5),
    )
