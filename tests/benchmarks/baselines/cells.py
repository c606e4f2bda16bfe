"""Single pieces of work, each of which leaves one file and is skipped when that file is there (`paper.running` runs them).

A `Whole` makes an approach of the whole cohort and judges it; a `Shadow` makes it of a random half of the persons and keeps everybody's
mean loss, from which `membership` tells how well being inside can be told.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from baselines.approaches import APPROACHES, Form, Ground
from baselines.judging import MODEL_FAMILY, attacks, kappas, persons_surprise
from gatebench.cells import KEY
from paper.settings import Setting

from custodian.cohort import Cohort, pseudonymised, split_persons
from custodian.excitation.recipe import load_recipe
from custodian.gate.attacks.controls import sample_by_person
from custodian.gate.attacks.membership import Worlds, likelihood_ratios, measure
from custodian.gate.attacks.responses import Subjects
from custodian.shadows.plan import Design, Plan
from custodian.shadows.world import half_cohort
from custodian.teacher.training import TEACHER_ARCHITECTURE, TEACHER_REGIME

SCORED = 120
"""Windows of each person that the membership attack scores."""
WORLD_SEED = 1000
TRUE, NOISE, STIMULI = "true", "noise", "stimuli"


@dataclass(frozen=True)
class Bed:
    """One cohort, one seed: where everything is measured.

    Attributes:
        setting: the windows; its test side chooses nothing.
        seed: of everything.
        form: how much.
        worlds: shadow worlds, an even number.
        environments: of other libraries.
        code: digest of the code that runs.
    """

    setting: Setting
    seed: int
    form: Form
    worlds: int
    environments: Path
    code: str = ""

    def __getstate__(self) -> dict[str, Any]:
        # What is read once in each process stays there.
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def folder(self) -> Path:
        """Its name holds all that results depend on, but the code."""
        facts = (asdict(self.form), load_recipe(self.form.recipe).document()["digest"])
        return self.setting.folder / f"baselines-{hashlib.sha256(repr(facts).encode()).hexdigest()[:8]}" / f"seed-{self.seed}"

    @cached_property
    def cohort(self) -> Cohort:
        """The training side under pseudonyms, some windows of each person, with persons kept apart."""
        windows = self.setting.training()
        rows = sample_by_person(windows, self.form.per_person, np.random.default_rng(self.seed))
        windows = pseudonymised(windows.select(rows), KEY)
        return Cohort(windows, split_persons(windows, seed=self.seed), simulated=self.setting.simulated)

    @cached_property
    def inside(self) -> Any:
        """``(worlds, persons)``: who is inside which world, as in the deep audit."""
        plan = Plan(load_recipe("noise"), TEACHER_ARCHITECTURE, TEACHER_REGIME, worlds=self.worlds, canary_worlds=0, seed=self.seed)
        return Design.of(plan, self.cohort.windows).inside

    def ground(self) -> Ground:
        """Of the whole cohort."""
        return Ground(self.cohort, self.form, self.seed, self.folder / "whole", self.environments)

    def world(self, number: int) -> Ground:
        """Of the persons inside a world."""
        place = self.folder / f"worlds-{self.worlds}" / str(number)
        half = half_cohort(self.cohort, self.inside[number])
        return Ground(half, self.form, WORLD_SEED * (self.seed + 1) + number, place, self.environments, shadow=True)

    def membership(self, approach: str) -> dict[str, Any] | None:
        """How well mean losses tell who was inside, by likelihood ratios over worlds; None where a world is missing."""
        found = [Shadow(self, approach, number=number).result() for number in range(self.worlds)]
        if not found or any(world is None for world in found):
            return None
        scores = np.array([world["surprise"] for world in found if world], np.float64)
        worlds = Worlds.of(self.inside)
        told = measure(likelihood_ratios(scores, worlds), worlds, seed=self.seed)
        return {"auc": told.auc, "tpr_at_10": told.at_some, "interval": told.intervals[0], "pairs": told.pairs, "worlds": self.worlds}


@dataclass(frozen=True)
class Cell:
    """One piece of work: what `paper.running` asks of a job.

    Attributes:
        bed: where.
        approach: its name.
        needs: results that must be there before.
    """

    bed: Bed
    approach: str
    needs: tuple[Path, ...] = ()

    @property
    def file(self) -> Path:
        """Where the result lies once it is done."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """For people."""
        raise NotImplementedError

    def found(self) -> dict[str, Any]:
        """Do it."""
        raise NotImplementedError

    def run(self) -> None:
        """Do it, and leave the result in one step: a crash leaves nothing or everything."""
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        whole = {"approach": self.approach, "seed": self.bed.seed, "code": self.bed.code, **self.found()}
        partial = self.file.with_name(f".{self.file.name}")
        partial.write_text(json.dumps(whole, indent=1, allow_nan=False))
        partial.replace(self.file)

    def result(self) -> dict[str, Any] | None:
        """What was found, or None where it is not done yet."""
        try:
            found: dict[str, Any] = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return None
        return found


@dataclass(frozen=True)
class Whole(Cell):
    """An approach of the whole cohort, judged.

    Attributes:
        families: of students, where windows are released.
    """

    families: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return self.bed.folder / "whole" / f"{self.approach}-{'-'.join(self.families)}.json"

    @property
    def title(self) -> str:
        return self.approach

    def found(self) -> dict[str, Any]:
        ground = self.bed.ground()
        with stopwatch() as making:
            made = APPROACHES[self.approach].make(ground)
        families = self.families if made.network is None else (MODEL_FAMILY,)
        scores, leaves = kappas(made, ground, self.bed.setting, families, true_windows=self.approach == TRUE)
        return {
            "kind": "model" if made.windows is None else "windows", "epsilon": made.epsilon, "bytes": leaves, **making,
            "scores": scores, "attacks": attacks(made, ground), "persons": self.bed.cohort.training_persons,
        }  # fmt: skip


@dataclass(frozen=True)
class Shadow(Cell):
    """An approach of half of the persons, and everybody's mean loss under what it lets out.

    Attributes:
        number: of the world.
    """

    number: int = 0

    @property
    def file(self) -> Path:
        return self.bed.folder / f"worlds-{self.bed.worlds}" / str(self.number) / f"{self.approach}.json"

    @property
    def title(self) -> str:
        return f"{self.approach}, shadow world {self.number + 1} of {self.bed.worlds}"

    def found(self) -> dict[str, Any]:
        ground, windows = self.bed.world(self.number), self.bed.cohort.windows
        made = APPROACHES[self.approach].make(ground)
        subjects = Subjects(windows.select(sample_by_person(windows, SCORED, np.random.default_rng(self.bed.seed))))
        return {"surprise": persons_surprise(made, subjects, seed=ground.seed).tolist()}


def cells(bed: Bed, approaches: Sequence[str], families: tuple[str, ...], shadowed: Sequence[str]) -> list[Cell]:
    """Everything that the table needs: the whole cohort first, then world by world.

    Args:
        bed: where.
        approaches: rows of the table.
        families: of students.
        shadowed: approaches whose membership figure is wanted.
    """
    made: list[Cell] = [Whole(bed, name, families=families) for name in approaches]
    if NOISE in approaches and STIMULI in approaches:  # both go by the same teacher, which is trained once
        teacher = Whole(bed, STIMULI, families=families).file
        made = [replace(cell, needs=(teacher,)) if cell.approach == NOISE else cell for cell in made]
    return [*made, *(Shadow(bed, name, number=number) for number in range(bed.worlds) for name in shadowed)]


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Seconds of the work inside: by the clock, and of processors, those of ended child processes included."""
    found: dict[str, float] = {}
    began, used = time.perf_counter(), _processor_s()
    yield found
    found |= {"seconds": round(time.perf_counter() - began, 1), "core_seconds": round(_processor_s() - used, 1)}


def _processor_s() -> float:
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)
