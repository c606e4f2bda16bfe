"""``consumer submit`` and ``consumer budget``: a student on the custodian's held-out patients, and how often that may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.cli.shared import mark
from stimset.console import FORMAT_OPTION, Format, progress, reports_errors, show

if TYPE_CHECKING:
    from rich.table import Table

    from stimset.evaluation import Evaluation
    from stimset.roots import TrustedRoot

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]
FromOption = Annotated[
    str | None, typer.Option("--custodian", "--from", help="Short name of the custodian; needed where several are trusted.")
]
AddressOption = Annotated[str | None, typer.Option("--address", help="HOST:PORT instead of the enrolled one.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("submit")(submit_model)
    app.command("budget")(budget_left)


@reports_errors
def submit_model(
    model: Annotated[Path, typer.Argument(help="The student's ONNX file, at most 64 MiB.")],
    release: Annotated[str | None, typer.Option("--release", help="The release that it learned from; else what the file names.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where the report goes; default: beside the model.")] = None,
    custodian: FromOption = None,
    address: AddressOption = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Let the custodian try a student on patients whom nobody trained on; what comes back is a signed report.

    Builds on 'export' and 'trust add'. Leaves MODEL.onnx.evaluation.json (MODEL.onnx.CUSTODIAN.evaluation.json where several are trusted),
    which 'consumer verify' checks offline and a third party can check with the custodian's root. The custodian takes plain ONNX graphs
    alone (no loops, no custom operators), runs them where they reach nothing, and answers with noisy counts; each answer uses up one of
    a few ('consumer budget'). The very same file gets the very same report, for nothing. Exit codes: 4 the custodian refuses the model,
    and says why; 11 no evaluation is left or offered.

    Example: consumer submit cnn.onnx
    """
    from consumer.client import Client
    from consumer.config import Home
    from consumer.enrolment import find, trusted
    from consumer.standing import current_root, write_whole
    from consumer.submit import report_file, submit

    opened = Home.open(home)
    chosen = find(opened, custodian)
    with Client.to(chosen, opened, address=address) as client, progress(f"{model.name} to {chosen.short_name}", 1) as step:
        def sent(share: float) -> None:
            step(share, "it is evaluated" if share == 1 else "it is sent")

        report, evaluation = submit(client, current_root(chosen), model, release_id=release, on_sent=sent)
    file = out or report_file(model, chosen.short_name if len(trusted(opened)) > 1 else None)
    write_whole(file, report)
    show(format, _document(evaluation, chosen.short_name) | {"report": str(file)}, _table(evaluation), f"{file}")


@reports_errors
def budget_left(
    custodian: FromOption = None, address: AddressOption = None, home: HomeOption = None, format: Format = FORMAT_OPTION
) -> None:  # fmt: skip
    """Show how many evaluations a custodian still answers, and what its ledger says of us, entry by entry.

    Builds on 'trust add'. The custodian sees the same entries with the same hashes by 'custodian budget log --subject US'.

    Example: consumer budget --format json
    """
    from rich.table import Table

    from consumer.client import Client
    from consumer.config import Home
    from consumer.enrolment import find
    from consumer.submit import budget

    opened = Home.open(home)
    chosen = find(opened, custodian)
    with Client.to(chosen, opened, address=address) as client:
        found = budget(client)
    table = Table("no.", "time", "entry", "epsilon", "delta", "statement", "hash")
    for e in found.entries:
        costs = (f"{e.epsilon:.3g}", f"{e.delta:.0e}") if e.kind == "reserve" else ("", "")
        table.add_row(str(e.number), e.created, e.kind, *costs, e.detail[:12], e.hash[:12])
    document = {
        "custodian": chosen.short_name, "queries": found.queries, "left": found.left, "advantage": found.advantage,
        "entries": [vars(e) for e in found.entries],
    }  # fmt: skip
    show(format, document, table, f"{found.left} of {found.queries} evaluations are left")


def show_report(file: Path, roots: list[tuple[str, TrustedRoot]], format: Format) -> None:
    """Verify a report and show what it says; raises what `consumer.submit.check_report` raises."""
    from consumer.submit import check_report

    trusted_as, evaluation = check_report(file, roots)
    show(format, {"verified": True, "file": str(file)} | _document(evaluation, trusted_as), _table(evaluation))


def _document(e: Evaluation, trusted_as: str) -> dict[str, Any]:
    p = e.privacy
    return {
        "trusted_as": trusted_as, "custodian": e.custodian, "created": e.created, "model_sha256": e.model, "release": e.release_id,
        "statement_sha256": e.statement, "window_spec": e.window_spec, "simulated": e.simulated, "labels": list(e.labels),
        "counts": [list(row) for row in e.counts], "least_patients": e.least_patients, "precise": e.precise,
        "privacy": vars(p), "measures": {name: vars(m) for name, m in e.measures.items()},
    }  # fmt: skip


def _table(e: Evaluation) -> Table:
    from rich.table import Table
    from rich.text import Text

    title = f"{e.custodian} on model {e.model[:12]}, at least {e.least_patients} held-out patients{mark(e.simulated)}"
    table = Table("measure", "value", "95 % of the noise", title=Text(title), title_justify="left")
    for name, m in e.measures.items():
        between = "-" if m.low is None or m.high is None else f"{m.low:.3f} to {m.high:.3f}"
        table.add_row(name, "-" if m.value is None else f"{m.value:.3f}", between)
    table.add_row("release", Text(e.release_id), "")
    table.add_row("noise", f"{e.privacy.noise:.1f}", "patients, in every count")
    return table
