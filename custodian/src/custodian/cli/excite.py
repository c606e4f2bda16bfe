"""``custodian excite``: the teacher's neurons into artificial stimuli."""

from __future__ import annotations

import shutil
from typing import Annotated, Literal

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
        str,
        typer.Option(
            "--recipe",
            help="A shipped recipe (spectral, swift, prior, noise, paper, deepinversion, zskd) or a TOML file.",
        ),
    ] = "spectral",
    count: Annotated[int, typer.Option("--count", min=1, max=10_000_000, help="How many stimuli.")] = 16_000,
    set_name: SetOption = "main",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Stimuli at once: bounds the memory.")] = 500,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what lies in the set and begin anew.")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", help="Where workers run: on this machine, or on a Ray cluster (needs the extra ray)."),
    ] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Shards in work at once.", show_default="one per core or GPU")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="HOST:PORT of the head of a running Ray cluster.", show_default=False),
    ] = None,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Excite the teacher's neurons into artificial stimuli, and inhibit what points at single patients.

    Builds on 'custodian train'. Leaves HOME/candidates/SET: shards of 1,000 stimuli with soft labels. Interrupted work goes on
    where it was, a worker that dies is replaced, and neither engine nor number of workers changes a byte of the set (on CPUs of one
    kind). Nothing of it may leave before 'custodian audit' admits it.

    A Ray cluster must be one of the hospital's own: it sees the teacher, though no recording. We insist on RAY_AUTH_MODE=token.

    Example: custodian excite --recipe spectral --count 16000 --set main

    Example: custodian excite --count 1000000 --engine ray --ray-address gpu-head.hospital.internal:6379
    """
    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.device import choose_device
    from custodian.excitation.pools import pool_of
    from custodian.excitation.recipe import load_recipe
    from custodian.workers.pieces import Engine

    opened = Home.open(home)
    place = choose_device(device)
    pool = pool_of(Engine(engine), workers, ray_address, place)
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
            device=place,
            pool=pool,
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
