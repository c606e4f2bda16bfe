"""``consumer list`` and ``consumer pull``: what a custodian offers, and fetching it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.verify import OverrideOption, PolicyOption
from stimset.console import FORMAT_OPTION, Format, err, gate_notes, reports_errors, show

if TYPE_CHECKING:
    from consumer.client import ReleaseSummary
    from consumer.config import Home
    from consumer.download import OnProgress
    from consumer.enrolment import Custodian

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]
FromOption = Annotated[
    str | None,
    typer.Option("--custodian", "--from", help="Short name of the custodian; needed where several are trusted."),
]
AddressOption = Annotated[
    str | None, typer.Option("--address", help="HOST:PORT instead of the enrolled one, e.g. through a tunnel.")
]
SeriesOption = Annotated[str | None, typer.Option("--series", help="Only releases of this series.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("list")(list_releases)
    app.command("pull")(pull)


@reports_errors
def list_releases(
    custodian: FromOption = None,
    series: SeriesOption = None,
    address: AddressOption = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Show the releases that custodians grant us, oldest first, and which of them are here already.

    Builds on 'trust add'. Where several custodians are trusted and none is named, all are asked; one that is away is
    named. What is offered is the custodian's word; 'pull' verifies it. What was withdrawn is by its signed channel:
    copies here and students trained from them are named, and 'train' refuses them.

    Example: consumer list --format json
    """
    from rich.markup import escape
    from rich.table import Column, Table

    from consumer.config import Home
    from consumer.enrolment import find, trusted
    from consumer.standing import place
    from stimset.errors import TransportError

    opened = Home.open(home)
    known = trusted(opened)
    asked = [find(opened, custodian)] if custodian or address or len(known) < 2 else list(known)
    table = Table(Column("release", overflow="fold", min_width=12), "from", "made", "expires", "stimuli", "size", "patients", "here")
    rows, gone, away = [], [], []
    for chosen in asked:
        try:
            found = _offered(opened, chosen, address)
        except TransportError as error:
            if len(asked) == 1:
                raise
            err.print(f"[yellow]{chosen.short_name}: {escape(str(error))}[/yellow]")
            away.append(chosen.short_name)
            found = []
        for entry in found:
            if series not in (None, entry.name):
                continue
            here = place(opened, chosen, entry.release_id).is_dir()
            table.add_row(
                entry.release_id, chosen.short_name, entry.created[:10], entry.expires[:10], f"{entry.stimuli}",
                f"{entry.bytes / 1e6:.1f} MB", "simulated" if entry.simulated else "real", "yes" if here else "",
            )  # fmt: skip
            rows.append({**vars(entry), "custodian": chosen.short_name, "here": here})
        gone += _withdrawn(opened, chosen)
    notes = [
        f"[bold red]withdrawn[/bold red]  {escape(entry['release'])}"
        f"{', held here' if entry['here'] else ''}; students: {escape(', '.join(entry['students'])) or 'none'}"
        for entry in gone
    ]
    show(format, {"releases": rows, "withdrawn": gone, "away": away}, table, *notes)


def _offered(home: Home, custodian: Custodian, address: str | None) -> list[ReleaseSummary]:
    """What a custodian offers; its channel is asked what was withdrawn."""
    from rich.markup import escape

    from consumer.channel import check
    from consumer.client import Client
    from stimset.errors import TransportError

    with Client.to(custodian, home, address=address) as client:
        found = list(client.list_releases())
        try:
            check(client, home, custodian)
        except TransportError as error:  # an empty catalogue has no channel yet; what is known stays known
            err.print(f"[yellow]{escape(str(error))}[/yellow]")
    return found


@reports_errors
def pull(
    release_id: Annotated[str, typer.Argument(help="A release's id, or 'latest'.")] = "latest",
    custodian: FromOption = None,
    series: SeriesOption = None,
    address: AddressOption = None,
    policy: PolicyOption = None,
    accept_override: OverrideOption = False,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Fetch a release and verify it; what is interrupted goes on where it stopped.

    Builds on 'trust add'. Leaves HOME/releases/RELEASE_ID once every signature, digest and number in it holds; until
    then the files lie in HOME/releases/.partial-RELEASE_ID. Where two custodians gave the same id, the later one's is
    HOME/releases/NAME.RELEASE_ID. A release that is here is verified again, not fetched.
    What --policy does not accept, or a release whose gate was overridden, is refused before its files are fetched
    (exit code 19; 'consumer verify --help' says more).

    Example: consumer pull apnea-nights-0003 --policy ours.toml
    """
    from consumer import pipeline
    from consumer.acceptance import load_acceptance
    from consumer.api import latest
    from consumer.client import Client
    from consumer.config import Home
    from consumer.enrolment import find

    opened = Home.open(home)
    chosen = find(opened, custodian)
    acceptance = load_acceptance(policy, accept_override=accept_override)
    with Client.to(chosen, opened, address=address) as client:
        wanted = latest(client.list_releases(), series) if release_id == "latest" else release_id
        with _bar(wanted) as on_progress:
            named = release_id != "latest"
            release = pipeline.pull(
                opened, chosen, client, wanted, deliberate=named, on_progress=on_progress, acceptance=acceptance
            )  # fmt: skip
    predicate = release.predicate
    show(
        format,
        {
            "release": release.id,
            "folder": str(release.folder),
            "custodian": predicate.custodian,
            "stimuli": predicate.stimuli,
            "expires": predicate.expires,
            "simulated": predicate.simulated,
            "signed_by": list(release.signed_by),
            "root_fingerprint": release.root_fingerprint,
        },
        f"[bold]{release.id}[/bold]: {predicate.stimuli} stimuli"
        f"{' of simulated patients' if predicate.simulated else ''}, verified, valid until {predicate.expires[:10]}",
        f"{release.folder}",
        *gate_notes(predicate.gate),
    )


def _withdrawn(home: Home, custodian: Custodian) -> list[dict[str, Any]]:
    """What was withdrawn of what we met, each with whether it is here and the students that were trained from it."""
    import json

    from consumer.standing import place, withdrawn

    trained: dict[str, list[str]] = {}
    for path in sorted(home.students.glob("*/student.json")):
        try:
            digests = str(json.loads(path.read_text())["statementSha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged: whoever uses it is told
        for digest in digests.split("+"):  # of a student of several releases, each
            trained.setdefault(digest, []).append(path.parent.name)
    return [
        {
            **entry, "statement_sha256": digest, "here": place(home, custodian, entry["release"]).is_dir(),
            "students": trained.get(digest, []),
        }
        for digest, entry in sorted(withdrawn(custodian.folder).items(), key=lambda item: item[1]["release"])
    ]  # fmt: skip


@contextmanager
def _bar(title: str) -> Iterator[OnProgress]:
    """Bytes, speed and time left, on stderr; the total is known once the envelope is verified."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[file]}"),
    )
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(title, total=None, file="")

        def on_progress(done: int, total: int, file: str) -> None:
            progress.update(task, completed=done, total=total, file=file)

        yield on_progress
