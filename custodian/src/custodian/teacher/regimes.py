"""The regimes by name: how a teacher is kept from remembering single patients, and what may be said of it.

A regime's guarantee is one sentence for the card: what holds, for whom, and what does not. It says "measured" where the gate's attacks are
all there is, and states epsilon and delta where there is a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from custodian.budget.mechanisms import Mechanism
from custodian.teacher import dp_sgd, grouped, pate
from custodian.teacher.lessons import Lesson, Taught
from stimset.errors import ConfigError
from stimset.learning.networks import member_names
from stimset.learning.training import TrainingPlan

PLAIN_PLAN = TrainingPlan(epochs=10, label_smoothing=0.05, noise=0.1, shift=0.05, patience=3, steps_at_least=400)
# Few steps are half of it: what is passed over twice is hardly remembered (measured; see the handbook's table of regimes).
REGULARISED_PLAN = TrainingPlan(
    epochs=4,
    label_smoothing=0.2,
    noise=0.1,
    shift=0.5,
    mixup=0.4,
    dropout=0.4,
    weight_decay=0.05,
    patience=2,
    steps_at_least=250,
)
UNVALIDATED_PLAN = replace(REGULARISED_PLAN, steps_at_least=150)
NOISY_STEPS_PLAN = TrainingPlan(epochs=120, batch=64, learning_rate=2e-3, label_smoothing=0.05, noise=0.1, shift=0.05)

_PROOF = (
    "({epsilon:.3g}, {delta:g})-differential privacy for each training person's recordings as a whole: it holds for the teacher's weights "
    "and for all that is computed from them alone, not for the counts and the validation score stated here, nor for what the recipe reads "
    "of patients beside the teacher, which is accounted for apart. "
)


@dataclass(frozen=True)
class Regime:
    """One way to train a teacher.

    Attributes:
        name: as on the command line and in the provenance.
        summary: a line for help texts.
        guarantee: a sentence for the card; with ``{epsilon}`` and ``{delta}`` where it is proven.
        plan: how each network is trained, unless a caller gives another.
        teach: does it.
        rounds: epochs at most of each network's training, in the order in which they are trained.
        draws: what it draws from the cohort's privacy budget; None where nothing is proven.
    """

    name: str
    summary: str
    guarantee: str
    plan: TrainingPlan
    teach: Callable[[Lesson], Taught]
    rounds: Callable[[Lesson], list[int]]
    draws: Callable[[Lesson], Mechanism] | None = None

    def words(self, facts: Mapping[str, Any]) -> str:
        """The guarantee, with what was spent filled in."""
        return self.guarantee.format(**facts) if self.draws else self.guarantee


def _teach_once(lesson: Lesson) -> Taught:
    return lesson.taught(lesson.cohort.training, lesson.seed)


def _rounds_once(lesson: Lesson) -> list[int]:
    return lesson.planned_rounds(len(lesson.cohort.training))


def _rounds_of_groups(lesson: Lesson) -> list[int]:
    groups = grouped.groups_of(lesson.cohort, lesson.seed)
    return [n for group in groups for n in lesson.planned_rounds(len(lesson.cohort.windows.of_persons(group)))]


def _rounds_of_halves(lesson: Lesson) -> list[int]:
    halves = grouped.balanced_halves(lesson.cohort, grouped.HALVES, lesson.seed)
    return [n for half in halves for n in lesson.planned_rounds(len(lesson.cohort.windows.of_persons(half)))]


def _rounds_of_pate(lesson: Lesson) -> list[int]:
    groups = grouped.disjoint_groups(lesson.cohort, pate.group_count(lesson.cohort.training_persons), lesson.seed)
    rounds = [n for group in groups for n in lesson.planned_rounds(len(lesson.cohort.windows.of_persons(group)))]
    return rounds + [pate.STUDENT_PLAN.with_enough_steps(pate.QUERIES).epochs] * len(member_names(lesson.architecture))


REGIMES: dict[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime(
            "plain", "label smoothing and early stopping on persons kept apart",
            "None: nothing but label smoothing and early stopping keeps the teacher from remembering its patients. What that lets an "
            "attacker find is measured by the gate.",
            PLAIN_PLAN, _teach_once, _rounds_once,
        ),
        Regime(
            "regularised", "mixup across persons, dropout, stronger smoothing and shifts",
            "No proof: windows of different persons are mixed, labels smoothed and units dropped, so that the teacher fits no single "
            "patient closely. What an attacker still finds is measured by the gate.",
            REGULARISED_PLAN, _teach_once, _rounds_once,
        ),
        Regime(
            "aggregated", "mean belief of teachers on disjoint groups of persons",
            "No proof: the mean of teachers on disjoint groups of persons; a person reaches one of them only. What an attacker still "
            "finds is measured by the gate.",
            REGULARISED_PLAN, grouped.teach_groups, _rounds_of_groups,
        ),
        Regime(
            "cross-fitted", "mean belief of teachers on random halves of the persons",
            "No proof: the mean of teachers on random halves of the persons; each person is unknown to half of them. What an attacker "
            "still finds is measured by the gate.",
            REGULARISED_PLAN, grouped.teach_halves, _rounds_of_halves,
        ),
        Regime(
            "pate", "a student of noisy labels from disjoint groups; proven, for cohorts of hundreds",
            _PROOF + "Kept by noise on the counted votes of teachers on disjoint groups of persons (PATE).",
            UNVALIDATED_PLAN, pate.teach_privately, _rounds_of_pate, pate.privacy_drawn,
        ),
        Regime(
            "dp-sgd", "noise on every step's clipped gradients of persons; proven, for cohorts of hundreds",
            _PROOF + "Kept by noise on clipped gradients of persons (DP-SGD).",
            NOISY_STEPS_PLAN, dp_sgd.teach_by_noisy_steps, lambda lesson: [lesson.plan.epochs],
            dp_sgd.privacy_drawn,
        ),
    )
}  # fmt: skip


def regime_of(name: str) -> Regime:
    """The regime of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in REGIMES:
        raise ConfigError(f"there is no regime '{name}'; known are {', '.join(REGIMES)}")
    return REGIMES[name]
