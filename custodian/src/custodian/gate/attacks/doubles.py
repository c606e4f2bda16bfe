"""Persons who stand on both sides of the split under two names, because a recording was kept twice.

It happens: two records of Apnea-ECG (c05 and c06) are one recording. Such a person is no stranger: every comparison with strangers would be
too kind, and the copying of their windows would look like chance. The gate leaves them out of the strangers and says so.
"""

from __future__ import annotations

import numpy as np

from custodian.cohort import Cohort
from custodian.gate.attacks import controls
from custodian.gate.attacks.alignment import Whitening

MAX_BANK = 40_000
MAX_ASKED = 60
RATIO = 0.3
SHARE = 0.1


def find_doubles(cohort: Cohort, *, seed: int = 0) -> tuple[int, ...]:
    """Validation persons of whose windows at least a tenth are a training person's.

    A window counts as somebody's if it is far more like one of theirs than like anybody else's: its distance (1 - likeness) to the nearest
    person is less than 0.3 of that to the second nearest (the ratio test of Lowe, Int. J. Comput. Vis. 60, 2004; 0.01 to 0.2 for the
    recording kept twice). Regular breathing, alike in everybody, is no evidence.

    Args:
        cohort: whose two sides are compared: at most `MAX_ASKED` windows of each validation person with at most `MAX_BANK` in all.
        seed: of the choice of windows.
    """
    rng = np.random.default_rng(seed)
    windows, persons = cohort.windows, cohort.training_person_indices
    if len(persons) < 2:
        return ()
    whitening = Whitening.of(windows.values[controls.sample(len(windows), MAX_BANK, rng)])
    strangers = cohort.validation
    rows = controls.sample_by_person(strangers, MAX_ASKED, rng)
    asked, whose = whitening.spectra(strangers.values[rows]), strangers.person[rows]
    training = cohort.training
    bank = controls.sample_by_person(training, max(1, MAX_BANK // len(persons)), rng)
    near = np.stack([
        whitening.nearest(asked, whitening.spectra(training.values[bank[training.person[bank] == p]])) for p in persons
    ])  # fmt: skip
    first, second = np.sort(1 - near, axis=0)[:2]
    theirs = first < RATIO * second
    return tuple(int(p) for p in np.unique(whose) if theirs[whose == p].mean() >= SHARE)
