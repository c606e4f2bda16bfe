"""``custodian audit``: the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from custodian.cli.options import DeviceOption, HomeOption, SeedOption, SetOption, set_folder
from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError, ReleaseRefused

if TYPE_CHECKING:
    from rich.table import Table

    from stimset.release import GateResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)


@console.reports_errors
def audit(
    set_name: SetOption = "main",
    policy: Annotated[Path | None, typer.Option("--policy", help="Your policy as TOML; else the shipped one.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Membership, attributes, canaries first: by shadow teachers; about an hour.")
    ] = False,
    shadows: Annotated[
        int, typer.Option("--shadows", min=4, max=512, help="--deep: shadow worlds; an even number.")
    ] = 16,
    canary_worlds: Annotated[
        int,
        typer.Option("--canary-worlds", min=0, max=512, help="--deep: worlds with planted persons; 0 leaves them out."),
    ] = 8,
    stimuli: Annotated[int, typer.Option("--stimuli", min=50, help="--deep: stimuli of each shadow release.")] = 3000,
    students: Annotated[
        str, typer.Option("--students", help="--deep: families that learn each shadow release, joined by commas.")
    ] = "cnn,knn",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, max=4096, help="--deep: worlds in work at once.", show_default="one per core or GPU"),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", help="--deep: processes of this machine, or a Ray cluster (extra ray), to which the recordings travel."),
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="--deep: HOST:PORT of the head of a running Ray cluster.", show_default=False),
    ] = None,
    device: DeviceOption = "cpu",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="--deep: say what it will cost, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="--deep: don't ask before it starts.")] = False,
    seed: SeedOption = 0,
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """The gate: attack a candidate set, try it on students, and admit or refuse it.

    Builds on 'custodian excite'. Leaves the sealed verdict beside the set. Every check must pass; one that could not run counts as failed.
    Exit code 0: admitted; 10: refused, each failed check on its own line.

    With --deep, shadow teachers are trained on random halves of all persons first, and shadow releases are made of them. Was a person
    inside? What are their sex, age, BMI? Are planted canaries found? Interrupt it at any moment; the same command goes on. Its findings
    stay beside the set, and count in this and every later audit of it. A shadow world is made of recordings: a Ray cluster gets them
    all, so it must be the hospital's own, and we insist on RAY_AUTH_MODE=token and RAY_USE_TLS=1.

    Examples:

        custodian audit --set main --policy strict.toml

        custodian audit --deep --dry-run

        custodian audit --deep --workers 2 --yes

        custodian audit --deep --engine ray --ray-address gpu-head.hospital.internal:6379
    """
    from custodian import pipeline
    from custodian.cohort import Cohort
    from custodian.excitation.candidates import CandidateSet
    from custodian.gate.policy import load_policy
    from custodian.gate.verdict import checks_to_run, read_verdict

    opened = Home.open(home)
    chosen = load_policy(policy)
    cohort = Cohort.load(opened.cohort)
    pipeline.load_teachers(opened, cohort)  # the gate compares with the very cohort that the teacher saw
    candidates = CandidateSet.load(set_folder(opened, set_name))
    if (dry_run or engine == "ray" or ray_address) and not deep:
        raise ConfigError("--dry-run, --engine and --ray-address are about the deep audit; give --deep too")
    if deep:
        from custodian.cli.deep import Options, deepen

        options = Options(
            shadows, canary_worlds, stimuli, tuple(students.split(",")), workers, engine, ray_address, device, seed, dry_run, yes,
            format,
        )  # fmt: skip
        if not deepen(opened, cohort, candidates, options):
            return
    refused: ReleaseRefused | None = None
    with console.progress("auditing", checks_to_run(chosen)) as step:
        try:
            pipeline.audit(opened, cohort, candidates, chosen, seed=seed, on_step=step)
        except ReleaseRefused as error:
            refused = error
    result, _ = read_verdict(opened, set_name)
    failed = [f"[bold]{c.name}[/]: {c.meaning}" for c in result.checks if not c.passed]
    console.show(format, _verdict_document(result), _verdict_table(result), *failed)
    if refused:
        raise refused
    console.err.print(f"admitted; next: custodian release build --set {set_name} --name SERIES")


def _verdict_document(result: GateResult) -> dict[str, Any]:
    from stimset.provenance import gate_document

    return dict(gate_document(result))


def _verdict_table(result: GateResult) -> Table:
    from rich.table import Table

    verdict = "[bold green]admitted[/]" if result.admitted else "[bold red]refused[/]"
    table = Table(title=f"Gate: {verdict} (policy {result.policy})", title_justify="left")
    for heading in ("check", "value", "allowed", ""):
        table.add_column(heading, no_wrap=True)
    for c in result.checks:
        value = "not measured" if c.value is None else f"{c.value:.3f}"
        table.add_row(c.name, value, f"{c.rule} {c.limit:g}", "[green]pass[/]" if c.passed else "[red]FAIL[/]")
    return table
