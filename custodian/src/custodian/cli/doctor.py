"""``custodian doctor``: what is wrong, and what helps."""

from __future__ import annotations

from typing import Annotated

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, reports_errors, show
from stimset.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


@reports_errors
def doctor(
    address: Annotated[
        str | None, typer.Option("--address", help="HOST:PORT of the daemon instead of that in custodian.toml.")
    ] = None,
    through: Annotated[
        str | None,
        typer.Option("--through", help="HOST:PORT as partners see it: tries TLS and HTTP/2 past every proxy."),
    ] = None,
    time_server: Annotated[
        str | None, typer.Option("--time-server", help="HOST of an NTP server to compare the clock with.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 3 for a warning too.")] = False,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Check everything that the daemon needs, and name a remedy for whatever is wrong.

    Settings, permissions of home and keys, database and its revision, releases, jobs, disk, GPU; names, ports, TLS chain, the way that
    partners come; the clock; whatever ends some day: certificates, root, channel, releases, partners. Builds on a home made by 'init' and
    changes nothing. Exit code 0: all is well, or warnings only; 3: something failed.

    Example: custodian doctor --through stimuli.st-mary.example:7443 --time-server ntp.st-mary.example
    """
    from rich.markup import escape
    from rich.table import Table

    from custodian.cli import checkup
    from custodian.config import Home

    findings = checkup.examine(Home.open(home), address, through=through, time_server=time_server)
    table = Table("check", "state", "finding", "remedy")
    colours = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    for finding in findings:
        state = finding.state.value
        table.add_row(finding.check, f"[{colours[state]}]{state}[/]", escape(finding.found), escape(finding.remedy))
    worst = checkup.worst(findings)
    rows = [{"check": f.check, "state": f.state.value, "found": f.found, "remedy": f.remedy} for f in findings]
    failed = sum(f.state is checkup.State.FAILED for f in findings)
    warnings = sum(f.state is checkup.State.WARNING for f in findings)
    show(format, {"checks": rows, "failed": failed, "warnings": warnings, "worst": worst.value}, table)
    if worst is checkup.State.FAILED or (strict and worst is checkup.State.WARNING):
        raise typer.Exit(ConfigError.exit_code)
