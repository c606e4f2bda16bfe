"""Persons who stand in a cohort under two names, because a recording was kept twice.

It happens: two records of Apnea-ECG (c05 and c06) are one recording. Where the two stand on both sides of the split, the one kept apart is
no stranger: every comparison with strangers would be too kind, and the copying of their windows would look like chance. The gate leaves
them out of the strangers and says so. Where both are learned from, one patient counts twice in every average: ``custodian ingest`` warns of
it.

A window counts as somebody's if it is far more like one of theirs than like anybody else's: its distance (1 - likeness) to the nearest
person is less than 0.3 of that to the second nearest (the ratio test of Lowe, Int. J. Comput. Vis. 60, 2004; 0.01 to 0.2 for the
recording kept twice). Regular breathing, alike in everybody, is no evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.gate.attacks import controls
from custodian.gate.attacks.alignment import Whitening
from stimset.windows import Windows

MAX_BANK = 40_000
MAX_ASKED = 60
ASKED_IN_ALL = 2000
"""Of a cohort of hundreds fewer windows of each person are asked: a night kept twice shows in nearly all of them."""
LEAST_ASKED = 4
RATIO = 0.3
SHARE = 0.1


def find_doubles(cohort: Cohort, *, seed: int = 0) -> tuple[int, ...]:
    """Validation persons of whose windows at least a tenth are a training person's.

    Args:
        cohort: whose two sides are compared: at most `MAX_ASKED` windows of each validation person with `MAX_BANK` of the others in all.
        seed: of the choice of windows.
    """
    training = [int(p) for p in cohort.training_person_indices]
    return tuple(sorted({asked for asked, _ in _owned(cohort.windows, cohort.validation_persons, training, seed)}))


def find_pairs(windows: Windows, *, seed: int = 0) -> tuple[tuple[int, int], ...]:
    """Persons ``(a, b)``, a below b, of whom at least a tenth of the windows of one are the other's; whichever side they stand on.

    Args:
        windows: of a whole cohort.
        seed: of the choice of windows.
    """
    everybody = range(len(windows.person_names))
    found = _owned(windows, everybody, everybody, seed)
    return tuple(sorted({(min(pair), max(pair)) for pair in found}))


def _owned(windows: Windows, asked: Sequence[int], bank: Sequence[int], seed: int) -> Iterator[tuple[int, int]]:
    """Pairs of a person asked and another of the bank, of whom a tenth of the former's windows are."""
    others = len(set(bank))
    if others < 2 or not len(asked):
        return
    rng = np.random.default_rng(seed)
    whitening = Whitening.of(windows.values[controls.sample(len(windows), MAX_BANK, rng)])
    each = min(MAX_ASKED, max(LEAST_ASKED, ASKED_IN_ALL // len(asked)))
    rows = controls.sample_by_person(windows, each, rng, rows=np.flatnonzero(np.isin(windows.person, asked)))
    spectra, whose = whitening.spectra(windows.values[rows]), windows.person[rows]
    banked = controls.sample_by_person(
        windows, max(1, MAX_BANK // others), rng, rows=np.flatnonzero(np.isin(windows.person, bank))
    )
    distance = np.stack([_distances(whitening, spectra, whose, windows, banked, p) for p in bank])
    nearest = distance.argmin(axis=0)
    first, second = np.sort(distance, axis=0)[:2]
    owner = np.where(first < RATIO * second, np.asarray(bank)[nearest], -1)
    for person in np.unique(whose):
        for other in np.unique(owner[(whose == person) & (owner >= 0)]):
            theirs = owner[whose == person] == other
            if theirs.sum() > 1 and theirs.mean() >= SHARE:  # one window may be alike by chance
                yield int(person), int(other)


def _distances(
    whitening: Whitening, asked: NDArray[np.complex64], whose: NDArray[np.int64], windows: Windows, banked: NDArray[np.int64],
    person: int,
) -> NDArray[np.float32]:  # fmt: skip
    """``(asked,)``: how far each is from this person's windows; nobody is compared with themselves."""
    theirs = banked[windows.person[banked] == person]
    near: NDArray[np.float32] = 1 - whitening.nearest(asked, whitening.spectra(windows.values[theirs]))
    near[whose == person] = np.inf
    return near
