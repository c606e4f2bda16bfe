"""The paper's table: recipes x families of students x metrics, mean and spread over seeds, beside true data and noise.

::

    python tests/benchmarks/bench_paper.py                                    # quick form, simulated persons: minutes
    python tests/benchmarks/bench_paper.py --data ../shared/data/apnea-ecg --full    # five seeds, every family: hours
    python tests/benchmarks/bench_paper.py --recipes spectral --recipes my-recipe.toml --seeds 2

Leaves build/bench/paper.json and build/bench/paper.html, and every single result in build/bench/paper-cells: work that was interrupted
goes on where it was, and seeds, families, recipes and windows can be added. The folder paper-cells holds windows; it is private.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from stimset import console

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are loaded
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))  # the referee's lessons and the report's themes

QUICK_FAMILIES = ("cnn", "mlp", "random_forest", "logistic_regression")
FAMILIES = (
    "cnn", "deep_cnn", "lstm", "gru", "tcn", "transformer", "mlp", "random_forest", "gradient_boosting", "svm", "knn",
    "logistic_regression", "naive_bayes", "decision_tree",
)  # fmt: skip
QUICK_COUNT, FULL_COUNT = 2000, 12_000
QUICK_SLOW, FULL_SLOW = 300, 3000
QUICK_SEEDS, FULL_SEEDS = 1, 5
QUICK_RECIPES = ["noise", "average-spectrum", "prior", "paper", "spectral"]
EVERY_SECONDS = 60.0


@console.reports_errors
def main(
    data: Annotated[Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="Few families and one seed, or all families and five seeds.")] = True,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, max=100, help="Seeds 1 to N.")] = None,
    families: Annotated[list[str] | None, typer.Option("--families", help="A family of students; may be repeated, or a,b,c.")] = None,
    recipes: Annotated[list[str] | None, typer.Option("--recipes", help="A recipe's name or TOML file; may be repeated.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=20, help="Stimuli of each recipe.")] = None,
    paper_count: Annotated[int | None, typer.Option("--paper-count", min=20, help="Stimuli of the published generator.")] = None,
    windows: Annotated[list[str] | None, typer.Option("--window", help="apnea-5min or apnea-60s; may be repeated.")] = None,
    folds: Annotated[int | None, typer.Option("--folds", min=2, help="Cross-validate over all persons, a part for each seed.")] = None,
    cap: Annotated[int | None, typer.Option("--cap", min=20, help="Training examples of any student at most.")] = None,
    regime: Annotated[str, typer.Option("--regime", help="How teachers are trained: regularised, plain, ...")] = "regularised",
    teacher: Annotated[str, typer.Option("--teacher", help="The teacher's networks, joined by +; else the custodian's own.")] = "",
    workers: Annotated[int, typer.Option("--jobs", min=1, max=256, help="Processes, of one thread each.")] = 2,
    persons: Annotated[int, typer.Option("--persons", min=6, help="Simulated persons to learn from.")] = 24,
    minutes: Annotated[int, typer.Option("--minutes", min=20, help="Minutes of each simulated person.")] = 90,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda; for teachers, excitation and networks.")] = "cpu",
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = ROOT / "build" / "bench",
    restart: Annotated[bool, typer.Option("--restart", help="Forget what was found before, on these windows.")] = False,
    table_only: Annotated[bool, typer.Option("--table-only", help="Run nothing; write the table from what is there.")] = False,
) -> None:
    """Measure what students learn from stimuli, and from true data."""
    import shutil

    from paper.jobs import Bench, code_digest, jobs
    from paper.settings import Fold, Setting, every_recipe, sources

    from custodian.device import choose_device
    from custodian.teacher.regimes import regime_of
    from stimset.learning.networks import member_names

    if teacher:
        member_names(teacher)  # a wrong name is told before hours of work
    chosen = _split(families) or list(QUICK_FAMILIES if quick else FAMILIES)
    named = recipes or (QUICK_RECIPES if quick else every_recipe())
    kinds = sources(named, count or (QUICK_COUNT if quick else FULL_COUNT), paper_count or (QUICK_SLOW if quick else FULL_SLOW))
    forms = windows or (["apnea-5min"] if quick else ["apnea-5min", "apnea-60s"])
    numbers = range(1, (seeds or folds or (QUICK_SEEDS if quick else FULL_SEEDS)) + 1)
    sides = {(form, seed if folds else None) for form in forms for seed in numbers}
    settings = {}
    with console.progress("windows", len(sides)) as step:
        for number, (form, part) in enumerate(sorted(sides, key=str)):
            step(number, form)
            fold = Fold(part, folds) if folds and part else None
            settings[form, part] = Setting.make(form, data, out / "paper-cells", persons, minutes, fold=fold)
        step(len(sides))
    code, place = code_digest(), choose_device(device)
    benches = [
        Bench(settings[form, seed if folds else None], seed, cap, place, code, regime_of(regime).name, teacher)
        for seed in numbers
        for form in forms
    ]
    if restart:
        for bench in benches:
            shutil.rmtree(bench.folder, ignore_errors=True)
    todo = jobs(benches, kinds, chosen)
    failed = {} if table_only else _run(todo, workers, lambda: _write(out, todo, kinds, chosen, data is None, {}))
    document = _write(out, todo, kinds, chosen, data is None, failed)
    _say(document, out)
    if failed:
        raise typer.Exit(1)


def _split(words: list[str] | None) -> list[str]:
    """``--families a,b --families c`` and ``--families a --families b``: both are meant."""
    from stimset.learning.families import family

    return [family(name.strip()).name for word in words or [] for name in word.split(",") if name.strip()]


def _run(todo: list[Any], workers: int, write: Any) -> dict[str, str]:
    """Everything that is not done yet, with a bar that moves by estimated seconds."""
    import time

    from paper import costs, running

    known = costs.known_seconds(todo)
    training = {setting.folder: len(setting.training()) for setting in {job.bench.setting for job in todo}}
    left = [job for job in todo if not job.file.is_file()]
    expected = {job.file: costs.estimate(job, known, training[job.bench.setting.folder]) for job in left}
    total = sum(expected.values())
    console.err.print(
        f"{len(todo) - len(left)} of {len(todo)} results are there; the other {len(left)} take about "
        f"{_duration(total / workers)} in {workers} process(es)"
    )
    if not left:
        return {}
    written = time.monotonic()
    with console.progress("paper", round(total)) as step:
        done, ended = 0.0, []

        def on_job(job: Any, error: str | None) -> None:
            nonlocal done, written
            done += expected[job.file]
            ended.append(job)
            step(round(done), job.title)
            if error:
                console.err.print(f"failed: {job.title}: {error}")
            elif not console.err.is_terminal:  # a log has no bar
                console.err.print(f"{len(ended)}/{len(left)} {job.title}")
            if time.monotonic() - written > EVERY_SECONDS:
                write()
                written = time.monotonic()

        return running.run(left, workers, on_job)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write(out: Path, todo: list[Any], kinds: list[Any], families: list[str], simulated: bool, failed: dict[str, str]) -> dict[str, Any]:
    """The table from all results that are there, as JSON and as a page."""
    from paper import page, tables

    found = [(job, result) for job in todo if (result := job.result())]
    students = [r for job, r in found if job.kind == "student"]
    attacks = [r for job, r in found if job.kind == "attack"]
    recipes = [kind for kind in kinds if kind.recipe]
    points = tables.frontier(attacks, students)
    document = {
        "simulated": simulated,
        "recipes": [{"stimuli": kind.count, **kind.recipe.document()} for kind in recipes],
        "families": families,
        "trained_on": [kind.name for kind in kinds],
        "teachers": [r for job, r in found if job.kind == "prepare"],
        "rows": tables.rows(students, families, [kind.name for kind in kinds]),
        "claims": tables.claims(students, families, [kind.name for kind in recipes]),
        "frontier": points,
        "frontier_means": tables.frontier_means(points),
        "strangers": tables.strangers(attacks),
        "results": {"there": len(found), "of": len(todo)},
        "code": sorted({result["code"] for _, result in found}),
        "failed": failed,
    }
    out.mkdir(parents=True, exist_ok=True)
    files = {"paper.json": json.dumps(document, indent=1, allow_nan=False).encode(), "paper.html": page.render(document).encode()}
    files |= {f"paper-{name}.png": picture for name, picture in page.png(document).items()}
    for name, content in files.items():
        partial = out / f".{name}"
        partial.write_bytes(content)
        partial.replace(out / name)
    return document


def _say(document: dict[str, Any], out: Path) -> None:
    from paper import page

    for table in page.printed(document):
        console.out.print(table)
    if len(document["code"]) > 1:
        console.err.print(
            f"warning: the results were made by {len(document['code'])} versions of the code; --restart makes all of them anew"
        )
    console.out.print(f"table  {out / 'paper.json'}\npage   {out / 'paper.html'}")


if __name__ == "__main__":
    typer.run(main)
