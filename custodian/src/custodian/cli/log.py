"""``custodian log``: what was decided, and whether the log is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, reports_errors, show

if TYPE_CHECKING:
    from custodian.config import Home
    from custodian.state.engine import Database

MAX_SHOWN = 100_000


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    log = typer.Typer(
        no_args_is_help=True, help="The log of decisions: what was released, to whom, and by whom; it only grows."
    )
    log.command("show")(show_log)
    log.command("verify")(verify)
    app.add_typer(log, name="log")


@reports_errors
def show_log(
    last: Annotated[int, typer.Option("--last", min=1, max=MAX_SHOWN, help="How many of the newest records.")] = 50,
    event: Annotated[
        str | None, typer.Option("--event", help="Only records of this event, such as serve, grant or refuse.")
    ] = None,
    partner: Annotated[str | None, typer.Option("--partner", help="Only records about this enrolled partner.")] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Show the newest records.

    Every decision since 'init' stands in it: ingest, train, audit, override, propose, approve, reject, publish, withdraw, enrol, grant,
    revoke, start and stop of the daemon, serve (what left: release, file, range, and the certificate it left to), refuse. Partners stand in
    it by the first digits of their certificate's fingerprint, as 'partner list' shows them; no names, nothing of patients.

    Example: custodian log show --event serve --partner acme --format json
    """
    from rich.table import Table

    from custodian.config import Home
    from custodian.state.log import EVENTS
    from stimset.errors import ConfigError

    if event is not None and event not in EVENTS:
        raise ConfigError(f"there is no event '{event[:40]}'; known are {', '.join(sorted(EVENTS))}")
    opened = Home.open(home)
    found = _newest(opened, last, event, None if partner is None else _fingerprints(opened, partner))
    table = Table("record", "time", "event", "facts")
    for record in found:
        facts = ", ".join(f"{name} {_text(value)}" for name, value in sorted(record["facts"].items()))
        table.add_row(str(record["number"]), record["time"], record["event"], facts)
    show(format, {"records": found}, table)


@reports_errors
def verify(
    witness: Annotated[
        list[Path] | None,
        typer.Option("--witness", help="A partner's witness.json; the log must go on from it. May be repeated."),
    ] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Read the whole log and say which record was changed, removed or moved, if any.

    Holds each record against the one before, all of them against the Merkle tree, the tree against every checkpoint that the daemon's key
    signed, and against those that partners keep. Whoever holds database and key alike can forge all but the last: collect a
    witness from a partner now and then. Ends with exit code 20 where something is wrong.

    Example: custodian log verify --witness ./from-acme/witness.json
    """
    from custodian.config import Home
    from custodian.publish.keys import checkpoint_keys
    from custodian.state.engine import Database
    from custodian.state.witnesses import verify as examine
    from stimset.errors import LogForked

    opened = Home.open(home)
    keys = checkpoint_keys(opened)
    database = Database.open(opened)
    try:
        size, findings = examine(database, opened, keys)
        problems = [{"record": f.number, "problem": f.problem} for f in findings]
        problems += [problem for path in witness or [] if (problem := _against(database, path, keys)) is not None]
    finally:
        database.close()
    show(
        format,
        {"records": size, "problems": problems, "witnesses": len(witness or [])},
        f"{size} records",
        *(f"[bold red]record {p['record']}[/bold red]  {p['problem']}" for p in problems),
    )
    if problems:
        raise typer.Exit(LogForked.exit_code)


def _against(database: Database, path: Path, keys: Any) -> dict[str, Any] | None:
    """What a partner's witness says against the log; None where they agree. Other errors are raised: it is no witness."""
    from custodian.state.witnesses import check_witness
    from stimset.checkpoint import MAX_CHECKPOINT_BYTES
    from stimset.errors import ConfigError, LogForked

    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHECKPOINT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None
    try:
        check_witness(database, data, keys)
    except LogForked as error:
        return {"record": None, "problem": f"{path.name}: {error}"}
    return None


def _newest(home: Home, last: int, event: str | None, partners: set[str] | None) -> list[dict[str, Any]]:
    import json
    from collections import deque

    from custodian.state.engine import Database
    from custodian.state.log import length, records

    found: deque[dict[str, Any]] = deque(maxlen=last)
    database = Database.open(home)
    try:
        with database.reading() as session:
            first = max(0, length(session) - last) if event is None and partners is None else 0
            for row in records(session, first):
                record = json.loads(row.record)
                if event in (None, record["event"]) and (
                    partners is None or record["facts"].get("partner") in partners
                ):
                    found.append(record)
    finally:
        database.close()
    return list(found)


def _fingerprints(home: Home, name: str) -> set[str]:
    from custodian.state.database import Partners
    from custodian.state.log import short
    from stimset.errors import ConfigError

    partners = Partners.open(home)
    try:
        found = {short(partner.fingerprint) for partner in partners.list() if partner.name == name}
    finally:
        partners.close()
    if not found:
        raise ConfigError(f"there is no partner '{name[:80]}'; 'custodian partner list' names them")
    return found


def _text(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)
