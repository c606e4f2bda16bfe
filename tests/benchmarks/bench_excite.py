"""Stimuli per second: the published recipe's loop and ours, in turns, on one core, by the same teacher; and what students learn from both.

::

    python tests/benchmarks/bench_excite.py                                   # simulated persons, some minutes
    python tests/benchmarks/bench_excite.py --data ../shared/data/apnea-ecg

The published loop (`custodian.excitation.generator`) runs once, without a break in its own work: after each block of stimuli its clock is
stopped, and each of our recipes makes a whole shard, with everything that belongs to it (draws, labels, the file). The first block of
either is not counted. What a set needs once (reading the statistics, training an editor) is counted apart, as `setup_seconds`; with it,
`per_second_of` says what a set of each size comes to. Seconds are the processor's: this process has one thread, and what else runs on
the machine does not count. Only the scaling over workers is told in seconds of the wall clock. Leaves build/bench/excite.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stimset import console

os.environ["OMP_NUM_THREADS"] = "1"  # before torch and NumPy are loaded: the measure is one core
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))  # the referee's lessons

if TYPE_CHECKING:
    from custodian.cohort import Cohort
    from custodian.pipeline import Teachers
    from stimset.release import StimulusArrays

PAPER = "paper"
FAMILIES = ("cnn", "mlp", "random_forest")
SIZES = (8_000, 100_000, 1_000_000)


@dataclass
class Clock:
    """Single blocks of work.

    Attributes:
        blocks: ``(stimuli, processor seconds)``, in order; the first is the warm-up.
        setup: processor seconds that a set takes before its first stimulus.
    """

    blocks: list[tuple[int, float]] = field(default_factory=list)
    setup: float = 0.0

    def rates(self) -> list[float]:
        """Stimuli per second of each block but the first."""
        return [count / seconds for count, seconds in self.blocks[1:]]

    def rate_of(self, stimuli: int) -> float:
        """Stimuli per second of a set of this size, its setup included."""
        return stimuli / (self.setup + stimuli / median(self.rates()))


def pair_ratios(ours: Clock, paper: Clock) -> list[float]:
    """Ours over the paper's, block by block: what else the machine did at that moment, it did to both."""
    return [a / b for a, b in zip(ours.rates(), paper.rates(), strict=False)]


def row(recipe: str, clock: Clock, kappa: dict[str, float | None], stimuli: int) -> dict[str, Any]:
    """One line of the result."""
    rates = clock.rates()
    return {
        "recipe": recipe, "per_second": round(median(rates), 3), "slowest": round(min(rates), 3), "fastest": round(max(rates), 3),
        "setup_seconds": round(clock.setup, 2), "per_second_of": {str(n): round(clock.rate_of(n), 1) for n in SIZES},
        "blocks": len(rates), "stimuli_per_block": clock.blocks[-1][0], "students_stimuli": stimuli, "kappa": kappa,
    }  # fmt: skip


class Race:
    """The published loop and our recipes in turns."""

    def __init__(
        self,
        cohort: Cohort,
        teachers: Teachers,
        recipes: Sequence[str],
        folder: Path,
        *,
        block: int,
        count: int,
        seed: int,
    ) -> None:
        from custodian.excitation.recipe import load_recipe

        self.cohort, self.teachers, self.folder = cohort, teachers, folder
        self.recipes = [load_recipe(name) for name in recipes]
        self.paper = load_recipe(PAPER)
        self.block, self.count, self.seed = block, count, seed
        self.clocks = {PAPER: Clock(), **{recipe.name: Clock() for recipe in self.recipes}}
        self.made: dict[str, list[StimulusArrays]] = {name: [] for name in self.clocks}
        self.jobs: dict[str, Any] = {}

    def run(self, rounds: int, step: console.Step) -> None:
        """So many blocks of each, one more for the warm-up; the published loop's stimuli go to `made` too."""
        import numpy as np

        from custodian.excitation.generator import generate
        from stimset.learning.training import predict
        from stimset.release import StimulusArrays

        network = self.teachers.teacher.network.eval().requires_grad_(False)
        since = time.process_time()

        def on_stimulus(done: int) -> None:
            nonlocal since
            if done % self.block:
                return
            self.clocks[PAPER].blocks.append((self.block, time.process_time() - since))
            for recipe in self.recipes:
                self._ours(recipe, len(self.clocks[PAPER].blocks))
            stimuli, seconds = self.clocks[PAPER].blocks[-1]
            step(done // self.block, f"{stimuli / seconds:.1f} a second by the paper's loop")
            since = time.process_time()

        rng = np.random.default_rng(self.seed)
        values = generate(
            self.paper.generator, self.cohort.spec, network, self.block * (rounds + 1), rng, on_stimulus=on_stimulus
        )
        self.made[PAPER] = [StimulusArrays(values, predict(network, values).astype(np.float32))]

    def set_up(self, step: console.Step) -> None:
        """What each of our recipes' sets needs once."""
        from custodian.excitation.engine import ordered
        from custodian.excitation.preparation import given

        for recipe in self.recipes:
            began = time.process_time()
            order = ordered(
                self.cohort,
                self.teachers.teacher,
                given(recipe, self.teachers.identity),
                recipe,
                seed=self.seed,
                folder=self.folder / recipe.name,
            )
            self.jobs[recipe.name] = order.excitation()
            self.clocks[recipe.name].setup = time.process_time() - began
            step(len(self.jobs), f"{self.clocks[recipe.name].setup:.1f} s before {recipe.name}'s first stimulus")

    def _ours(self, recipe: Any, number: int) -> None:
        from safetensors.numpy import load

        from custodian.excitation.order import Shard
        from stimset.release import StimulusArrays

        began = time.process_time()
        shard = Shard(number, self.count)
        data = self.jobs[recipe.name].shard(shard.number, shard.count, lambda done: None)
        shard.write(self.folder, data)
        self.clocks[recipe.name].blocks.append((self.count, time.process_time() - began))
        self.made[recipe.name].append(StimulusArrays(**load(data)))

    def scaling(self, most: int, shards: int, step: console.Step) -> list[dict[str, Any]]:
        """The first recipe's set by one worker, two, and so on: seconds of the wall clock, with all that belongs to it."""
        from custodian.excitation.engine import SHARD_STIMULI, excite
        from custodian.excitation.pools import Processes

        found: list[dict[str, Any]] = []
        for workers in range(1, most + 1):
            began = time.perf_counter()
            excite(
                self.cohort, self.teachers.teacher, self.teachers.identity, self.recipes[0], count=shards * SHARD_STIMULI, seed=self.seed,
                folder=self.folder / f"by-{workers}", pool=Processes(workers),
            )  # fmt: skip
            seconds = time.perf_counter() - began
            found.append({"workers": workers, "stimuli": shards * SHARD_STIMULI, "seconds": round(seconds, 2), "times": round(
                (found[0]["seconds"] if found else seconds) / seconds, 2
            )})  # fmt: skip
            step(workers, f"{seconds:.1f} s by {workers}")
        return found

    def stimuli(self, name: str, most: int) -> StimulusArrays:
        """What was made, `most` of it."""
        import numpy as np

        from stimset.release import StimulusArrays

        parts = self.made[name]
        return StimulusArrays(
            np.concatenate([p.values for p in parts])[:most], np.concatenate([p.probabilities for p in parts])[:most]
        )


def student_kappa(cohort: Cohort, stimuli: StimulusArrays, family: str, seed: int) -> float | None:
    """Cohen's kappa on the persons kept apart."""
    from referee import lesson_of_stimuli

    from stimset.learning.families import build
    from stimset.metrics import cohen_kappa

    taught, validation, spec = lesson_of_stimuli(stimuli, None, seed), cohort.validation, cohort.spec
    student = build(family, *spec.shape, spec.classes, seed)
    student.fit(taught.values, taught.probabilities, (taught.held_values, taught.held_probabilities))
    return cohen_kappa(validation.labels, student.predict(validation.values), spec.classes)


@console.reports_errors
def main(
    data: Annotated[
        Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")
    ] = None,
    recipes: Annotated[
        list[str] | None, typer.Option("--recipes", help="Ours: a name or TOML file; the first gives 'ratio'.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Blocks of each; one more warms up.")] = 5,
    block: Annotated[int, typer.Option("--block", min=2, help="Stimuli of the published loop in a block.")] = 100,
    count: Annotated[int, typer.Option("--count", min=20, help="Stimuli of ours in a block.")] = 1000,
    most: Annotated[int, typer.Option("--students", min=20, help="Stimuli that students learn from, at most.")] = 4000,
    persons: Annotated[int, typer.Option("--persons", min=6, help="Simulated persons.")] = 24,
    minutes: Annotated[int, typer.Option("--minutes", min=20, help="Minutes of each.")] = 60,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Scaling up to so many workers; 0 leaves it out.")
    ] = 2,
    shards: Annotated[int, typer.Option("--shards", min=1, help="Shards of 1,000 for the scaling.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 1,
    out: Annotated[Path, typer.Option("--out", help="Folder of the result.")] = ROOT / "build" / "bench",
) -> None:
    """Measure stimuli per second of the published loop and of ours."""
    import torch
    from paper.jobs import Bench
    from paper.settings import Setting

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        bench = Bench(Setting.make("apnea-5min", data, work, persons, minutes), seed)
        with console.progress("teacher and identity networks", 1) as step:
            prepared = bench.prepare()
            step(1, f"kappa {prepared['validation_kappa']:.3f}")
        race = Race(
            bench.cohort,
            bench.teachers,
            recipes or ["spectral", "swift", "prior"],
            work,
            block=block,
            count=count,
            seed=seed,
        )
        with console.progress("what sets need once", len(race.recipes)) as step:
            race.set_up(step)
        with console.progress("in turns", rounds + 1) as step:
            race.run(rounds, step)
        rows = []
        with console.progress("students", len(race.clocks) * len(FAMILIES)) as step:
            for recipe, clock in race.clocks.items():
                stimuli, kappa = race.stimuli(recipe, most), {}
                for family in FAMILIES:
                    kappa[family] = student_kappa(bench.cohort, stimuli, family, seed)
                    step(len(rows) * len(FAMILIES) + len(kappa), f"{family} on {recipe}")
                rows.append(row(recipe, clock, kappa, len(stimuli)))
        scaling = []
        if workers:
            with console.progress("scaling", workers) as step:
                scaling = race.scaling(workers, shards, step)
    document = {**_document(race, rows, data is None, prepared), "scaling": scaling}
    out.mkdir(parents=True, exist_ok=True)
    (out / "excite.json").write_text(json.dumps(document, indent=1, allow_nan=False))
    _say(document, out)


def _document(race: Race, rows: list[dict[str, Any]], simulated: bool, prepared: dict[str, Any]) -> dict[str, Any]:
    ratios = {recipe.name: pair_ratios(race.clocks[recipe.name], race.clocks[PAPER]) for recipe in race.recipes}
    first = race.recipes[0].name
    return {
        "ratio": round(median(ratios[first]), 1), "ratio_of": first, "simulated": simulated,
        "ratios": {name: {"median": round(median(r), 1), "pairs": [round(x, 1) for x in r]} for name, r in ratios.items()},
        "threads": 1, "teacher_validation_kappa": prepared["validation_kappa"],
        "validation_persons": prepared["validation_persons"], "rows": rows,
    }  # fmt: skip


def _say(document: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    mark = " (SIMULATED persons)" if document["simulated"] else ""
    table = Table(title=f"stimuli per second on one core{mark}", title_justify="left", title_style="bold")
    for head in (
        "recipe",
        "per second",
        "times the paper's",
        "setup, s",
        "a set of 100,000",
        "students' stimuli",
        *(f"kappa {family}" for family in FAMILIES),
    ):
        table.add_column(head, justify="left" if head == "recipe" else "right")
    for entry in document["rows"]:
        ratio = document["ratios"].get(entry["recipe"], {}).get("median", 1.0)
        kappas = [entry["kappa"][family] for family in FAMILIES]
        table.add_row(
            entry["recipe"], f"{entry['per_second']:.1f}", f"{ratio:.1f}", f"{entry['setup_seconds']:.1f}",
            f"{entry['per_second_of']['100000']:.0f}", str(entry["students_stimuli"]),
            *("-" if k is None else f"{k:.3f}" for k in kappas),
        )  # fmt: skip
    console.out.print(table)
    for entry in document["scaling"]:
        console.out.print(
            f"{entry['workers']} worker(s): {entry['stimuli']} stimuli in {entry['seconds']} s, {entry['times']} times one worker"
        )
    console.out.print(f"result {out / 'excite.json'}")


if __name__ == "__main__":
    typer.run(main)
