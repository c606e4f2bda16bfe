"""One person fewer: what the gate finds when a person is taken out of the cohort and everything is built again.

::

    python tests/benchmarks/bench_removal.py                                                   # simulated persons: minutes
    python tests/benchmarks/bench_removal.py --data ../shared/data/apnea-ecg --strangers 12    # about 20 minutes
    python tests/benchmarks/bench_removal.py --data ../shared/data/apnea-ecg --strangers 12 --worlds 16    # and the deep figures: an hour

A verdict that turned over with any single person would say more about that person than about the release. So the same cohort is judged
whole, whole once more with other seeds, and without one of its training persons at a time; teacher, identity networks and stimuli are made
anew each time, the strangers stay. Every figure of the gate that has a 95 % interval is held against the interval of the whole cohort: that
interval is over persons, so it should hold what one person more or less does. A figure that has none, for want of strangers (`--strangers`
keeps more of them apart), stands beside what other seeds do to it. With `--worlds` the deep audit is made of each cohort too; its worlds
are kept in build/bench/removal-cells, which is private, and go on where they were. Leaves build/bench/removal.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Column, Table

from stimset import console

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are loaded
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))
PER_PERSON = 540
ARCHITECTURE = "cnn+spectral_mlp"
WHOLE, AGAIN = "everybody", "everybody, other seeds"
AGAIN_SEED = 100


@dataclass(frozen=True)
class Trial:
    """One build of everything.

    Attributes:
        name: for people; no pseudonym stands in it.
        cohort_folder: of the whole cohort.
        removed: a training person, or None.
        recipe, regime: how the set is made.
        count: stimuli.
        seed: of teacher, excitation and attackers.
    """

    name: str
    cohort_folder: Path
    removed: int | None
    recipe: str
    regime: str
    count: int
    seed: int

    def run(self) -> dict[str, Any]:
        """The figures of the gate: name -> value, and its interval where there is one."""
        from custodian.excitation import engine
        from custodian.excitation.recipe import load_recipe
        from custodian.gate.judging import judge
        from custodian.gate.policy import load_policy
        from custodian.inhibition import train_identity_networks
        from custodian.teacher.training import train_teacher

        cohort, recipe = self._cohort(), load_recipe(self.recipe)
        teacher = train_teacher(cohort, regime=self.regime, seed=self.seed)
        identity = train_identity_networks(cohort, seed=self.seed + 1) if recipe.uses_inhibition else []
        with tempfile.TemporaryDirectory() as folder:
            made = engine.excite(
                cohort, teacher, identity, recipe, count=self.count, seed=self.seed, folder=Path(folder) / "set"
            )
            judgement = judge(made.arrays(), cohort, load_policy(), seed=self.seed)
        return {
            "name": self.name, "persons": cohort.training_persons, "admitted": judgement.result.admitted,
            "figures": _figures(judgement.findings) | {
                f"utility-loss-{t.family}": {"value": t.loss, "interval": t.loss_interval} for t in judgement.trials
            },
            "failed": sorted(check.name for check in judgement.result.checks if not check.passed),
        }  # fmt: skip

    def deep(self, work: Path, worlds: int, workers: int, on_step: Any) -> dict[str, Any]:
        """The figures of the deep audit, likewise; worlds are kept below `work`."""
        from gatebench.cells import KEY

        from custodian.excitation.recipe import load_recipe
        from custodian.shadows.deep import DeepAudit
        from custodian.shadows.plan import Plan

        cohort = self._cohort()
        plan = Plan(
            load_recipe(self.recipe), ARCHITECTURE, self.regime, worlds=worlds, canary_worlds=0, stimuli=self.count, controls=False,
            seed=self.seed,
        )  # fmt: skip
        folder = work / plan.digest(cohort.seal(KEY))
        cohort.save(folder / "cohort")
        audit = DeepAudit(folder, folder / "cohort", cohort, plan).checked()
        audit.run(workers=workers, on_step=on_step)
        return _figures(audit.findings())

    def _cohort(self) -> Any:
        """The whole cohort, or a shadow world's of everybody but one."""
        from custodian.cohort import Cohort
        from custodian.gate.attacks.membership import INSIDE, NEITHER, OUTSIDE
        from custodian.shadows.world import half_cohort

        whole = Cohort.load(self.cohort_folder)
        inside = np.full(len(whole.windows.person_names), INSIDE, np.int8)
        inside[list(whole.validation_persons)] = NEITHER
        if self.removed is not None:
            inside[self.removed] = OUTSIDE
        return half_cohort(whole, inside)


@console.reports_errors
def main(
    data: Annotated[Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")] = None,
    removed: Annotated[int, typer.Option("--removed", min=1, help="How many persons are taken out, one at a time.")] = 3,
    recipe: Annotated[str, typer.Option("--recipe", help="A recipe's name or TOML file.")] = "spectral",
    regime: Annotated[str, typer.Option("--regime", help="How teachers are trained.")] = "regularised",
    count: Annotated[int, typer.Option("--count", min=50, help="Stimuli of each set.")] = 3000,
    strangers: Annotated[int | None, typer.Option("--strangers", min=2, help="Persons kept apart; else a fifth.")] = None,
    worlds: Annotated[int, typer.Option("--worlds", min=0, help="Shadow worlds of a deep audit of each cohort; 0 leaves it out.")] = 0,
    persons: Annotated[int, typer.Option("--persons", min=8, help="Simulated persons, without --data.")] = 20,
    minutes: Annotated[int, typer.Option("--minutes", min=10, help="Minutes of each.")] = 60,
    workers: Annotated[int, typer.Option("--jobs", min=1, max=256, help="Processes, of one thread each.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Of everything.")] = 1,
    out: Annotated[Path, typer.Option("--out", help="Where the numbers go.")] = ROOT / "build" / "bench" / "removal.json",
) -> None:
    """Judge the cohort with and without single persons; the exit code is 1 where a figure leaves its interval."""
    from gatebench import cells

    from custodian.cohort import split_persons

    cohort = cells.apnea_cohort(data, PER_PERSON) if data else cells.simulated_cohort(persons, minutes)
    if strangers:
        cohort = replace(cohort, validation_persons=split_persons(cohort.windows, share=strangers / len(cohort.windows.person_names)))
    chosen = np.random.default_rng(seed).permutation(cohort.training_person_indices)[:removed]
    with tempfile.TemporaryDirectory() as folder:
        cohort.save(Path(folder))

        def trial(name: str, person: int | None, seed: int) -> Trial:
            return Trial(name, Path(folder), person, recipe, regime, count, seed)

        trials = [trial(WHOLE, None, seed), trial(AGAIN, None, seed + AGAIN_SEED)]
        trials += [trial(f"without person {i}", int(person), seed) for i, person in enumerate(chosen, 1)]
        found = list(_run(trials, workers))
        if worlds:
            _deepen(trials, found, out.parent / "removal-cells", worlds, workers)
    document = {"recipe": recipe, "regime": regime, "stimuli": count, "seed": seed, "trials": found, "moved": moved(found)}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    console.out.print(_table(found), f"{out}")
    if outside := [f"{m['figure']} ({m['trial']})" for m in document["moved"] if not m["within"] and m["trial"] != AGAIN]:
        console.err.print(f"outside of the interval: {', '.join(outside)}")
        raise typer.Exit(1)


def _run(trials: list[Trial], workers: int) -> Iterator[dict[str, Any]]:
    with (
        console.progress("one person fewer", len(trials)) as step,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        for done, result in enumerate(pool.map(Trial.run, trials), 1):
            step(done, result["name"])
            yield result


def _deepen(trials: list[Trial], found: list[dict[str, Any]], work: Path, worlds: int, workers: int) -> None:
    """Add the deep audit's figures to the trials'."""
    with console.progress("deep audits", worlds * len(trials)) as step:
        for number, trial in enumerate(trials):

            def on_step(done: float, note: str, number: int = number, name: str = trial.name) -> None:
                step(number * worlds + done, f"{name} {note}")

            mine = next(result for result in found if result["name"] == trial.name)
            mine["figures"] |= trial.deep(work, worlds, workers, on_step)


def _figures(findings: Iterable[Any]) -> dict[str, Any]:
    """Name -> headline and its interval, if it has one."""
    return {f.name: {"value": f.value, "interval": f.intervals.get(f.headline)} for f in findings}


def moved(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each figure of each later trial, whether it lies within the first one's interval; figures without an interval are left out."""
    whole = found[0]["figures"]
    return [
        {"trial": trial["name"], "figure": name, "value": figure["value"], "within": low <= figure["value"] <= high}
        for trial in found[1:]
        for name, figure in trial["figures"].items()
        if figure["value"] is not None and (whole.get(name) or {}).get("interval")
        for low, high in [whole[name]["interval"]]
    ]


def _table(found: list[dict[str, Any]]) -> Table:
    first = Column("figure", overflow="fold", min_width=22)
    table = Table(first, *(trial["name"] for trial in found), title="What the gate finds", title_justify="left")
    for name in found[0]["figures"]:
        table.add_row(name, *(_cell(trial["figures"].get(name)) for trial in found))
    table.add_row("verdict", *("admitted" if trial["admitted"] else f"refused: {len(trial['failed'])} checks" for trial in found))
    return table


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    interval = figure["interval"]
    return f"{figure['value']:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


if __name__ == "__main__":
    typer.run(main)
