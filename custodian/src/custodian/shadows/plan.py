"""What the deep audit runs, and who is inside which world."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.recipe import Recipe
from custodian.gate.attacks.canaries import choose
from custodian.gate.attacks.membership import INSIDE, NEITHER, OUTSIDE
from custodian.teacher.accounting import PrivacyTarget
from custodian.teacher.training import DEFAULT_TARGET
from stimset.errors import ConfigError, FormatError
from stimset.learning.families import family
from stimset.learning.training import TrainingPlan
from stimset.release import canonical_json
from stimset.windows import Windows

LEAST_PERSONS = 8
SELECTING_SHARE = 0.2
"""Of a world's outside: persons who choose the teacher's epoch, as validation persons do. They count as neither inside nor outside."""
TRIES = 400
DESIGN_SEED, CANARY_SEED = 104_729, 1_299_709


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        recipe, architecture, regime, training, privacy: how the audited set was made, and so every world's release.
        worlds: shadow worlds, an even number.
        canary_worlds: worlds with canaries in place of some persons, an even number; 0 leaves the canaries out.
        stimuli: of each world's release.
        windows: of each person that are scored, at most.
        students: families that learn each release.
        controls: whether raw windows and noise are tried in place of the release too.
        seed: of everything.
        device: where torch computes.
    """

    recipe: Recipe
    architecture: str
    regime: str
    training: TrainingPlan | None = None
    privacy: PrivacyTarget = DEFAULT_TARGET
    worlds: int = 16
    canary_worlds: int = 8
    stimuli: int = 3000
    windows: int = 400
    students: tuple[str, ...] = ("cnn", "knn")
    controls: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if (
            self.worlds < 4
            or self.worlds % 2
            or self.canary_worlds % 2
            or self.canary_worlds in (-1, 2)
            or self.canary_worlds < 0
        ):
            raise ConfigError(
                "a deep audit needs an even number of 4 or more worlds, and of 0, 4 or more canary worlds"
            )
        if self.stimuli < 50 or self.windows < 1 or not self.students:
            raise ConfigError(
                "a deep audit needs 50 stimuli or more, 1 window per person or more, and a family of students"
            )
        for name in self.students:
            family(name)

    @property
    def total(self) -> int:
        """Worlds of both kinds."""
        return self.worlds + self.canary_worlds

    def document(self) -> dict[str, Any]:
        """Plain JSON values: all that results depend on, besides cohort and code."""
        plain = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.type in ("str", "int", "bool") and f.name != "device"
        }
        return {
            **plain, "students": list(self.students), "recipe": self.recipe.document(), "privacy": asdict(self.privacy),
            "training": asdict(self.training) if self.training else None,
        }  # fmt: skip

    def digest(self, cohort_seal: str) -> str:
        """Twelve hex digits: results of equal plans on the same cohort may be put together."""
        return hashlib.sha256(canonical_json([self.document(), cohort_seal])).hexdigest()[:12]


@dataclass(frozen=True)
class Design:
    """Who is inside which world.

    Attributes:
        inside: ``(worlds, persons)``, see `custodian.gate.attacks.membership.Worlds`.
        canary_inside: ``(canary worlds, persons)`` likewise.
        canaries: who they are.
    """

    inside: NDArray[np.int8]
    canary_inside: NDArray[np.int8]
    canaries: NDArray[np.int64]

    @classmethod
    def of(cls, plan: Plan, windows: Windows) -> Design:
        """The same plan and windows give the same design.

        Raises:
            FormatError: fewer than `LEAST_PERSONS` persons, or no halves have every class on both sides.
        """
        persons = len(windows.person_names)
        if persons < LEAST_PERSONS:
            raise FormatError(
                f"{persons} persons are too few for shadow worlds; {LEAST_PERSONS} are needed, 100 or more say something"
            )
        counts = np.zeros((persons, windows.spec.classes), np.int64)
        np.add.at(counts, (windows.person, windows.labels), 1)
        canaries = choose(persons, seed=plan.seed + CANARY_SEED)
        nobody = np.empty(0, np.int64)
        return cls(
            halves(counts, plan.worlds, nobody, np.random.default_rng(plan.seed + DESIGN_SEED)),
            halves(counts, plan.canary_worlds, canaries, np.random.default_rng(plan.seed + CANARY_SEED)),
            canaries,
        )


def halves(
    counts: NDArray[np.int64], worlds: int, canaries: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int8]:
    """``(worlds, persons)``: worlds 2i and 2i + 1 are halves of each other, less those outside who choose the epoch.

    Args:
        counts: ``(persons, classes)`` windows.
        worlds: an even number.
        canaries: half of them are inside each world, and none chooses an epoch.
        rng: who is where.

    Raises:
        FormatError: no halves have every class on both sides.
    """
    persons = len(counts)
    inside = np.full((worlds, persons), OUTSIDE, np.int8)
    chosen = np.zeros(persons)
    selecting = max(1, round(SELECTING_SHARE * persons / 2))
    for first in range(0, worlds, 2):
        half = _half(counts, canaries, rng)
        inside[first, half], inside[first + 1, ~half] = INSIDE, INSIDE
        for world in (first, first + 1):
            free = np.setdiff1d(np.flatnonzero(inside[world] == OUTSIDE), canaries)
            picks = _selecting(counts, free, min(selecting, len(free) - 1), chosen, rng)
            inside[world, picks] = NEITHER
            chosen[picks] += 1
    return inside


def _half(counts: NDArray[np.int64], canaries: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """``(persons,)``: a random half of the canaries and of all others, with every class on both sides."""
    others = np.setdiff1d(np.arange(len(counts)), canaries)
    for _ in range(TRIES):
        half = np.zeros(len(counts), bool)
        for group in (canaries, others):
            half[rng.permutation(group)[: len(group) // 2]] = True
        if counts[half].any(0).all() and counts[~half].any(0).all():
            return half
    raise FormatError(
        "no halves of the cohort have every class on both sides; leave the rarest class out, or add persons"
    )


def _selecting(
    counts: NDArray[np.int64],
    free: NDArray[np.int64],
    size: int,
    chosen: NDArray[np.floating],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Who chooses the epoch: those who did so least often, with as many classes among them as can be had."""
    best, most = free[:size], -1.0
    for _ in range(TRIES // 8):
        picks = free[np.argsort(chosen[free] + rng.random(len(free)) * 2)[:size]]
        classes = float(counts[picks].any(0).sum()) - 1e-3 * float(chosen[picks].sum())
        if classes > most:
            best, most = picks, classes
    return best
