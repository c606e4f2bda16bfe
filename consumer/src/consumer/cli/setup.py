"""``consumer init`` and ``consumer trust``: who we are, and whom we believe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from stimset.console import FORMAT_OPTION, Format, err, reports_errors, show

if TYPE_CHECKING:
    from consumer.enrolment import Custodian

HomeOption = Annotated[Path | None, typer.Option("--home", help="The consumer's home; else CONSUMER_HOME.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("init")(init)
    trust = typer.Typer(no_args_is_help=True, help="Custodians whose releases we believe.")
    trust.command("add")(add)
    trust.command("list")(list_custodians)
    trust.command("renew")(renew)
    app.add_typer(trust, name="trust")


@reports_errors
def init(
    name: Annotated[str, typer.Option("--name", help="Your organisation's name.")],
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Make a consumer's home with a TLS key and a certificate request.

    Leaves HOME/tls/client.key, which never leaves this machine, and HOME/tls/client.csr, which you send to the
    custodian; read out the key's fingerprint to it on the telephone. An existing home is never overwritten.

    Example: consumer init --home ./acme --name "Acme Diagnostics"
    """
    from consumer.config import Home
    from consumer.enrolment import REQUEST_FILE, create_home

    chosen = Home.at(home)
    fingerprint = create_home(chosen, name)
    request = chosen.tls / REQUEST_FILE
    show(
        format,
        {"home": str(chosen.root), "request": str(request), "key_fingerprint": fingerprint},
        f"home             {chosen.root}",
        f"request          {request}",
        f"key fingerprint  {spaced(fingerprint)}",
    )
    if format is Format.TEXT:
        err.print(
            "Next: send the request to the custodian, then 'consumer trust add' with the folder that it sends back."
        )


@reports_errors
def add(
    folder: Annotated[Path, typer.Argument(help="The folder that the custodian sent.")],
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", help="The root's fingerprint as the custodian read it out; spaces are fine."),
    ] = None,
    compared: Annotated[
        bool,
        typer.Option("--i-have-compared", help="Instead: you compared the shown fingerprint by telephone yourself."),
    ] = False,
    short_name: Annotated[
        str | None, typer.Option("--as", help="Short name for it; default: made of its name.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="HOST:PORT instead of the one in the folder.")
    ] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Trust a custodian, if its root is the one that you heard of.

    Builds on 'init' and on the enrolment folder; the fingerprint must come another way than the folder, such as by
    telephone. Without it the command only shows what to compare. Leaves HOME/custodians/NAME. Give the command again
    with a newer folder to renew our certificate; what was learned of withdrawals and versions is kept.

    Example: consumer trust add ./from-st-mary --fingerprint "6b1f 09a3 ..."
    """
    from consumer.config import Home
    from consumer.enrolment import ROOT_FILE, trust
    from stimset.errors import ConfigError
    from stimset.roots import fingerprint_of, read_root

    if fingerprint is None:
        fingerprint = fingerprint_of(read_root(folder / ROOT_FILE))
        if not compared:
            raise ConfigError(
                f"the folder's root has the fingerprint {spaced(fingerprint)}; compare it by telephone, then give --fingerprint "
                "with what you heard, or --i-have-compared"
            )
    custodian = trust(Home.open(home), folder, fingerprint, short_name=short_name, address=address)
    show(
        format,
        _document(custodian),
        f"[bold]{custodian.short_name}[/bold] ({escape(custodian.name)}) at {custodian.address} is trusted;"
        f" it knows us as '{custodian.partner}' until {custodian.expires:%Y-%m-%d}",
    )


@reports_errors
def renew(
    custodian: Annotated[
        str | None, typer.Option("--custodian", help="Its short name, where several are trusted.")
    ] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Make a new TLS key for a custodian, and the request to send it, before our certificate there ends.

    Leaves HOME/custodians/NAME/next.csr; send it, and read out the new key's fingerprint by telephone. The present key stays in use until
    'trust add' with the folder that comes back. To keep the key, ask the custodian for a new folder alone: it needs no request.

    Example: consumer trust renew --custodian st-mary
    """
    from consumer.config import Home
    from consumer.enrolment import find, request_renewal

    opened = Home.open(home)
    known = find(opened, custodian)
    request, fingerprint = request_renewal(opened, known)
    show(
        format,
        {
            "custodian": known.short_name, "request": str(request), "key_fingerprint": fingerprint,
            "expires": f"{known.expires:%Y-%m-%dT%H:%M:%SZ}",
        },
        f"our certificate  ends on {known.expires:%Y-%m-%d}",
        f"request          {request}",
        f"key fingerprint  {spaced(fingerprint)}",
    )  # fmt: skip


@reports_errors
def list_custodians(home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Show the custodians that we trust, the pinned fingerprints, and until when our certificates are valid.

    Example: consumer trust list --format json
    """
    from rich.table import Table

    from consumer.config import Home
    from consumer.enrolment import trusted

    custodians = trusted(Home.open(home))
    table = Table("custodian", "name", "address", "knows us as", "our certificate ends", "root (SHA-256)")
    for c in custodians:
        table.add_row(
            c.short_name,
            escape(c.name),
            escape(c.address),
            c.partner,
            f"{c.expires:%Y-%m-%d}",
            c.fingerprint[:16] + "...",
        )
    show(format, {"custodians": [_document(c) for c in custodians]}, table)


def _document(custodian: Custodian) -> dict[str, str]:
    return {
        "custodian": custodian.short_name,
        "name": custodian.name,
        "address": custodian.address,
        "root_fingerprint": custodian.fingerprint,
        "partner": custodian.partner,
        "expires": f"{custodian.expires:%Y-%m-%dT%H:%M:%SZ}",
        "folder": str(custodian.folder),
    }


def spaced(fingerprint: str) -> str:
    """A fingerprint in groups of four, as people read it out."""
    return " ".join(fingerprint[i : i + 4] for i in range(0, len(fingerprint), 4))
