"""Reconstruction: has a patient's window been copied into a stimulus?

Each stimulus is held against the windows of every person, under any shift in time and any gain (`custodian.gate.attacks.alignment`): of the
training persons, and of persons whom nobody trained on.

A distance by itself says nothing of privacy (Yao et al., arXiv 2505.01524): stimuli may lie near a patient's window because all recordings
are alike, and far from it while they give the patient away. So nothing is read from distances as such. What counts is what only copying
explains: a stimulus that is far more like a window of one training person than like anything of anybody else. Windows of strangers, held
against everybody but themselves, show how often that happens by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.gate.attacks import controls
from custodian.gate.attacks.alignment import Whitening
from custodian.gate.attacks.base import Curve, Evidence, Finding, OnProgress, unwatched
from custodian.gate.attacks.intervals import Clustered, interval, share_interval, too_few
from stimset.errors import DataInvalid
from stimset.windows import Windows

MAX_STIMULI = 4_000
MAX_REFERENCE = 1_000
MAX_CONTROLS = 200
MAX_BANK = 40_000
RATIO = 0.5

WORDS = (
    "Share of the stimuli that are a training person's window again: far more like it, under any shift and gain, than like anything of "
    "any other person. 0 is no copying, 1 is nothing but copies."
)
CAVEAT = (
    "It finds copies under shift, gain and moderate noise, not under other disguises, and not a patient's style or membership. That "
    "stimuli are far from the windows is no evidence of privacy."
)
DOUBLES = (
    "{count} of the persons kept apart share a recording with a training person and were not counted as strangers: look whether the cohort "
    "holds a recording twice, or a person under two names."
)

Likeness = NDArray[np.float32]
Persons = NDArray[np.int64]


@dataclass(frozen=True)
class Reconstruction:
    """Nearest real window under time shift and gain, against the same for persons never seen.

    The headline ``copied-share`` is limited by the policy; its interval is that of the stimuli that were drawn (Clopper-Pearson). Controls:
    windows of the training persons, rolled by a random time and scaled by a random gain, as they are and with a tenth of noise, must be
    caught (the lesser counts); pink noise and strangers' windows must pass (the greater counts).

    Also measured: ``nearer-auc``, the chance that a stimulus is more like a random training person than like a random stranger, with
    an interval over persons. At most `MAX_STIMULI` stimuli are judged, against at most `MAX_BANK` windows: all of them in a cohort like
    Apnea-ECG's; a copy of a window that is left out is still found by its neighbours, which overlap it.
    """

    @property
    def name(self) -> str:
        """``reconstruction``."""
        return "reconstruction"

    def cost_s(self, evidence: Evidence) -> float:
        """Measured on one core: the matrix product of queries and bank counts most."""
        spec = evidence.cohort.spec
        queries = min(MAX_STIMULI, len(evidence.stimuli)) + MAX_REFERENCE + 3 * MAX_CONTROLS
        bank = min(MAX_BANK, len(evidence.cohort.windows))
        return 0.1 + queries * bank * (5e-9 + 6e-11 * spec.channels * spec.samples)

    def run(self, evidence: Evidence, *, seed: int, on_progress: OnProgress = unwatched) -> Finding:
        """See `Attack.run`.

        Raises:
            DataInvalid: fewer than two strangers, or a value is not finite.
        """
        rng = np.random.default_rng(seed)
        cohort = evidence.cohort
        if len(evidence.stranger_persons) < 2:
            raise DataInvalid(
                "copies are told from likeness by windows of at least 2 persons kept apart; ingest more persons"
            )
        queries = _queries(evidence, rng)
        reference, whose = _reference(evidence.strangers, rng)
        everything = np.concatenate([*queries.values(), reference])
        likeness = _likeness(everything, cohort, rng, on_progress)
        likeness[:, list(evidence.doubles)] = 0.0  # they would hide the person whose double they are
        parts = np.split(likeness, np.cumsum([len(q) for q in queries.values()]))
        by_chance = parts.pop()
        by_chance[np.arange(len(whose)), whose] = 0.0  # a stranger's likeness to themselves
        return _finding(self.name, dict(zip(queries, parts, strict=True)), by_chance, evidence, seed)


def _queries(evidence: Evidence, rng: np.random.Generator) -> dict[str, Likeness]:
    """What is held against the bank: the stimuli and the controls."""
    cohort, stimuli = evidence.cohort, evidence.stimuli.values
    training = cohort.training
    known = training.values[controls.sample(len(training), MAX_CONTROLS, rng)]
    moved = np.stack(
        [np.roll(w, s, axis=-1) for w, s in zip(known, rng.integers(known.shape[-1], size=len(known)), strict=True)]
    )
    moved = moved * rng.uniform(0.5, 2.0, (len(moved), 1, 1)).astype(np.float32)
    return {
        "stimuli": stimuli[controls.sample(len(stimuli), MAX_STIMULI, rng)],
        controls.RAW: moved,
        controls.NOISED: controls.noised(moved, rng),
        controls.NOISE: controls.noise(cohort.spec, MAX_CONTROLS, rng),
    }


def _reference(strangers: Windows, rng: np.random.Generator) -> tuple[Likeness, NDArray[np.int64]]:
    """Windows of the strangers, as many of each, and whose they are."""
    each = max(1, MAX_REFERENCE // len(np.unique(strangers.person)))
    rows = controls.sample_by_person(strangers, each, rng)
    return strangers.values[rows], strangers.person[rows]


def _likeness(queries: Likeness, cohort: Cohort, rng: np.random.Generator, on_progress: OnProgress) -> Likeness:
    """``(queries, persons)``: how much each query is like the window of each person that is most like it."""
    windows = cohort.windows
    persons = len(windows.person_names)
    whitening = Whitening.of(windows.values[controls.sample(len(windows), MAX_BANK, rng)])
    asked = whitening.spectra(queries)
    most = len(windows) if len(windows) <= MAX_BANK else max(1, MAX_BANK // persons)
    likeness = np.zeros((len(queries), persons), np.float32)
    for p in range(persons):
        mine = np.flatnonzero(windows.person == p)
        mine = mine[controls.sample(len(mine), most, rng)]
        if len(mine):
            likeness[:, p] = whitening.nearest(asked, whitening.spectra(windows.values[mine]))
        on_progress((p + 1) / persons)
    return likeness


def singled_out(likeness: Likeness, persons: Persons) -> NDArray[np.bool_]:
    """Which windows are one person's: the ratio test of Lowe (Int. J. Comput. Vis. 60, 2004).

    Args:
        likeness: ``(n, everybody)`` to each person's most similar window, from 0 to 1; nearest persons are sought among all columns.
        persons: who counts; the nearest must be one of them.

    Returns:
        ``(n,)``: the distance (1 - likeness) to the nearest person is below `RATIO` of that to the second nearest.
    """
    first, second = np.sort(1 - likeness, axis=1)[:, :2].T
    alone: NDArray[np.bool_] = first < RATIO * second
    return alone & np.isin(likeness.argmax(axis=1), persons)


def nearer(rows: list[Likeness], training: list[Persons], strangers: list[Persons]) -> float:
    """Chance that a stimulus is more like a random training person than like a random stranger; 0.5 is no difference."""
    near, bank = rows[0], np.concatenate(training)
    wins = [(near[:, bank] > near[:, [p]]) + 0.5 * (near[:, bank] == near[:, [p]]) for p in np.concatenate(strangers)]
    return float(np.mean(wins))


def _finding(name: str, found: Mapping[str, Likeness], by_chance: Likeness, evidence: Evidence, seed: int) -> Finding:
    inside, outside = evidence.cohort.training_person_indices, np.array(evidence.stranger_persons)
    copied = {kind: singled_out(rows, inside) for kind, rows in {**found, "strangers": by_chance}.items()}
    shares = {kind: float(flags.mean()) for kind, flags in copied.items()}
    sides = [Clustered.by_person(side, side) for side in (inside, outside)]
    groups = [Clustered.one_by_one(found["stimuli"]), *sides]
    nearer_ends = interval(nearer, groups, seed=seed, lowest=0.0, highest=1.0)
    intervals = {"copied-share": share_interval(int(copied["stimuli"].sum()), len(copied["stimuli"]))}
    near = {kind: rows[:, inside].max(1) for kind, rows in found.items()}
    chance = by_chance[:, inside].max(1)
    return Finding(
        name, "copied-share",
        {
            "copied-share": shares["stimuli"], "strangers-share": shares["strangers"],
            "raw-copied-share": shares[controls.RAW], "noised-copied-share": shares[controls.NOISED],
            "nearer-auc": nearer([found["stimuli"]], *(list(side.parts) for side in sides)),
            "stimuli-likeness": float(np.median(near["stimuli"])), "strangers-likeness": float(np.median(chance)),
        },
        WORDS, CAVEAT,
        intervals=intervals | ({"nearer-auc": nearer_ends} if nearer_ends else {}),
        missing={} if nearer_ends else {"nearer-auc": too_few(len(outside))},
        curves={kind: Curve.of(likeness, chance) for kind, likeness in near.items()},
        notes=(DOUBLES.format(count=len(evidence.doubles)),) if evidence.doubles else (),
        positive_control=min(shares[controls.RAW], shares[controls.NOISED]),
        negative_control=max(shares[controls.NOISE], shares["strangers"]),
    )  # fmt: skip
