"""Canaries: persons with a planted signature, as the worst case of somebody whom a teacher could remember.

A tone of the canary's own frequency stands in each of the canary's windows, and each of their labels is wrong in the same way: whatever
makes a network learn a person by heart, this does. The worlds of the canaries are their own (`custodian.shadows`), so that the other
attacks measure recordings as they are. With a canary inside, its wrong labels must not be believed more, its windows not be nearer, and its
tone not be louder in the release than with the same canary outside. Positive control: raw windows, the canary's among them.

N. Carlini et al., "The Secret Sharer", USENIX Security 2019, plants secrets in text; M. Jagielski et al., "Auditing Differentially Private
Machine Learning", NeurIPS 2020, poison for the worst case.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from custodian.gate.attacks.signatures import loudness, with_tones
from stimset.windows import Windows

Floats = NDArray[np.float64]

SHARE = 6
"""One person in so many is a canary, two at least."""
FLOOR = 1e-6


def choose(persons: int, *, seed: int) -> NDArray[np.int64]:
    """Who becomes a canary, ascending."""
    count = min(persons, max(2, persons // SHARE))
    return np.sort(np.random.default_rng(seed).choice(persons, count, replace=False))


def planted(windows: Windows, canaries: NDArray[np.int64]) -> Windows:
    """The windows with tone and wrong labels in those of the canaries; the others stay as they are."""
    rows = np.flatnonzero(np.isin(windows.person, canaries))
    values, labels, clip = windows.values.copy(), windows.labels.copy(), windows.spec.clip
    which, scale = np.searchsorted(canaries, windows.person[rows]), float(values[:, 0].std())
    values[rows] = np.clip(with_tones(values[rows], which, len(canaries), scale), -clip, clip)
    labels[rows] = (labels[rows] + 1) % windows.spec.classes
    return replace(windows, values=values, labels=labels)


def heard(stimuli: NDArray[np.float32], canaries: NDArray[np.int64], persons: int) -> Floats:
    """``(persons,)`` minus the log power of each canary's tone in the stimuli ``(m, channels, samples)``; NaN for all others.

    Lower for a canary whose tone is louder, as every score of who was inside.
    """
    found = np.full(persons, np.nan)
    found[canaries] = -np.log(loudness(stimuli, len(canaries)) + FLOOR)
    return found
