"""``custodian override``: two named people let a set leave that the gate refused, in the open."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli.approvals import OfficerHome, WordsOption, agreed
from custodian.cli.options import HomeOption, SetOption, set_folder
from custodian.config import Home
from stimset import console
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from custodian.gate.override import Request

app = typer.Typer(
    no_args_is_help=True,
    help="Let a set leave that the gate refused: both people sign, by name and with a reason, and every recipient sees it. "
    "Consumers refuse such a release unless they accept it expressly.",
)


def register(parent: typer.Typer) -> None:
    """Add this module's commands."""
    parent.add_typer(app, name="override")


@app.command("request")
@console.reports_errors
def request(
    reason: Annotated[str, typer.Option("--reason", help="Why, in 20 to 1,000 characters; every recipient will read it.")],
    builder: Annotated[str, typer.Option("--builder", help="The name of the person who asks, as recipients will read it.")],
    officer: Annotated[str, typer.Option("--officer", help="The name of the data-protection officer who must agree.")],
    set_name: SetOption = "main",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Ask that a refused set may leave all the same, and sign that as the first person.

    Builds on 'custodian audit', which must have refused the set, and on a root that two people hold ('init --officer'). Leaves
    HOME/candidates/SET/override.proposal.dsse.json for the officer, and nothing that could be released.

    Example: custodian override request --set main --builder "A. Meyer" --officer "B. Holm" --reason "A rehearsal with ..."
    """
    from custodian.gate.verdict import read_verdict
    from custodian.publish.keys import load_signers, passphrase
    from custodian.publish.overriding import request_override

    opened = Home.open(home)
    set_folder(opened, set_name)
    people = {"builder": builder, "officer": officer}
    judged = read_verdict(opened, set_name)
    path, words = request_override(opened, set_name, judged, people, reason, load_signers(opened, passphrase()))
    console.show(
        format, {"proposal": str(path), "words": words, "failed": list(judged[0].failed)},
        f"carry to the officer  {path}", f"read out              {words}",
    )  # fmt: skip


@app.command("approve")
@console.reports_errors
def approve(
    proposal: Annotated[Path, typer.Argument(help="The file that the custodian carried to you; it is signed in place.")],
    home: OfficerHome,
    words: WordsOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Show what failed and why it should leave all the same, and sign when the custodian has read out the same words.

    Builds on 'override request' on the other side and 'officer sign-root' here. With --words it adds the officer's signatures to the
    file, which is then carried back for 'override install'; without, it only shows. The release itself needs both people once more.

    Example: custodian override approve ./stick/override.proposal.dsse.json --home ./officer --words "bidol-..."
    """
    from custodian.publish.overriding import examine_override, sign_override

    found = examine_override(proposal, home)
    signed = agreed(words, found.words)
    if signed:
        from custodian.publish.keys import passphrase

        sign_override(found, home, passphrase())
    document = _document(found.request) | {"words": found.words, "signed": signed}
    end = "signed; carry the file back" if signed else "not signed; compare the words by telephone, then give --words"
    console.show(format, document, *_rendered(found.request), f"words  [bold]{found.words}[/bold]", end)


@app.command("install")
@console.reports_errors
def install(
    approval: Annotated[Path, typer.Argument(help="The file as the officer gave it back.")],
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Keep an override that both people have signed; 'release build' then proposes the set.

    Builds on 'override approve'. It counts for this verdict on this set alone: a new audit ends it. Leaves
    HOME/candidates/SET/override.dsse.json.

    Example: custodian override install ./stick/override.proposal.dsse.json
    """
    from custodian.gate.verdict import read_verdict
    from custodian.publish.overriding import install_override

    opened = Home.open(home)
    if not approval.is_file():
        raise ConfigError(f"{approval} is not there; 'custodian override approve' signs the file of 'custodian override request'")
    kept = install_override(opened, approval, partial(read_verdict, opened))
    console.show(
        format, _document(kept) | {"installed": True},
        f"[bold red]overridden[/bold red]  the set {kept.set_name}, by {' and '.join(kept.people.values())}; every recipient will see it",
        "next: custodian release build",
    )  # fmt: skip


def _document(request: Request) -> dict[str, Any]:
    return {
        "set": request.set_name, "policy": request.policy, "failed": dict(request.failed), "people": dict(request.people),
        "reason": request.reason, "created": request.created,
    }  # fmt: skip


def _rendered(request: Request) -> list[RenderableType]:
    """What a person must read before signing; all of it is plain text, never markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table("failed check", "found", title=Text(f"The gate refused the set {request.set_name} (policy {request.policy})"))
    for name, found in request.failed.items():
        table.add_row(Text(name), Text(found))
    people = Text(", ".join(f"{role}: {name}" for role, name in request.people.items()))
    return [table, Text(f"It should leave all the same, because: {request.reason}"), people]
