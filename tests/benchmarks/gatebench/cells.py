"""What the gate's benchmark runs: one deep audit for each cell, in a folder whose name holds all that it depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from custodian.cohort import Cohort, attributes_of, pseudonymised, split_persons
from custodian.excitation.recipe import load_recipe
from custodian.gate.deep import finding_document
from custodian.shadows.deep import DeepAudit
from custodian.shadows.plan import Plan
from stimset.records import apnea_ecg, open_records, read_demographics, simulate
from stimset.records.simulated import SPEC
from stimset.windowing import make_windows

FRONTIER, SIZE, RECIPES = "frontier", "size", "recipes"
PARTS = (FRONTIER, SIZE, RECIPES)
REGIMES = ("plain", "regularised", "aggregated", "cross-fitted", "dp-sgd")
COMPARED = ("spectral", "paper", "noise")
KEY = b"benchmark"  # of the pseudonyms: nothing here is a home


@dataclass(frozen=True)
class Form:
    """How much is run.

    Attributes:
        shadows: worlds of the frontier and of the recipes.
        canary_worlds: of the recipes.
        size_shadows: worlds of each cohort size.
        stimuli, paper_stimuli: of each world's release; the published generator is slow.
        windows: of each person that are scored.
        sizes: simulated cohorts.
        size_minutes: of each of their persons.
    """

    shadows: int
    canary_worlds: int
    size_shadows: int
    stimuli: int
    paper_stimuli: int
    windows: int
    sizes: tuple[int, ...]
    size_minutes: int


FULL = Form(16, 8, 8, 3000, 1000, 400, (32, 128, 512), 40)
QUICK = Form(6, 4, 6, 600, 100, 60, (16, 32), 20)


@dataclass(frozen=True)
class Cell:
    """One audit of one part.

    Attributes:
        part: of `PARTS`.
        name: the regime, the number of persons, or the recipe.
        audit: see `DeepAudit`.
    """

    part: str
    name: str
    audit: DeepAudit

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.part} {self.name}"

    @cached_property
    def row(self) -> dict[str, Any]:
        """What was found, as plain JSON values; only once all worlds are there."""
        facts = self.audit.facts()
        return {
            "part": self.part, "name": self.name, "persons": len(self.audit.cohort.windows.person_names),
            "worlds": self.audit.plan.worlds, "recipe": self.audit.plan.recipe.name, "regime": self.audit.plan.regime,
            "stimuli": self.audit.plan.stimuli, "student": self.audit.plan.students[0], "kappas": facts["kappas"],
            "core_seconds": facts["core_seconds"],
            "findings": {f.name: finding_document(f) for f in self.audit.findings()},
        }  # fmt: skip


def apnea_cohort(folder: Path, per_person: int) -> Cohort:
    """All 32 persons of the Apnea-ECG database, at most so many windows of each at random: this is about persons, not the official test."""
    windows = make_windows(open_records(folder), apnea_ecg.SPEC_5MIN)
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(windows.person == p))[:per_person] for p in range(len(windows.person_names))]
    windows = pseudonymised(windows.select(np.sort(np.concatenate(rows))), KEY)
    return Cohort(windows, split_persons(windows), False, attributes_of(windows, read_demographics(folder), KEY))


def simulated_cohort(persons: int, minutes: int) -> Cohort:
    """Persons who never lived."""
    windows = pseudonymised(make_windows(simulate(persons, minutes, seed=7), SPEC), KEY)
    return Cohort(windows, split_persons(windows), simulated=True)


def cells(
    parts: Sequence[str], cohort: Cohort, form: Form, work: Path, *, architecture: str, regimes: Sequence[str], recipe: str,
    recipes: Sequence[str], best: str, students: tuple[str, ...],
) -> list[Cell]:  # fmt: skip
    """Everything that is asked for, the cheap parts first.

    Args:
        parts: of `PARTS`.
        cohort: of the frontier and of the recipes.
        form: how much.
        work: folder of all results.
        architecture: of the teachers.
        regimes: of the frontier.
        recipe: of the frontier and of the sizes.
        recipes: that stand side by side.
        best: the regime of sizes and recipes.
        students: of every release.
    """
    made = []
    plan = Plan(load_recipe(recipe), architecture, best, worlds=form.shadows, canary_worlds=0, stimuli=form.stimuli,
                windows=form.windows, students=students, controls=False)  # fmt: skip
    if SIZE in parts:
        for persons in form.sizes:
            of_size = simulated_cohort(persons, form.size_minutes)
            made.append(Cell(SIZE, str(persons), _audit(work, of_size, replace(plan, worlds=form.size_shadows))))
    if FRONTIER in parts:
        made += [Cell(FRONTIER, regime, _audit(work, cohort, replace(plan, regime=regime))) for regime in regimes]
    if RECIPES in parts:
        for name in recipes:
            loaded = load_recipe(name)
            stimuli = form.paper_stimuli if loaded.method == "generator" else form.stimuli
            whole = replace(plan, recipe=loaded, stimuli=stimuli, controls=True, canary_worlds=form.canary_worlds)
            made.append(Cell(RECIPES, loaded.name, _audit(work, cohort, whole)))
    return made


def _audit(work: Path, cohort: Cohort, plan: Plan) -> DeepAudit:
    seal = cohort.seal(KEY)
    folder = work / hashlib.sha256(seal.encode()).hexdigest()[:12]
    if not (folder / "cohort" / "cohort.json").is_file():
        cohort.save(folder / "cohort")
    return DeepAudit(folder / plan.digest(seal), folder / "cohort", cohort, plan).checked()


def headline(row: Mapping[str, Any]) -> tuple[float, tuple[float, float] | None]:
    """AUC of membership by a student of the release, and its interval."""
    finding = row["findings"][f"membership-student-{row['student']}"]
    ends = finding["intervals"].get("auc")
    return finding["measurements"]["auc"], (ends[0], ends[1]) if ends else None
