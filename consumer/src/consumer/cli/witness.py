"""``consumer witness``: what we saw of a custodian's log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stimset.console import FORMAT_OPTION, Format, reports_errors, show

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]
FromOption = Annotated[
    str | None,
    typer.Option("--custodian", "--from", help="Short name of the custodian; needed where several are trusted."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    witness = typer.Typer(no_args_is_help=True, help="What we saw of a custodian's log of decisions.")
    witness.command("show")(show_witness)
    witness.command("accept")(accept)
    app.add_typer(witness, name="witness")


@reports_errors
def show_witness(custodian: FromOption = None, home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Show the newest checkpoint of a custodian's log that we keep.

    Every 'list' and 'pull' asks for a newer one, and ends with exit code 20 where the log does not go on from ours. Compare size and
    root with other partners; give the file to the custodian, whose 'custodian log verify --witness FILE' answers.

    Example: consumer witness show
    """
    from consumer.config import Home
    from consumer.enrolment import find
    from consumer.witness import CONFLICT_FILE, WITNESS_FILE, kept

    chosen = find(Home.open(home), custodian)
    found = kept(chosen)
    if found is None:
        show(format, {"witness": None}, "no checkpoint is kept yet; 'consumer list' asks for one")
        return
    conflict = chosen.folder / CONFLICT_FILE
    show(
        format,
        {
            "witness": str(chosen.folder / WITNESS_FILE), "records": found.size, "root": found.root.hex(), "time": found.time,
            "conflict": str(conflict) if conflict.is_file() else None,
        },
        f"records  {found.size}",
        f"root     {found.root.hex()}",
        f"signed   {found.time}, by the custodian's clock",
        f"file     {chosen.folder / WITNESS_FILE}",
        *([f"[bold red]conflict[/bold red]  {conflict}"] if conflict.is_file() else []),
    )  # fmt: skip


@reports_errors
def accept(
    reason: Annotated[
        str, typer.Option("--reason", help="What the custodian said; it is recorded in HOME/overrides.jsonl.")
    ],
    custodian: FromOption = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Begin anew with a custodian's log, after it explained why its log changed, such as by a restored backup.

    Builds on a 'pull' or 'list' that ended with exit code 20. The old witness stays beside the new one.

    Example: consumer witness accept --reason "their disk failed on 3 May; restored from the night before, by telephone"
    """
    from consumer.config import Home
    from consumer.enrolment import find
    from consumer.witness import accept as begin_anew

    opened = Home.open(home)
    old = begin_anew(opened, find(opened, custodian), reason)
    show(format, {"kept": str(old)}, f"the old witness is kept: {old}")
