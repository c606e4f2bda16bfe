"""``custodian partner``: who may fetch what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, err, reports_errors, show

if TYPE_CHECKING:
    from custodian.service.enrolment import Enrolment


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    partner = typer.Typer(no_args_is_help=True, help="Partner organisations: certificates and grants.")
    partner.command("add")(add)
    partner.command("renew")(renew)
    partner.command("list")(list_partners)
    partner.command("revoke")(revoke)
    partner.command("grant")(grant)
    app.add_typer(partner, name="partner")


_CSR = typer.Option("--csr", help="The partner's certificate request (its HOME/tls/client.csr).")
_CERTIFICATE = typer.Option(
    "--certificate", help="Instead: a client certificate of the partner's own authority, pinned as it is."
)
_OUT = typer.Option("--out", help="The folder to make and send to the partner.")
_HEARD = typer.Option("--key-fingerprint", help="What the partner read out; another key is then refused.")
_ADDRESS = typer.Option("--address", help="HOST:PORT that the partner connects to. Default: from custodian.toml.")
_DAYS = typer.Option("--days", min=1, max=825, help="Days that the certificate is valid.")


@reports_errors
def add(
    name: Annotated[str, typer.Argument(help="The partner's name: lower-case letters, digits, hyphens.")],
    out: Annotated[Path, _OUT],
    csr: Annotated[Path | None, _CSR] = None,
    certificate: Annotated[Path | None, _CERTIFICATE] = None,
    grants: Annotated[
        list[str] | None,
        typer.Option("--grant", help="A series, or a pattern such as 'apnea-*'; may be repeated. Default: all."),
    ] = None,
    key_fingerprint: Annotated[str | None, _HEARD] = None,
    address: Annotated[str | None, _ADDRESS] = None,
    days: Annotated[int, _DAYS] = 397,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Enrol a partner: certify its TLS key, or pin the certificate that it has, and leave a folder to send back.

    Builds on a home made by 'init' and on the request that the partner's 'consumer init' left. Leaves OUT with
    client.pem, ca.pem, root.json and custodian.toml; nothing in it is secret. Before sending it, compare two
    fingerprints by telephone: the partner reads out that of its key, you read out that of the root. A running daemon
    lets the partner in from its next connection on.

    Example: custodian partner add acme --csr acme.csr --out ./for-acme --grant 'apnea-*'

    Example: custodian partner add acme --certificate acme.pem --out ./for-acme
    """
    from custodian.config import Home
    from custodian.service.enrolment import enrol, pin
    from stimset.errors import ConfigError

    if (csr is None) == (certificate is None):
        raise ConfigError(
            "give either the partner's request (--csr) or its own authority's certificate (--certificate)"
        )
    opened, series = Home.open(home), tuple(grants or ("*",))
    if csr is not None:
        done = enrol(
            opened, name, _small(csr), out, series=series, address=address, key_fingerprint=key_fingerprint, days=days
        )
    else:
        done = pin(
            opened, name, _small(certificate), out, series=series, address=address, key_fingerprint=key_fingerprint
        )
    _show(format, done, compared=key_fingerprint is not None)


@reports_errors
def renew(
    name: Annotated[str, typer.Argument(help="The partner's name.")],
    out: Annotated[Path, _OUT],
    csr: Annotated[
        Path | None,
        typer.Option("--csr", help="A request for another key ('consumer trust renew'); else the key stays."),
    ] = None,
    certificate: Annotated[Path | None, _CERTIFICATE] = None,
    overlap: Annotated[
        int, typer.Option("--overlap", min=0, max=90, help="Days that the present certificate stays good beside it.")
    ] = 14,
    key_fingerprint: Annotated[str | None, _HEARD] = None,
    address: Annotated[str | None, _ADDRESS] = None,
    days: Annotated[int, _DAYS] = 397,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Give a partner its next certificate, with the same grants, before the present one ends.

    Builds on 'partner add'. Leaves OUT as that does; the partner runs 'consumer trust add' with it, and changes without a gap. If a key may
    be known to others, 'partner revoke' and 'partner add' instead, or --overlap 0 with a request for a new key.

    Example: custodian partner renew acme --out ./for-acme-2027
    """
    from datetime import timedelta

    from custodian.config import Home
    from custodian.service import enrolment

    done = enrolment.renew(
        Home.open(home),
        name,
        out,
        request=None if csr is None else _small(csr),
        pinned=None if certificate is None else _small(certificate),
        address=address,
        key_fingerprint=key_fingerprint,
        days=days,
        overlap=timedelta(days=overlap),
    )
    _show(format, done, compared=key_fingerprint is not None or (csr is None and certificate is None))


def _small(path: Path | None) -> bytes:
    from custodian.service.pki import MAX_REQUEST_BYTES
    from stimset.errors import ConfigError

    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            return file.read(MAX_REQUEST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _show(format: Format, done: Enrolment, *, compared: bool) -> None:
    partner = done.partner
    show(
        format,
        {
            "partner": partner.name,
            "grants": list(partner.grants),
            "expires": f"{partner.expires:%Y-%m-%dT%H:%M:%SZ}",
            "certificate_fingerprint": partner.fingerprint,
            "key_fingerprint": done.key_fingerprint,
            "root_fingerprint": done.root_fingerprint,
            "address": done.address,
            "folder": str(done.folder),
        },
        f"[bold]{partner.name}[/bold] may fetch {', '.join(partner.grants)} until {partner.expires:%Y-%m-%d}",
        f"folder to send        {done.folder}",
        f"the partner reads out {spaced(done.key_fingerprint)}",
        f"you read out          {spaced(done.root_fingerprint)}",
    )
    if format is Format.TEXT and not compared:
        err.print(
            f"Compare both by telephone before you send the folder; if they differ: custodian partner revoke {partner.name}"
        )


@reports_errors
def list_partners(home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Show every certificate of every partner: valid, until a date (it was renewed), or revoked.

    Example: custodian partner list --format json
    """
    from rich.table import Table

    from custodian.config import Home
    from custodian.state.database import Partners

    table = Table("partner", "state", "may fetch", "expires", "certificate (SHA-256)")
    rows = []
    for partner in Partners.open(Home.open(home)).list():
        revoked = None if partner.revoked_at is None else f"{partner.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
        state = "valid" if revoked is None else f"{'revoked' if partner.revoked() else 'until'} {revoked[:10]}"
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
    """Take a partner's certificates back, one that was renewed too; the running daemon refuses them from the next call on.

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
