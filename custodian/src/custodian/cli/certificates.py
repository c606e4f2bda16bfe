"""``custodian certificate``: the daemon's own TLS certificate."""

from __future__ import annotations

from typing import Annotated

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, reports_errors, show


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    certificate = typer.Typer(no_args_is_help=True, help="The daemon's TLS certificate.")
    certificate.command("renew")(renew)
    app.add_typer(certificate, name="certificate")


@reports_errors
def renew(
    now: Annotated[
        bool, typer.Option("--now", help="A new key and certificate even where the old ones are good: one was stolen.")
    ] = False,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Renew the daemon's key and certificate where less than a month is left, or the host names have changed.

    Builds on a home made by 'init'. The daemon does this by itself where it can read HOME/tls/ca.key; where it can't, as under
    systemd, a timer runs this command. Partners notice nothing: what they trust is the authority.

    Example: custodian certificate renew --now
    """
    from custodian.config import Home
    from custodian.service import pki

    opened = Home.open(home)
    names = opened.settings().hostnames
    before = opened.tls / "server.pem"
    old = pki.load_certificate(before) if before.exists() else None
    made = pki.issue_server(opened.tls, names) if now else pki.ensure_server(opened.tls, names)
    renewed = made != old
    until = made.not_valid_after_utc
    show(
        format,
        {"renewed": renewed, "expires": f"{until:%Y-%m-%dT%H:%M:%SZ}", "hostnames": list(names)},
        f"{'renewed' if renewed else 'still good'}, valid until {until:%Y-%m-%d} for {', '.join(names)}",
    )
