"""What a release says of recordings that an attacker holds: numbers per window or person that are lower for who was inside.

Three ways to ask. A *student* of the release is less surprised by windows like those behind its soft labels. The stimuli *themselves* lie
nearer to such windows. And the person to whom a stimulus lies nearest is *singled out* by it.

Distances here are no verdict (arXiv 2505.01524): they are compared with the same person's distances in worlds without that person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stimset.learning.families import build
from stimset.learning.features import LIMIT, describe
from stimset.release import StimulusArrays
from stimset.windows import Windows

Floats = NDArray[np.float64]

NEIGHBOURS = 5
LEAST_BELIEF = 1e-6
"""A label is never taken as less probable: one absurd window must not decide a person's mean."""
ISOLATED = 0.9
"""A stimulus singles a person out when the next person is farther by more than a tenth."""
CHUNK = 1024


@dataclass(frozen=True)
class Subjects:
    """The recordings that the attacker holds, of everybody alike.

    Attributes:
        windows: of all persons, inside or not.
    """

    windows: Windows

    @property
    def persons(self) -> int:
        """How many."""
        return len(self.windows.person_names)

    @cached_property
    def _described(self) -> tuple[Floats, Floats, Floats]:
        features = describe(self.windows.values, "spectral")
        deviation = features.std(0)
        return features, features.mean(0), np.where(deviation > 1e-9, deviation, 1.0)

    @cached_property
    def features(self) -> Floats:
        """``(n, features)`` of the windows, standardised over all of them."""
        return self.standardised(self._described[0])

    def standardised(self, features: Floats) -> Floats:
        """Spectral features on the windows' scale."""
        return np.clip((features - self._described[1]) / self._described[2], -LIMIT, LIMIT)

    def seen(self, values: NDArray[np.float32]) -> Floats:
        """Standardised features of other windows or stimuli."""
        return self.standardised(describe(values, "spectral"))

    def per_person(self, per_window: NDArray[np.floating]) -> Floats:
        """``(persons,)`` means of numbers ``(n,)``; NaN for a person without windows."""
        counts = np.bincount(self.windows.person, minlength=self.persons)
        sums = np.bincount(self.windows.person, weights=per_window, minlength=self.persons)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def surprise(probabilities: Floats, labels: NDArray[np.int64]) -> Floats:
    """``(n,)`` loss in nats of the true labels under ``(n, classes)`` probabilities."""
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], LEAST_BELIEF))


def student_surprise(
    stimuli: StimulusArrays, subjects: Subjects, family: str, *, seed: int, on_progress: Callable[[float], None] | None = None
) -> tuple[Floats, NDArray[np.int64]]:  # fmt: skip
    """Loss ``(n,)`` of each window's label under a fresh student of the stimuli, and what the student decides ``(n,)``."""
    spec = subjects.windows.spec
    student = build(family, *spec.shape, spec.classes, seed=seed)
    student.fit(stimuli.values, stimuli.probabilities, on_progress=on_progress)
    found = student.predict_proba(subjects.windows.values)
    return surprise(found, subjects.windows.labels), found.argmax(1).astype(np.int64)


def distance_to_stimuli(stimuli: StimulusArrays, subjects: Subjects) -> Floats:
    """``(n,)`` logarithm of each window's mean distance to the `NEIGHBOURS` nearest stimuli that the teacher would label alike.

    In the space of standardised spectral features. Stimuli whose most probable class is the window's label count; where there are too few,
    all do.
    """
    seen, decided = subjects.seen(stimuli.values), stimuli.probabilities.argmax(1)
    nearest = np.empty(len(subjects.windows))
    for label in np.unique(subjects.windows.labels):
        rows = np.flatnonzero(subjects.windows.labels == label)
        alike = seen[decided == label]
        among = alike if len(alike) >= NEIGHBOURS else seen
        for part, squared in squared_distances(subjects.features[rows], among):
            least = np.partition(squared, min(NEIGHBOURS, len(among)) - 1, axis=1)[:, :NEIGHBOURS]
            nearest[rows[part]] = np.log(np.sqrt(least).mean(1) + 1e-3)
    return nearest


def singled_out(stimuli: StimulusArrays, subjects: Subjects) -> tuple[Floats, float]:
    """How often stimuli point at a person whom they lie clearly nearest to.

    Returns:
        ``(persons,)`` minus the logarithm of the share of stimuli that single the person out (lower for who is pointed at more often), and
        the share of stimuli that single anybody out.
    """
    seen, persons = subjects.seen(stimuli.values), np.unique(subjects.windows.person)
    nearest = np.empty((len(seen), len(persons)))
    for column, person in enumerate(persons):
        mine = subjects.features[subjects.windows.person == person]
        for part, squared in squared_distances(seen, mine):
            nearest[part, column] = squared.min(1)
    order = np.sqrt(np.sort(nearest, axis=1))
    isolated = order[:, 0] < ISOLATED * order[:, 1] if len(persons) > 1 else np.ones(len(seen), bool)
    counts = np.bincount(persons[nearest.argmin(1)[isolated]], minlength=subjects.persons)
    return -np.log((counts + 0.5) / (len(seen) + 1)), float(isolated.mean())


def squared_distances(these: Floats, those: Floats) -> Iterator[tuple[slice, Floats]]:
    """Squared Euclidean distances ``(part of n, m)`` between rows ``(n, d)`` and ``(m, d)``, part by part."""
    norms = (those**2).sum(1)
    for first in range(0, len(these), CHUNK):
        part = slice(first, first + CHUNK)
        rows = these[part]
        yield part, np.maximum((rows**2).sum(1)[:, None] + norms - 2 * rows @ those.T, 0.0)
