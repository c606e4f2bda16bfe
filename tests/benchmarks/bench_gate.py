"""What releases betray: teachers, cohort sizes and recipes under the deep audit's attacks.

::

    python tests/benchmarks/bench_gate.py                                            # quick form, simulated persons
    python tests/benchmarks/bench_gate.py --data ../shared/data/apnea-ecg --full     # 16 shadow worlds each: hours
    python tests/benchmarks/bench_gate.py --parts size --full                        # 32, 128, 512 simulated persons
    python tests/benchmarks/bench_gate.py --data ... --full --parts frontier --regimes plain,regularised

Leaves build/bench/gate.json, gate.html and gate-*.png, and each shadow world in build/bench/gate-cells: work that was interrupted goes on
where it was, and parts, regimes and recipes can be added. The folder gate-cells holds windows; it is private.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from stimset import console
from stimset.errors import ConfigError, StimsetError

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are loaded
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "demo"))  # the report's themes
PER_PERSON = 540


@console.reports_errors
def main(
    data: Annotated[Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")] = None,
    quick: Annotated[bool, typer.Option("--quick/--full", help="A few small worlds, or 16 of full size.")] = True,
    parts: Annotated[str, typer.Option("--parts", help="Of frontier, size and recipes, joined by commas.")] = "frontier,size,recipes",
    regimes: Annotated[str | None, typer.Option("--regimes", help="Of the frontier, joined by commas.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Of the frontier and of the sizes.")] = "prior",
    recipes: Annotated[str | None, typer.Option("--recipes", help="Side by side, joined by commas.")] = None,
    best: Annotated[str, typer.Option("--regime", help="Of the teachers of sizes and recipes.")] = "regularised",
    architecture: Annotated[str, typer.Option("--architecture", help="Of the teachers.")] = "cnn+spectral_mlp",
    students: Annotated[str, typer.Option("--students", help="Families, joined by commas; the first stands in the figures.")] = "cnn,knn",
    shadows: Annotated[int | None, typer.Option("--shadows", min=4, help="Shadow worlds; an even number.")] = None,
    stimuli: Annotated[int | None, typer.Option("--stimuli", min=50, help="Of each world's release.")] = None,
    workers: Annotated[int, typer.Option("--jobs", min=1, max=256, help="Processes, of one thread each.")] = 2,
    persons: Annotated[int, typer.Option("--persons", min=8, help="Simulated persons, without --data.")] = 16,
    minutes: Annotated[int, typer.Option("--minutes", min=10, help="Minutes of each.")] = 30,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = ROOT / "build" / "bench",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it costs, and do nothing.")] = False,
    table_only: Annotated[bool, typer.Option("--table-only", help="Run nothing; write the tables from what is there.")] = False,
) -> None:
    """Measure what an attacker finds."""
    from gatebench import cells

    chosen = parts.split(",")
    if unknown := set(chosen) - set(cells.PARTS):
        raise ConfigError(f"there is no part '{min(unknown)}'; known are {', '.join(cells.PARTS)}")
    form = cells.QUICK if quick else cells.FULL
    form = replace(form, shadows=shadows or form.shadows, size_shadows=shadows or form.size_shadows, stimuli=stimuli or form.stimuli)
    cohort = cells.apnea_cohort(data, PER_PERSON) if data else cells.simulated_cohort(persons, minutes)
    todo = cells.cells(
        chosen, cohort, form, out / "gate-cells", architecture=architecture, best=best, recipe=recipe,
        students=tuple(students.split(",")),
        regimes=regimes.split(",") if regimes else cells.REGIMES, recipes=recipes.split(",") if recipes else cells.COMPARED,
    )  # fmt: skip
    costs = {cell.title: cell.audit.estimate_s(workers) for cell in todo if cell.audit.left}
    for title, seconds in costs.items():
        console.err.print(f"{title}: about {console.duration(seconds)}")
    console.err.print(f"together about {console.duration(sum(costs.values()))} in {workers} process(es)")
    if dry_run:
        return
    failed = {} if table_only else _run(todo, workers, lambda found: _write(out, todo, data is None, found))
    _say(_write(out, todo, data is None, failed), out)
    if failed:
        raise typer.Exit(1)


def _run(todo: list[Any], workers: int, write: Any) -> dict[str, str]:
    """Every cell; one that can't be run is told and left behind."""
    failed: dict[str, str] = {}
    with console.progress("gate", sum(cell.audit.plan.total for cell in todo)) as step:
        before = 0
        for cell in todo:

            def on_step(done: float, note: str, before: int = before, title: str = cell.title) -> None:
                step(before + done, f"{title} {note}".strip())

            try:
                cell.audit.run(workers=workers, on_step=on_step)
            except StimsetError as error:
                failed[cell.title] = str(error)
                console.err.print(f"failed: {cell.title}: {error}")
            before += cell.audit.plan.total
            write(failed)
    return failed


def _write(out: Path, todo: list[Any], simulated: bool, failed: dict[str, str]) -> dict[str, Any]:
    """JSON, page and figures from all cells that are complete."""
    from gatebench import page

    rows = [cell.row for cell in todo if not cell.audit.left]
    document = {"simulated": simulated, "rows": rows, "failed": failed, "cells": {"there": len(rows), "of": len(todo)}}
    out.mkdir(parents=True, exist_ok=True)
    files = {"gate.json": json.dumps(document, indent=1, allow_nan=False).encode(), "gate.html": page.render(document).encode()}
    files |= {f"gate-{name}.png": page.png(draw) for name, draw in page.drawn(document).items()}
    for name, content in files.items():
        partial = out / f".{name}"
        partial.write_bytes(content)
        partial.replace(out / name)
    return document


def _say(document: dict[str, Any], out: Path) -> None:
    from gatebench import page

    for table in page.printed(document):
        console.out.print(table)
    console.out.print(f"table  {out / 'gate.json'}\npage   {out / 'gate.html'}")


if __name__ == "__main__":
    typer.run(main)
