"""How far stimuli lie from the nearest recording: a picture for people, and never a verdict.

A distance says how unusual a patient's windows are as much as how near a stimulus came, and sets that leak membership pass any limit on it
(arXiv 2505.01524). What it can show is the coarsest accident, a set of copies; `custodian.gate.attacks.reconstruction` tests for that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.gate.attacks import controls
from stimset.release import StimulusArrays

MAX_ROWS, MAX_BANK = 500, 3000
STEPS = 21

Floats = NDArray[np.float64]


def distance_picture(stimuli: StimulusArrays, cohort: Cohort, *, seed: int = 0) -> dict[str, list[float]]:
    """Quantiles (0, 5, ... 100 %) of the distance to the nearest training window, for stimuli, strangers' windows and noise.

    Distances are root mean squares per sample, in the units of the normalised signals; at most `MAX_ROWS` of each set are measured
    against at most `MAX_BANK` windows. An empty dictionary where a stimulus is not finite.
    """
    rng = np.random.default_rng(seed)
    if not np.isfinite(stimuli.values).all():
        return {}
    bank = cohort.training.values[controls.sample(len(cohort.training), MAX_BANK, rng)]
    strangers = cohort.validation.values
    sets = {
        "stimuli": stimuli.values[controls.sample(len(stimuli), MAX_ROWS, rng)],
        "strangers' windows": strangers[controls.sample(len(strangers), MAX_ROWS, rng)],
        "noise": controls.noise(cohort.spec, MAX_ROWS, rng),
    }
    steps = np.linspace(0, 1, STEPS)
    return {name: [float(q) for q in np.quantile(_nearest(values, bank), steps)] for name, values in sets.items()}


def _nearest(values: NDArray[np.float32], bank: NDArray[np.float32]) -> Floats:
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (values, bank))
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    nearest: Floats = np.sqrt(np.maximum(squares.min(1), 0.0) / a.shape[1])
    return nearest
