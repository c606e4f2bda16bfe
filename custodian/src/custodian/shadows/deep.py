"""The deep audit of one candidate set, for the command line and for benchmarks.

Usage::

    plan = plan_of(candidates, worlds=16)
    audit = DeepAudit.of(home, cohort, plan, set_name="main")
    audit.estimate_s(workers=2)            # before anything is done
    audit.run(workers=2)                   # goes on where it was
    write_deep(home, candidates, audit.findings(), audit.facts())
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from custodian.cohort import Cohort
from custodian.config import PSEUDONYM_KEY_FILE, Home
from custodian.excitation.candidates import CandidateSet
from custodian.excitation.recipe import recipe_of
from custodian.gate.attacks.base import Finding
from custodian.shadows import costs, running
from custodian.shadows.findings import Scores, canary_findings, gather, kappas, left_out, natural_findings
from custodian.shadows.plan import Plan
from custodian.shadows.world import Whole, World, half_cohort, whole_of
from custodian.teacher.accounting import PrivacyTarget
from custodian.teacher.training import DEFAULT_TARGET, TEACHER_REGIME
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan

OnStep = Callable[[float, str], None]


def unwatched(done: float, note: str) -> None:
    """Nobody watches the progress."""


def plan_of(candidates: CandidateSet, **options: Any) -> Plan:
    """The plan that makes releases as this set was made.

    Args:
        candidates: the set.
        options: other fields of `Plan`.
    """
    facts = candidates.teacher
    training = TrainingPlan(**facts["plan"]) if "plan" in facts else None
    proven = "epsilon" in facts and "delta" in facts
    privacy = PrivacyTarget(float(facts["epsilon"]), float(facts["delta"])) if proven else DEFAULT_TARGET
    regime = str(facts.get("regime", TEACHER_REGIME))
    architecture = one_of(str(facts["architecture"]), int(facts.get("teachers", 1)))
    return Plan(recipe_of(candidates.recipe), architecture, regime, training, privacy, **options)


def one_of(architecture: str, teachers: int) -> str:
    """What was joined so many times over: ``"cnn+tcn"`` of ``"cnn+tcn+cnn+tcn"`` and 2."""
    names = architecture.split("+")
    return "+".join(names[: len(names) // teachers])


@dataclass(frozen=True)
class DeepAudit:
    """All worlds of a plan on a cohort.

    Attributes:
        folder: of the results; its name holds all that they depend on.
        cohort_folder: where the cohort lies, for the processes.
        cohort: the same.
        plan: what is run.
    """

    folder: Path
    cohort_folder: Path
    cohort: Cohort
    plan: Plan

    @classmethod
    def of(cls, home: Home, cohort: Cohort, plan: Plan, *, set_name: str) -> DeepAudit:
        """The audit of a home's set.

        Raises:
            FormatError: too few persons, or a class too rare, for shadow worlds.
        """
        folder = home.root / "audits" / set_name / plan.digest(cohort.seal(home.secret(PSEUDONYM_KEY_FILE)))
        return cls(folder, home.cohort, cohort, plan).checked()

    def checked(self) -> DeepAudit:
        """This audit, once its design is known to be possible, with its private folder."""
        _ = self._natural.design
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self

    @cached_property
    def _natural(self) -> Whole:
        return whole_of(self.cohort, self.plan, with_canaries=False)

    @cached_property
    def worlds(self) -> list[World]:
        """All of them; canary worlds last."""
        return [World(self.folder, self.cohort_folder, self.plan, number) for number in range(self.plan.total)]

    @property
    def left(self) -> list[World]:
        """Those that have no result yet."""
        return [world for world in self.worlds if world.result() is None]

    @cached_property
    def world_s(self) -> float:
        """Seconds of one world on one core: the median of those that were run, or an estimate from a second of training."""
        known = [result[1]["seconds"] for world in self.worlds if (result := world.result())]
        return (
            float(median(known))
            if known
            else costs.world_seconds(self.plan, half_cohort(self.cohort, self._natural.design.inside[0]))
        )

    def estimate_s(self, workers: int) -> float:
        """Seconds until all worlds are there."""
        rounds = -(-len(self.left) // max(1, workers))
        return rounds * self.world_s

    def run(self, *, workers: int | None = 1, address: str | None = None, on_step: OnStep = unwatched) -> None:
        """Make what is missing, on this machine or on the Ray cluster at `address`; see `custodian.shadows.running.run`.

        Raises:
            StimsetError: a world can't be made; those that were finished are kept.
            TransportError: the cluster can't be reached.
        """
        running.run(self.worlds, workers=workers, address=address, expected_s=self.world_s, on_step=on_step)

    @cached_property
    def _scores(self) -> tuple[Scores, Scores | None]:
        if self.left:
            raise ConfigError(
                f"{len(self.left)} of {self.plan.total} worlds are missing; run 'custodian audit --deep' again, it goes on"
            )
        natural, canary = self.worlds[: self.plan.worlds], self.worlds[self.plan.worlds :]
        found = gather(natural, self._natural, self._natural.design.inside)
        if not canary:
            return found, None
        planted = whole_of(self.cohort, self.plan, with_canaries=True)
        return found, gather(canary, planted, planted.design.canary_inside)

    def findings(self) -> list[Finding]:
        """What all attacks found.

        Raises:
            ConfigError: worlds are missing.
        """
        natural, canary = self._scores
        return [*natural_findings(natural), *canary_findings(canary)]

    @property
    def left_out(self) -> dict[str, str]:
        """Attack -> why it is not among the findings."""
        return left_out(self.cohort, self.plan)

    def kappas(self) -> dict[str, float]:
        """Mean kappa, on persons outside, of the teacher and of each student by what it learnt from."""
        return kappas(self._scores[0])

    def facts(self) -> dict[str, Any]:
        """How the findings were made."""
        seconds = sum(facts["seconds"] for scores in self._scores if scores for facts in scores.facts)
        return {
            "plan": self.plan.document(), "kappas": self.kappas(), "core_seconds": round(seconds, 1), "left_out": self.left_out,
        }  # fmt: skip
