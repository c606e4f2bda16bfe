"""Linkage: is there a patient whom two attackers, knowing nothing of each other, both name as a stimulus's owner?

A stimulus has no true owner, so nobody can be right about it. But if it carries somebody's traits, two attackers who hold different
recordings of the same patients will name the same person more often than by chance. Each attacker links a window to the person of the
nearest window in the space of spectral features (`stimset.learning.features`). The first holds the first third of each person's recordings,
the second the last third; the middle third is the positive control, and nothing that they hold overlaps it.

Agreement is Cohen's kappa within the label: what both would agree on because the label, or an odd stimulus, suggests the same person to
everyone counts as chance. Strangers' windows have a kappa too, since each stranger has a look-alike; only what exceeds theirs counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from custodian.cohort import person_shares
from custodian.gate.attacks import controls
from custodian.gate.attacks.base import Evidence, Finding, OnProgress, unwatched
from custodian.gate.attacks.intervals import Clustered, interval, too_few
from custodian.gate.attacks.signatures import with_tones
from stimset.learning.features import LIMIT, describe
from stimset.windows import Windows

MAX_HELD = 200
MAX_STIMULI = 4_000
MAX_REFERENCE = 3_000

GAP_WANTED = 0.05

WORDS = (
    "How much more often than for strangers' windows two attackers with different recordings of the patients name the same patient as a "
    "stimulus's owner, as a difference of Cohen's kappa within the label; 0 or less is no more."
)
CAVEAT = (
    "The owner that both name is the most similar patient, not a proven source. It says nothing of attackers who look at other features, "
    "nor of membership."
)

Named = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Linkage:
    """Top-1 linkage to the person nearest in feature space, by two disjoint attackers.

    The headline ``agreement-gap`` is limited by the policy. Also measured: over how many persons the links spread
    (``effective-persons``), and how often the first attacker is right about the middle third, over the label alone (``control-lift``).
    Positive control: the middle third with a tenth of noise, or with planted tones where persons are alike; negative control: pink noise.

    At most `MAX_HELD` windows of each person are held by each attacker, and `MAX_STIMULI` stimuli judged.

    Attributes:
        gap_wanted: of the noisy middle third; below it the planted control is run.
    """

    gap_wanted: float = GAP_WANTED

    @property
    def name(self) -> str:
        """``linkage``."""
        return "linkage"

    def cost_s(self, evidence: Evidence) -> float:
        """Measured on one core: describing windows and finding neighbours."""
        judged = min(MAX_STIMULI, len(evidence.stimuli)) + 3 * MAX_REFERENCE
        return 0.1 + judged * evidence.cohort.training_persons * MAX_HELD * 1e-8

    def run(self, evidence: Evidence, *, seed: int, on_progress: OnProgress = unwatched) -> Finding:
        """See `Attack.run`."""
        rng = np.random.default_rng(seed)
        cohort, stimuli = evidence.cohort, evidence.stimuli
        training, strangers = cohort.training, evidence.strangers
        first, middle, last = thirds(training)
        pair = _Pair.of(training, first, last, rng)
        on_progress(0.2)
        mine = controls.sample(len(stimuli), MAX_STIMULI, rng)
        theirs = controls.sample(len(strangers), MAX_REFERENCE, rng)
        known = middle[controls.sample(len(middle), MAX_REFERENCE, rng)]
        noise = controls.noise(training.spec, MAX_REFERENCE // 3, rng)
        named = {
            "stimuli": pair.name(stimuli.values[mine], stimuli.probabilities[mine].argmax(1)),
            "strangers": pair.name(strangers.values[theirs], strangers.labels[theirs]),
            controls.RAW: pair.name(training.values[known], training.labels[known]),
            controls.NOISED: pair.name(controls.noised(training.values[known], rng), training.labels[known]),
            controls.NOISE: pair.name(noise, np.zeros(len(noise), np.int64)),
        }
        on_progress(0.8)
        shares = person_shares(training, cohort.training_person_indices).astype(np.float64)
        positive = agreement_gap([named[controls.NOISED]], [named["strangers"]])
        if positive <= self.gap_wanted:
            positive = _planted_gap(training, (first, last), known, strangers.select(theirs), rng)
        lift = float(
            (named[controls.RAW][:, 0] == training.person[known]).mean() / shares[training.labels[known]].max(1).mean()
        )
        finding = _finding(self.name, named, strangers.person[theirs], lift, positive, seed)
        on_progress(1.0)
        return finding


def thirds(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first, middle and last third of each person's windows, in the order of record and time."""
    order = np.lexsort((windows.start_s, windows.record, windows.person))
    parts = [np.array_split(order[windows.person[order] == p], 3) for p in np.unique(windows.person)]
    first, middle, last = (np.concatenate([p[i] for p in parts]) for i in range(3))
    return first, middle, last


def agreement(parts: list[NDArray[np.int64]]) -> float:
    """Cohen's kappa (Cohen, Educ. Psychol. Meas. 20, 1960) of two attackers within the label.

    Args:
        parts: rows ``(n, 3)``: whom the first names, whom the second names, the label. 0 where both always name the same one.
    """
    rows = np.concatenate(parts)
    by_chance = 0.0
    for label in np.unique(rows[:, 2]):
        of_label = rows[rows[:, 2] == label]
        first, second = (np.bincount(of_label[:, i], minlength=rows[:, :2].max() + 1) / len(of_label) for i in (0, 1))
        by_chance += float(first @ second) * len(of_label) / len(rows)
    agreed = float((rows[:, 0] == rows[:, 1]).mean())
    return (agreed - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0


def agreement_gap(these: list[NDArray[np.int64]], those: list[NDArray[np.int64]]) -> float:
    """`agreement` on the first rows less that on the second."""
    return agreement(these) - agreement(those)


@dataclass(frozen=True)
class _Pair:
    """Two attackers: neighbours in standardised features, and whose windows they are."""

    mean: Floats
    scale: Floats
    neighbours: tuple[tuple[NearestNeighbors, Named], ...]

    @classmethod
    def of(cls, training: Windows, first: Named, last: Named, rng: np.random.Generator) -> _Pair:
        held = [controls.sample_by_person(training, MAX_HELD, rng, rows=rows) for rows in (first, last)]
        features = [describe(training.values[rows], "spectral") for rows in held]
        both = np.concatenate(features)
        deviation = both.std(axis=0)
        pair = cls(both.mean(axis=0), np.where(deviation > 1e-9, deviation, 1.0), ())
        fitted = [NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pair.standardised(x)) for x in features]
        return cls(pair.mean, pair.scale, tuple(zip(fitted, (training.person[rows] for rows in held), strict=True)))

    def standardised(self, features: Floats) -> Floats:
        """Held within the students' limit, so that one odd feature does not decide."""
        scaled: Floats = np.clip((features - self.mean) / self.scale, -LIMIT, LIMIT)
        return scaled

    def name(self, values: NDArray[np.float32], labels: NDArray[np.int64]) -> Named:
        """``(n, 3)``: whom each attacker names, and the label."""
        described = self.standardised(describe(values, "spectral"))
        owners = [persons[near.kneighbors(described, return_distance=False)[:, 0]] for near, persons in self.neighbours]
        return np.stack([*owners, labels], axis=1)


def _planted_gap(
    training: Windows, held: tuple[Named, Named], known: Named, strangers: Windows, rng: np.random.Generator
) -> float:
    """The headline of the middle third when each training person has a tone of their own: the control where persons are alike."""
    persons, owners = np.unique(training.person, return_inverse=True)
    planted = replace(
        training, values=with_tones(training.values, owners.astype(np.int64), len(persons))
    )
    pair = _Pair.of(planted, *held, rng)
    theirs = pair.name(strangers.values, strangers.labels)
    return agreement_gap([pair.name(planted.values[known], planted.labels[known])], [theirs])


def _finding(name: str, named: dict[str, Named], whose: Named, lift: float, positive: float, seed: int) -> Finding:
    groups = Clustered.one_by_one(named["stimuli"]), Clustered.by_person(named["strangers"], whose)
    ends = interval(agreement_gap, groups, seed=seed, lowest=-2.0, highest=2.0)
    kappas = {kind: agreement([rows]) for kind, rows in named.items()}
    gaps = {kind: kappa - kappas["strangers"] for kind, kappa in kappas.items()}
    return Finding(
        name, "agreement-gap",
        {
            "agreement-gap": gaps["stimuli"], "stimuli-agreement": kappas["stimuli"], "strangers-agreement": kappas["strangers"],
            "control-agreement": kappas[controls.RAW], "control-lift": lift,
            "stimuli-effective-persons": _effective(named["stimuli"]), "strangers-effective-persons": _effective(named["strangers"]),
        },
        WORDS, CAVEAT,
        intervals={"agreement-gap": ends} if ends else {},
        missing={} if ends else {"agreement-gap": too_few(len(groups[1].parts))},
        positive_control=positive, negative_control=gaps[controls.NOISE],
    )  # fmt: skip


def _effective(rows: Named) -> float:
    """Over how many persons the links spread: the exponential of their entropy."""
    shares = np.unique(rows[:, :2], return_counts=True)[1] / (2 * len(rows))
    return float(np.exp(-(shares * np.log(shares)).sum()))
