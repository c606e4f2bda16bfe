"""``custodian review``: the officer's page in a browser; and ``custodian release reject``, the same decision without one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli import releases
from custodian.cli.approvals import OfficerHome
from custodian.cli.options import HomeOption
from custodian.config import HOME_VARIABLE, Home
from stimset import console
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from custodian.review.items import Decision


def register(parent: typer.Typer) -> None:
    """Add this module's commands."""
    parent.command("review")(review)
    releases.app.command("reject")(reject)


@console.reports_errors
def review(
    officer: Annotated[
        Path, typer.Option("--officer-home", envvar="OFFICER_HOME", help="Your own home, with your keys; they never leave it.")
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="What the custodian carried to you: a folder of proposals, or one of them."),
    ] = None,
    home: HomeOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of this machine alone; 0 takes a free one.")] = 0,
    idle: Annotated[float, typer.Option("--idle", min=1, max=480, help="Minutes without a click until the page ends.")] = 10.0,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Look at what waits for your signature in a browser, with the gate's report and its plots, and approve or reject it there.

    Builds on 'release build' on the other side, and on 'officer sign-root' here; needs your passphrase as 'release approve' does. Prints
    an address for one use within two minutes; nobody else on the network can reach it, and it needs nothing from outside. To approve,
    you type the release's id and the six words that the custodian reads out; to reject, a reason. Leaves your signatures, or your signed
    rejection, in FOLDER, which goes back to the custodian for 'release publish'. Requests to override the gate ('override request') lie
    there too; what you don't sign of them counts for nothing.

    Without FOLDER it shows HOME/proposals, where both homes lie on one machine; decisions then enter the custodian's log at once. Else they
    do when the folder is back.

    Example: custodian review ./stick --officer-home ./officer
    """
    from custodian.publish.keys import passphrase
    from custodian.review.access import Access, Limits
    from custodian.review.desk import Desk
    from custodian.review.serving import ReviewServer

    own = None if folder is not None else _custodian(home)
    if folder is not None and home is not None:
        raise ConfigError("name the carried FOLDER or the custodian's --home, not both")
    if own is not None:
        own.proposals.mkdir(mode=0o700, exist_ok=True)
    waiting = folder if own is None else own.proposals
    desk = Desk(waiting or Path(), officer, passphrase(), own)
    with ReviewServer(desk, Access(Limits(idle_seconds=60 * idle)), port) as server:
        console.err.print(f"open within {server.access.limits.token_seconds / 60:g} minutes, once, in a browser of this machine:")
        console.err.print(server.url, markup=False, highlight=False)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is a way to be done
            server.serve()
    decisions = [_document(decision) for decision in desk.decisions]
    console.show(format, {"decisions": decisions}, *_rendered(desk.decisions))


@console.reports_errors
def reject(
    proposal: Annotated[Path, typer.Argument(help="The folder that the custodian carried to you.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in 20 to 1,000 characters, for the person who proposed it.")],
    home: OfficerHome,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Say no to what is proposed, with a reason, and sign that.

    Builds on 'release build' or 'release withdraw' on the other side. Leaves rejection.dsse.json in the folder, which goes back for
    'release publish'; there it is recorded and ends the proposal. A copy stays in this home.

    Example: custodian release reject ./stick/apnea-0001 --home ./officer --reason "Linkage is 0.19 of 0.20; ask for more patients."
    """
    from custodian.publish.keys import passphrase
    from custodian.review.desk import Desk

    desk = Desk(proposal, home, passphrase())
    items = desk.items()
    if len(items) != 1:
        raise ConfigError(f"{proposal} holds {len(items)} proposals; name the folder of the one that is to be rejected")
    name = items[0].name
    decision = desk.reject(name, desk.examine(name).digest, reason=reason)
    console.show(format, _document(decision), *_rendered([decision]))


def _custodian(home: Path | None) -> Home:
    try:
        return Home.open(home)
    except ConfigError as error:
        raise ConfigError(f"name the FOLDER that was carried to you, or the custodian's home ({HOME_VARIABLE}): {error}") from None


def _document(decision: Decision) -> dict[str, Any]:
    return {
        "proposal": decision.name, "approved": decision.approved, "digest": decision.digest,
        "folder": None if decision.folder is None else str(decision.folder),
    }  # fmt: skip


def _rendered(decisions: list[Decision]) -> list[str]:
    from rich.markup import escape

    lines = []
    for d in decisions:
        lines.append(f"[bold]{escape(d.name)}[/bold]  {'signed' if d.approved else 'rejected'}")
        if d.folder is not None:
            lines.append(f"  carry back, then: {d.command} {escape(str(d.folder))}")
    return lines or ["nothing was decided"]
