"""``custodian excite``: the teacher's neurons into artificial stimuli."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from custodian.cli.options import DeviceOption, HomeOption, SeedOption, SetOption, set_folder
from custodian.config import Home
from stimset import console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(excite)


@console.reports_errors
def excite(
    recipe: Annotated[
        str, typer.Option("--recipe", help="A shipped recipe (spectral, prior, noise, paper) or a TOML file.")
    ] = "spectral",
    count: Annotated[int, typer.Option("--count", min=1, max=10_000_000, help="How many stimuli.")] = 8000,
    set_name: SetOption = "main",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Stimuli at once: bounds the memory.")] = 500,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what lies in the set and begin anew.")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Excite the teacher's neurons into artificial stimuli, and inhibit what points at single patients.

    Builds on 'custodian train'. Leaves HOME/candidates/SET: shards of 1,000 stimuli with soft labels. Interrupted work goes on
    where it was. Nothing of it may leave before 'custodian audit' admits it.

    Example: custodian excite --recipe spectral --count 8000 --set main
    """
    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.device import choose_device
    from custodian.excitation.recipe import load_recipe

    opened = Home.open(home)
    chosen = load_recipe(recipe)
    cohort = Cohort.load(opened.cohort)
    teachers = pipeline.load_teachers(opened, cohort)
    folder = set_folder(opened, set_name)
    if restart and folder.exists():
        shutil.rmtree(folder)
    with console.progress(f"exciting ({chosen.name})", count) as step:
        candidates = pipeline.excite(
            opened,
            cohort,
            teachers,
            chosen,
            name=set_name,
            count=count,
            seed=seed,
            batch=batch,
            device=choose_device(device),
            on_step=step,
        )
    read = [f"{a['numbers']} numbers: {a['name']} ({a['bound']})" for a in candidates.aggregates] or ["nothing"]
    document = {
        "set": set_name, "folder": str(folder), "stimuli": candidates.count, "recipe": chosen.name, "digest": candidates.digest(),
        "aggregates": [dict(a) for a in candidates.aggregates],
    }  # fmt: skip
    console.show(
        format, document, f"set               {set_name}: {candidates.count} stimuli by the recipe '{chosen.name}'",
        f"read of patients  {'; '.join(read)}", f"next              custodian audit --set {set_name}",
    )  # fmt: skip
