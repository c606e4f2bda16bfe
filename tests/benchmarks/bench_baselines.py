"""What a hospital might let out instead: a tabular synthesiser's windows, models by DP-SGD, federated training; in one table with stimuli.

::

    python tests/benchmarks/bench_baselines.py                                          # quick form, simulated persons
    python tests/benchmarks/bench_baselines.py --data ../shared/data/apnea-ecg --full
    python tests/benchmarks/bench_baselines.py --approaches stimuli,copula,dp-sgd-8 --worlds 0

Leaves build/bench/baselines.json and build/bench/baselines.html, and every single result in build/bench/baselines-cells: work that was
interrupted goes on where it was. The folder baselines-cells holds windows and models; it is private. Libraries that don't go together with
the project's (copulas, Flower) are installed once into environments of their own, in build/bench/baselines-envs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stimset import console
from stimset.errors import ConfigError

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are loaded
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))  # the referee's lessons and the report's themes

FAMILIES = "cnn,random_forest,logistic_regression"
FULL_FAMILIES = "cnn,tcn,mlp,random_forest,gradient_boosting,svm,knn,logistic_regression"
QUICK_SHADOWED = ("stimuli", "copula", "dp-sgd-8", "federated")
SHADOWED = ("noise", "stimuli", "copula", "dp-sgd-1", "dp-sgd-8", "dp-sgd-inf", "federated")
WINDOW = "apnea-5min"
EVERY_SECONDS = 60.0


@console.reports_errors
def main(
    data: Annotated[Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Small sets and few worlds, or 12,000 windows and 8 worlds.")] = True,
    approaches: Annotated[str | None, typer.Option("--approaches", help="Rows of the table, joined by commas; all by default.")] = None,
    shadowed: Annotated[str | None, typer.Option("--shadowed", help="Rows with a membership figure, joined by commas.")] = None,
    families: Annotated[str | None, typer.Option("--families", help="Of students, joined by commas.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="Of the stimuli: a name or a TOML file.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=100, help="Windows of every synthetic set.")] = None,
    per_person: Annotated[int | None, typer.Option("--per-person", min=10, help="Windows of each person that are used.")] = None,
    worlds: Annotated[int | None, typer.Option("--worlds", min=0, help="Shadow worlds: 0, or an even number of 4 or more.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=5, help="Of DP-SGD.")] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Of federated averaging.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything but secret noise.")] = 1,
    workers: Annotated[int, typer.Option("--jobs", min=1, max=256, help="Processes, of one thread each.")] = 2,
    persons: Annotated[int, typer.Option("--persons", min=16, help="Simulated persons to learn from, without --data.")] = 16,
    minutes: Annotated[int, typer.Option("--minutes", min=20, help="Minutes of each.")] = 40,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = ROOT / "build" / "bench",
    environments: Annotated[Path | None, typer.Option("--environments", help="Of other libraries; in --out by default.")] = None,
    table_only: Annotated[bool, typer.Option("--table-only", help="Run nothing; write the table from what is there.")] = False,
) -> None:
    """Hold stimuli beside the baselines that a user would otherwise pick."""
    from dataclasses import replace

    from baselines.approaches import APPROACHES, FULL, QUICK, chosen, environments_of
    from baselines.cells import Bed, cells
    from paper.jobs import code_digest
    from paper.settings import Setting

    from custodian.excitation.recipe import load_recipe

    names = [a.name for a in chosen(approaches.split(",") if approaches else list(APPROACHES))]
    wanted = shadowed.split(",") if shadowed else QUICK_SHADOWED if quick else SHADOWED
    attacked = [approach.name for approach in chosen(wanted) if shadowed or approach.name in names]
    taught = _families(families or (FAMILIES if quick else FULL_FAMILIES))
    number = worlds if worlds is not None else (4 if quick else 8)
    if number % 2 or number == 2:
        raise ConfigError(f"membership is told by an even number of 4 or more worlds (or none at all, 0), not {number}")
    load_recipe(recipe or FULL.recipe)  # an unknown one is refused before anything is made
    given = {"recipe": recipe, "count": count, "steps": steps, "rounds": rounds, "per_person": per_person}
    form = replace(QUICK if quick else FULL, **{name: value for name, value in given.items() if value is not None})
    setting = Setting.make(WINDOW, data, out / "baselines-cells", persons, minutes)
    place = environments or out / "baselines-envs"
    bed = Bed(setting, seed, form, number, place.resolve(), code_digest())
    todo = cells(bed, names, taught, attacked)
    if not table_only:
        _prepare(environments_of({*names, *attacked}, bed.environments))
    failed = {} if table_only else _run(todo, workers, lambda found: _write(out, bed, todo, found))
    document = _write(out, bed, todo, failed)
    _say(document, out)
    if failed:
        raise typer.Exit(1)


def _families(words: str) -> tuple[str, ...]:
    from stimset.learning.families import family

    return tuple(family(name.strip()).name for name in words.split(","))


def _prepare(environments: list[Any]) -> None:
    """Other libraries' environments, before any process needs one."""
    missing = [environment for environment in environments if not environment.ready]
    if not missing:
        return
    with console.progress("environments", len(missing)) as step:
        for number, environment in enumerate(missing):
            step(number, environment.name)
            environment.make()
        step(len(missing))


def _run(todo: list[Any], workers: int, write: Any) -> dict[str, str]:
    """Every cell that is not done yet."""
    import time

    from paper import running

    left = [cell for cell in todo if not cell.file.is_file()]
    console.err.print(f"{len(todo) - len(left)} of {len(todo)} results are there")
    ended: list[Any] = []
    failed: dict[str, str] = {}
    written = time.monotonic()
    with console.progress("baselines", len(left)) as step:

        def on_cell(cell: Any, error: str | None) -> None:
            nonlocal written
            ended.append(cell)
            step(len(ended), cell.title)
            if error:
                failed[cell.title] = error
                console.err.print(f"failed: {cell.title}: {error}")
            elif not console.err.is_terminal:  # a log has no bar
                console.err.print(f"{len(ended)}/{len(left)} {cell.title}")
            if time.monotonic() - written > EVERY_SECONDS:
                write(failed)
                written = time.monotonic()

        return running.run(left, workers, on_cell)


def _write(out: Path, bed: Any, todo: list[Any], failed: dict[str, str]) -> dict[str, Any]:
    """The table from all results that are there, as JSON and as a page."""
    from dataclasses import asdict

    from baselines import page, tables
    from baselines.cells import Whole

    found = {cell: result for cell in todo if (result := cell.result())}
    wholes = [result for cell, result in found.items() if isinstance(cell, Whole)]
    membership = {result["approach"]: bed.membership(result["approach"]) for result in wholes}
    document = {
        "simulated": bed.setting.simulated, "window": bed.setting.window, "seed": bed.seed, "worlds": bed.worlds, "form": asdict(bed.form),
        "rows": tables.rows(wholes, membership), "results": {"there": len(found), "of": len(todo)},
        "code": sorted({result["code"] for result in found.values()}), "failed": failed,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("baselines.json", json.dumps(document, indent=1, allow_nan=False)), ("baselines.html", page.render(document))):
        partial = out / f".{name}"
        partial.write_text(text)
        partial.replace(out / name)
    return document


def _say(document: dict[str, Any], out: Path) -> None:
    from baselines import page

    console.out.print(page.printed(document))
    if len(document["code"]) > 1:
        console.err.print(f"warning: the results were made by {len(document['code'])} versions of the code")
    console.out.print(f"table  {out / 'baselines.json'}\npage   {out / 'baselines.html'}")


if __name__ == "__main__":
    typer.run(main)
