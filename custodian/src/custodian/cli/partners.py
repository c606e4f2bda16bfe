"""``custodian partner``: who may fetch what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stimset.console import FORMAT_OPTION, Format, err, reports_errors, show

HomeOption = Annotated[Path | None, typer.Option("--home", help="The custodian's home; else CUSTODIAN_HOME.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    partner = typer.Typer(no_args_is_help=True, help="Partner organisations: certificates and grants.")
    partner.command("add")(add)
    partner.command("list")(list_partners)
    partner.command("revoke")(revoke)
    partner.command("grant")(grant)
    app.add_typer(partner, name="partner")


@reports_errors
def add(
    name: Annotated[str, typer.Argument(help="The partner's name: lower-case letters, digits, hyphens.")],
    csr: Annotated[Path, typer.Option("--csr", help="The partner's certificate request (its HOME/tls/client.csr).")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make and send to the partner.")],
    grants: Annotated[
        list[str] | None,
        typer.Option("--grant", help="A series, or a pattern such as 'apnea-*'; may be repeated. Default: all."),
    ] = None,
    key_fingerprint: Annotated[
        str | None, typer.Option("--key-fingerprint", help="What the partner read out; another key is then refused.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="HOST:PORT that the partner connects to. Default: from custodian.toml."),
    ] = None,
    days: Annotated[int, typer.Option("--days", help="Days that the certificate is valid, 1 to 825.")] = 397,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Enrol a partner: certify its TLS key and leave a folder to send back.

    Builds on a home made by 'init' and on the request that the partner's 'consumer init' left. Leaves OUT with
    client.pem, ca.pem, root.json and custodian.toml; nothing in it is secret. Before sending it, compare two
    fingerprints by telephone: the partner reads out that of its key, you read out that of the root.

    Example: custodian partner add acme --csr acme.csr --out ./for-acme --grant 'apnea-*'
    """
    from custodian.config import Home
    from custodian.service.enrolment import enrol
    from custodian.service.pki import MAX_REQUEST_BYTES
    from stimset.errors import ConfigError

    opened = Home.open(home)
    try:
        with csr.open("rb") as file:
            request = file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{csr}: {error.strerror}") from None
    done = enrol(
        opened,
        name,
        request,
        out,
        series=tuple(grants or ("*",)),
        address=address,
        key_fingerprint=key_fingerprint,
        days=days,
    )
    show(
        format,
        {
            "partner": done.partner.name,
            "grants": list(done.partner.grants),
            "expires": f"{done.partner.expires:%Y-%m-%dT%H:%M:%SZ}",
            "certificate_fingerprint": done.partner.fingerprint,
            "key_fingerprint": done.key_fingerprint,
            "root_fingerprint": done.root_fingerprint,
            "address": done.address,
            "folder": str(done.folder),
        },
        f"[bold]{done.partner.name}[/bold] may fetch {', '.join(done.partner.grants)}"
        f" until {done.partner.expires:%Y-%m-%d}",
        f"folder to send        {done.folder}",
        f"the partner reads out {spaced(done.key_fingerprint)}",
        f"you read out          {spaced(done.root_fingerprint)}",
    )
    if format is Format.TEXT and key_fingerprint is None:
        err.print(
            "Compare both by telephone before you send the folder; if they differ: custodian partner revoke " + name
        )


@reports_errors
def list_partners(home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Show every partner, the revoked ones too.

    Example: custodian partner list --format json
    """
    from rich.table import Table

    from custodian.config import Home
    from custodian.state.database import Partners

    table = Table("partner", "state", "may fetch", "expires", "certificate (SHA-256)")
    rows = []
    for partner in Partners.open(Home.open(home)).list():
        revoked = None if partner.revoked_at is None else f"{partner.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
        state = "valid" if revoked is None else f"revoked {revoked[:10]}"
        table.add_row(
            partner.name,
            state,
            ", ".join(partner.grants),
            f"{partner.expires:%Y-%m-%d}",
            partner.fingerprint[:16] + "...",
        )
        rows.append(
            {
                "partner": partner.name,
                "grants": list(partner.grants),
                "created": f"{partner.created:%Y-%m-%dT%H:%M:%SZ}",
                "expires": f"{partner.expires:%Y-%m-%dT%H:%M:%SZ}",
                "revoked": revoked,
                "certificate_fingerprint": partner.fingerprint,
            }
        )
    show(format, {"partners": rows}, table)


@reports_errors
def revoke(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Take a partner's certificate back; the running daemon refuses it from the next call on.

    Releases that the partner has fetched stay with it. Afterwards the name can be enrolled again.

    Example: custodian partner revoke acme
    """
    from custodian.config import Home
    from custodian.state.database import Partners

    partner = Partners.open(Home.open(home)).revoke(name)
    show(format, {"partner": partner.name, "revoked": f"{partner.revoked_at:%Y-%m-%dT%H:%M:%SZ}"}, f"{name} is revoked")


@reports_errors
def grant(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    series: Annotated[list[str], typer.Argument(help="Every series or pattern that it may see from now on.")],
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Replace what a partner may fetch; effective at its next call.

    Example: custodian partner grant acme 'apnea-*' sleep-stages
    """
    from custodian.config import Home
    from custodian.state.database import Partners

    partner = Partners.open(Home.open(home)).grant(name, series)
    granted = list(partner.grants)
    show(format, {"partner": partner.name, "grants": granted}, f"{name} may fetch {', '.join(granted)}")


def spaced(fingerprint: str) -> str:
    """A fingerprint in groups of four, as people read it out."""
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))
