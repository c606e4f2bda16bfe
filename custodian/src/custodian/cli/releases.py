"""``custodian release``: build, list, show; what a second person does is in `custodian.cli.approvals`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from custodian.cli import approvals
from custodian.cli.options import HomeOption, SetOption
from custodian.config import Home
from stimset import console

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from custodian.publish.store import ReleaseStore, ReleaseSummary
    from stimset.release import Predicate

app = typer.Typer(no_args_is_help=True, help="Sign admitted stimulus sets as releases, and look at what was released.")


def register(parent: typer.Typer) -> None:
    """Add this module's commands."""
    approvals.add_release_commands(app)
    parent.add_typer(app, name="release")


@app.command("build")
@console.reports_errors
def build(
    name: Annotated[str, typer.Option("--name", help="The series (a-z, 0-9, hyphens); partners are granted series.")],
    set_name: SetOption = "main",
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Sign an admitted set as the next release of a series.

    Builds on 'custodian audit', which must have admitted the set as it lies there now. Leaves
    HOME/releases/NAME-NNNN: shards, cards, statement and envelope, verified as a partner would and never changed
    again. Where two people hold the root, it leaves HOME/proposals/NAME-NNNN instead, which nobody sees before
    'release approve' and 'release publish'. The signing keys' passphrase comes from CUSTODIAN_PASSPHRASE, or from the
    file that CUSTODIAN_PASSPHRASE_FILE names.

    Example: custodian release build --name apnea
    """
    from rich.text import Text

    from custodian.publish.keys import load_signers, own_root, passphrase

    opened = Home.open(home)
    signers = load_signers(opened, passphrase())  # before the slow imports: a wrong passphrase is told at once
    root = own_root(opened)

    from custodian.gate.verdict import readmit
    from custodian.publish.publishing import propose, publish

    admitted = readmit(opened, set_name)
    for note in console.gate_notes(admitted.result):
        console.err.print(note)
    if not set(root.keys) <= {signer.keyid for signer in signers}:
        with console.progress(f"proposing {name}", admitted.candidates.count) as step:
            proposal = propose(admitted, opened, signers, name=name, on_progress=step)
        approvals.show_proposal(format, proposal)
        return
    with console.progress(f"signing {name}", admitted.candidates.count) as step:
        release = publish(admitted, opened, signers, name=name, on_progress=step)
    predicate = release.statement.predicate
    document = {
        "release": release.id,
        "folder": str(release.folder),
        "stimuli": predicate.stimuli,
        "expires": predicate.expires,
        "simulated": predicate.simulated,
        "signed_by": list(release.signed_by),
        "persons": root.persons,
        "root_fingerprint": release.root_fingerprint,
    }
    console.show(
        format,
        document,
        f"[bold]{release.id}[/bold]: {predicate.stimuli} stimuli until {predicate.expires}{_simulated(predicate)}",
        Text(f"  {release.folder}"),
        f"  partners verify it against the root {release.root_fingerprint}",
        *([] if root.persons > 1 else ["  [yellow]signed by one person; 'custodian init --officer' asks for a second[/yellow]"]),
    )


@app.command("list")
@console.reports_errors
def list_releases(home: HomeOption = None, format: console.Format = console.FORMAT_OPTION) -> None:
    """List what was released.

    Builds on 'custodian release build'. A folder that is damaged is named with the reason; the daemon does not serve
    it.

    Example: custodian release list --format json
    """
    from rich.markup import escape

    store = _store(home)
    summaries, broken = store.list(), store.broken()
    document = {"releases": [_line(summary) for summary in summaries], "broken": broken}
    complaints = (f"[red]{escape(name)}[/red]: {escape(why)}" for name, why in broken.items())
    console.show(format, document, _catalogue(summaries), *complaints)


@app.command("show")
@console.reports_errors
def show(
    release_id: Annotated[str, typer.Argument(metavar="ID", help="The release, e.g. apnea-0001.")],
    home: HomeOption = None,
    format: console.Format = console.FORMAT_OPTION,
) -> None:
    """Show a release: its files, what the gate measured, and whether it still verifies.

    Builds on 'custodian release build'. The release is verified against HOME/root.json as a partner would.

    Example: custodian release show apnea-0001
    """
    from custodian.publish.rotating import verify_own
    from stimset.provenance import gate_document

    opened = Home.open(home)
    store = _store(home)
    summary = store.summary(release_id)
    verified = verify_own(opened, store.folder / release_id)
    p = verified.predicate
    document = {
        **_line(summary),
        "custodian": p.custodian,
        "folder": str(verified.folder),
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in verified.statement.subjects],
        "window_spec": p.window_spec.to_document(),
        "window_spec_sha256": p.window_spec.digest(),
        "teacher": dict(p.teacher),
        "recipe": dict(p.recipe),
        "aggregates": [dict(entry) for entry in p.aggregates],
        "gate": gate_document(p.gate),
        "signed_by": list(verified.signed_by),
        "root_fingerprint": verified.root_fingerprint,
    }
    console.show(format, document, _catalogue([summary]), *console.gate_notes(p.gate), _gate_table(p), _file_table(store, release_id))


def _store(home: Path | None) -> ReleaseStore:
    from custodian.publish.store import ReleaseStore

    return ReleaseStore(Home.open(home).releases)


def _line(summary: ReleaseSummary) -> dict[str, Any]:
    return {
        "release": summary.release_id,
        "name": summary.name,
        "sequence": summary.sequence,
        "created": summary.created,
        "expires": summary.expires,
        "simulated": summary.simulated,
        "stimuli": summary.stimuli,
        "bytes": summary.bytes,
        "statement_sha256": summary.statement_sha256,
    }


def _simulated(predicate: Predicate) -> str:
    return "  [yellow](simulated patients)[/yellow]" if predicate.simulated else ""


def _catalogue(summaries: list[ReleaseSummary] | tuple[ReleaseSummary, ...]) -> Table:
    from rich.table import Table

    table = Table("release", "stimuli", "bytes", "created", "valid until", "patients", title="Releases")
    for s in summaries:
        patients = "simulated" if s.simulated else "real, not released"
        table.add_row(s.release_id, str(s.stimuli), str(s.bytes), s.created, s.expires, patients)
    return table


def _gate_table(predicate: Predicate) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "measured", "limit", "what it says", title=Text(f"Gate: policy {predicate.gate.policy}"))
    for check in predicate.gate.checks:
        value = "not measured" if check.value is None else f"{check.value:.4g}"
        table.add_row(Text(check.name), value, f"{check.rule} {check.limit:.4g}", Text(check.meaning))
    return table


def _file_table(store: ReleaseStore, release_id: str) -> Table:
    from rich.table import Table

    table = Table("file", "bytes", "SHA-256", title="Signed files")
    for file in store.files(release_id):
        table.add_row(file.name, str(file.size), file.sha256)
    return table
