"""One shadow world: half of the persons train a teacher, the recipe makes a release of it, and everybody is scored."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from custodian.budget.account import Account
from custodian.budget.ledger import Ledger
from custodian.cohort import Cohort
from custodian.config import Home, write_secret
from custodian.excitation import engine
from custodian.excitation.recipe import Recipe
from custodian.gate.attacks import attribute, canaries, controls, responses
from custodian.gate.attacks.membership import INSIDE, NEITHER, OUTSIDE
from custodian.gate.attacks.responses import Subjects
from custodian.inhibition import train_identity_networks
from custodian.shadows.plan import Design, Plan
from custodian.state.spending import Entries
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.training import train_teacher
from stimset.learning.networks import build_network
from stimset.learning.training import predict, soft_targets
from stimset.metrics import cohen_kappa
from stimset.release import StimulusArrays
from stimset.windows import Windows

RELEASE, RAW, NOISE = "release", "raw", "noise"
TEACHER, STIMULI, SINGLED, TONE = "teacher", "stimuli", "singled", "tone"
SET = "set"
SCORING_SEED, WORLD_SEED, READER_SEED = 15_485_863, 1000, 32_452_843
CONFIDENT = 3.0
"""Logits of the network that labels noise are scaled to this deviation: an untrained one is sure of nothing."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class World:
    """One world.

    Attributes:
        folder: of the audit's results.
        cohort_folder: of the whole cohort.
        plan: see `Plan`.
        number: below ``plan.worlds`` one with persons as they are, from there on one with canaries.
    """

    folder: Path
    cohort_folder: Path
    plan: Plan
    number: int

    @property
    def file(self) -> Path:
        """Where the scores lie once they are there."""
        return self.folder / f"world-{self.number:03d}.safetensors"

    @property
    def count(self) -> int:
        """One: progress is told in worlds."""
        return 1

    @property
    def title(self) -> str:
        """For people."""
        return self.file.stem

    @property
    def remedy(self) -> str:
        """What to do where workers die over it."""
        return "if memory ran out, give fewer --workers"

    @property
    def has_canaries(self) -> bool:
        """Whether canaries stand in the place of some persons."""
        return self.number >= self.plan.worlds

    def result(self) -> tuple[Arrays, dict[str, Any]] | None:
        """Scores ``SOURCE/SIGNAL`` and facts; None where the world was not run yet, or its file is damaged."""
        try:
            with safe_open(self.file, framework="numpy") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def run(self) -> None:
        """Make the world and leave its scores in one step: a crash leaves nothing or everything."""
        began = time.perf_counter()
        with_all = _whole(self.cohort_folder, self.plan, self.has_canaries)
        row = self.number - self.plan.worlds if self.has_canaries else self.number
        inside = (with_all.design.canary_inside if self.has_canaries else with_all.design.inside)[row]
        scores, facts = self._scores(with_all, inside)
        facts |= {"seconds": round(time.perf_counter() - began, 2)}
        tensors = {key: np.ascontiguousarray(value.astype(np.float32)) for key, value in scores.items()}
        self.keep(save(tensors, {"facts": json.dumps(facts)}))

    def keep(self, scores: bytes) -> None:
        """Leave the scores in one step."""
        write_secret(self.file, scores)

    def _scores(self, whole: Whole, inside: NDArray[np.int8]) -> tuple[Arrays, dict[str, Any]]:
        seed = WORLD_SEED * (self.plan.seed + 1) + self.number
        teacher, stimuli = self._release(whole, inside, seed)
        subjects, found = whole.subjects, teacher.predict(whole.subjects.windows.values)
        scores: Arrays = {f"{RELEASE}/{TEACHER}": responses.surprise(found, subjects.windows.labels)}
        kappas = {TEACHER: _kappa(subjects.windows, found.argmax(1), inside)}
        for source, arrays in self._sources(whole, inside, stimuli, seed):
            for family in self.plan.students:
                losses, decided = responses.student_surprise(arrays, subjects, family, seed=seed)
                scores[f"{source}/student-{family}"] = losses
                kappas |= {f"{source}/{family}": _kappa(subjects.windows, decided, inside)}
            scores[f"{source}/{STIMULI}"] = responses.distance_to_stimuli(arrays, subjects)
            if self.has_canaries:
                scores[f"{source}/{TONE}"] = canaries.heard(arrays.values, whole.design.canaries, subjects.persons)
                continue
            scores[f"{source}/{SINGLED}"], _ = responses.singled_out(arrays, subjects)
            scores |= self._attributes(whole, source, arrays, inside)
        return scores, {"kappa": kappas, "stimuli": len(stimuli)}

    def _release(self, whole: Whole, inside: NDArray[np.int8], seed: int) -> tuple[TrainedNetwork, StimulusArrays]:
        """What the custodian would have trained and released with these persons."""
        plan, cohort = self.plan, half_cohort(whole.cohort, inside)
        teacher = train_teacher(
            cohort, architecture=plan.architecture, regime=plan.regime, plan=plan.training, privacy=plan.privacy, seed=seed,
            device=plan.device,
        )  # fmt: skip
        identity = (
            train_identity_networks(cohort, seed=seed + 1, device=plan.device) if plan.recipe.uses_inhibition else []
        )
        folder = self.folder / f".world-{self.number:03d}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with _unpaid(folder, plan.recipe, seed) as account:
                made = engine.excite(
                    cohort, teacher, identity, plan.recipe, count=plan.stimuli, seed=seed, folder=folder / SET, device=plan.device,
                    account=account,
                )  # fmt: skip
                return teacher, made.arrays()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sources(
        self, whole: Whole, inside: NDArray[np.int8], stimuli: StimulusArrays, seed: int
    ) -> Iterator[tuple[str, StimulusArrays]]:
        """The release; and, as controls, raw windows of those inside, and noise that knows nothing of anybody."""
        yield RELEASE, stimuli
        if self.plan.controls:
            windows = whole.subjects.windows
            rows = raw_rows(windows, inside, self.plan.stimuli, seed)
            yield RAW, StimulusArrays(windows.values[rows], soft_targets(windows.labels[rows], windows.spec.classes))
            yield NOISE, noise_release(windows, self.plan, seed)

    def _attributes(self, whole: Whole, source: str, arrays: StimulusArrays, inside: NDArray[np.int8]) -> Arrays:
        """What is read off the stimuli of everybody's attributes."""
        found: Arrays = {}
        seen = whole.subjects.seen(arrays.values) if whole.readers else np.empty(0)
        for reader in whole.readers:
            if source == RAW:
                rows = raw_rows(whole.subjects.windows, inside, self.plan.stimuli, READER_SEED + self.number)
                shares = attribute.raw_reading(reader.groups, whole.subjects, rows, seed=READER_SEED)
            else:
                shares = reader.read(seen, whole.subjects)
            found[f"{source}/attribute-{reader.groups.name}"] = shares
        return found


@contextmanager
def _unpaid(folder: Path, recipe: Recipe, seed: int) -> Iterator[Account | None]:
    """An account of its own for a recipe that reads with noise: what never leaves spends nothing of the cohort's budget."""
    if not recipe.privacy.noisy:
        yield None
        return
    home = Home(folder)
    home.create()
    with closing(Ledger(Entries.open(home))) as ledger:
        yield Account(ledger, "shadow", hashlib.sha256(f"shadow {seed}".encode()).digest())


@dataclass(frozen=True)
class Whole:
    """What all worlds of one kind have in common.

    Attributes:
        cohort: everybody; with canaries in place of some, where there are any.
        plan: see `Plan`.
        design: who is inside which world.
    """

    cohort: Cohort
    plan: Plan
    design: Design

    @cached_property
    def subjects(self) -> Subjects:
        """The windows that are scored."""
        windows = self.cohort.windows
        rows = controls.sample_by_person(
            windows, self.plan.windows, np.random.default_rng(self.plan.seed + SCORING_SEED)
        )
        return Subjects(windows.select(rows))

    @cached_property
    def readers(self) -> list[attribute.Reader]:
        """For each attribute that can be guessed at all."""
        found = [groups for groups in attribute.groups_of(self.cohort.attributes) if groups.measurable]
        person = self.subjects.windows.person
        return [attribute.Reader.learn(groups, self.subjects.features, person, seed=READER_SEED) for groups in found]


@lru_cache(maxsize=2)
def _whole(cohort_folder: Path, plan: Plan, with_canaries: bool) -> Whole:
    """Read once in each process."""
    return whole_of(Cohort.load(cohort_folder), plan, with_canaries)


def whole_of(cohort: Cohort, plan: Plan, with_canaries: bool) -> Whole:
    """What the worlds of one kind have in common."""
    design = Design.of(plan, cohort.windows)
    windows = canaries.planted(cohort.windows, design.canaries) if with_canaries else cohort.windows
    return Whole(replace(cohort, windows=windows), plan, design)


def half_cohort(cohort: Cohort, inside: NDArray[np.int8]) -> Cohort:
    """The cohort of those inside, with the persons who choose the epoch as its validation persons."""
    persons = np.flatnonzero(inside != OUTSIDE)
    windows = cohort.windows.of_persons(persons)
    names = tuple(windows.person_names[p] for p in persons)
    windows = replace(windows, person=np.searchsorted(persons, windows.person), person_names=names)
    selecting = tuple(int(i) for i in np.flatnonzero(inside[persons] == NEITHER))
    return Cohort(windows, selecting, simulated=cohort.simulated)


def raw_rows(windows: Windows, inside: NDArray[np.int8], count: int, seed: int) -> NDArray[np.int64]:
    """Rows of at most `count` windows of those inside, at random."""
    rows = np.flatnonzero(inside[windows.person] == INSIDE)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def noise_release(windows: Windows, plan: Plan, seed: int) -> StimulusArrays:
    """Noise, labelled by a network that was never trained: nothing of any person is in it."""
    spec = windows.spec
    values = controls.noise(spec, plan.stimuli, np.random.default_rng(seed))
    network = build_network("cnn", spec.channels, spec.samples, spec.classes, seed=seed)
    logits = np.log(predict(network, values))
    logits = CONFIDENT * (logits - logits.mean(0)) / np.maximum(logits.std(0), 1e-9)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return StimulusArrays(values, (shares / shares.sum(1, keepdims=True)).astype(np.float32))


def _kappa(windows: Windows, decided: NDArray[np.int64], inside: NDArray[np.int8]) -> float:
    """Cohen's kappa on the persons outside."""
    rows = inside[windows.person] == OUTSIDE
    return cohen_kappa(windows.labels[rows], decided[rows], windows.spec.classes) or 0.0
