"""``custodian init``: the home."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stimset.console import FORMAT_OPTION, Format, err, reports_errors, show
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from custodian.config import Home, Settings

HomeOption = Annotated[Path | None, typer.Option("--home", help="The custodian's home; else CUSTODIAN_HOME.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("init")(init)


@reports_errors
def init(
    name: Annotated[
        str, typer.Option("--name", help="Your organisation's name, as partners read it in every release.")
    ],
    address: Annotated[
        str, typer.Option("--address", help="HOST:PORT that the daemon will listen on.")
    ] = "127.0.0.1:7443",
    hostnames: Annotated[
        list[str] | None,
        typer.Option("--hostname", help="A name or address by which partners reach the daemon; may be repeated."),
    ] = None,
    valid_days: Annotated[
        int, typer.Option("--valid-days", min=1, max=3650, help="Days until a release expires.")
    ] = 365,
    officer: Annotated[
        Path | None,
        typer.Option("--officer", help="officer.keys.json of a second person, who must then sign every release."),
    ] = None,
    recovery: Annotated[
        Path | None, typer.Option("--recovery", help="recovery.keys.json of keys in a safe, for when others are lost.")
    ] = None,
    token: Annotated[
        Path | None, typer.Option("--token", help="A TOML file that names module, token and key of a PKCS#11 token.")
    ] = None,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Make a custodian's home: signing keys and root, TLS authority, secrets, empty database.

    Needs the signing keys' passphrase in CUSTODIAN_PASSPHRASE, or in a file that CUSTODIAN_PASSPHRASE_FILE names.
    Leaves a folder that only you can read; back it up, keep the passphrase elsewhere. An existing home is never
    overwritten. With --officer the root is a proposal in HOME/root.proposal.json, which the second person signs by
    'custodian officer sign-root'; without, one person signs alone, and partners are told so. With --token the Ed25519
    key is made in a PKCS#11 token, whose PIN is in CUSTODIAN_PIN or in the file that CUSTODIAN_PIN_FILE names.

    Example: custodian init --home ./hospital --name "St Mary Hospital" --hostname stimuli.st-mary.example
    """
    from custodian.config import Home, Settings
    from custodian.publish.keys import passphrase
    from custodian.service.addresses import split_address
    from custodian.service.homes import create_home

    split_address(address)
    chosen = Home.at(home)
    names = tuple(dict.fromkeys(("localhost", "127.0.0.1", *(hostnames or ()))))
    settings = Settings(name=name, address=address, hostnames=names, valid_days=valid_days)
    named = None if token is None else _small(token)
    if officer is not None:
        _propose(chosen, settings, officer, recovery, named, format)
        return
    if recovery is not None:
        raise ConfigError("--recovery belongs to --officer; a person alone keeps a backup of the home instead")
    fingerprint = create_home(chosen, settings, passphrase(), token=named)
    show(
        format,
        {"home": str(chosen.root), "name": settings.name, "root_fingerprint": fingerprint, "persons": 1},
        f"home              {chosen.root}",
        f"root fingerprint  {fingerprint}",
        "[yellow]one person signs releases; partners are told so. --officer asks for a second person[/yellow]",
    )
    if format is Format.TEXT:
        err.print("Next: custodian ingest (the recordings), custodian partner add (who may fetch), custodian doctor.")


def _small(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64 << 10)
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror})") from None


def _propose(
    home: Home, settings: Settings, officer: Path, recovery: Path | None, token: bytes | None, format: Format
) -> None:
    """A home whose root waits for the second person."""
    from custodian.publish.keys import ROOT_PROPOSAL_FILE, passphrase
    from custodian.publish.officer import OFFICER, RECOVERY, read_keys, words_of_keys, words_of_root
    from custodian.service.homes import create_home
    from stimset.roots import read_root

    keys = read_keys(officer, OFFICER)
    spare = read_keys(recovery, RECOVERY) if recovery else ()
    create_home(home, settings, passphrase(), officer=keys, recovery=spare, token=token)
    proposal = home.root / ROOT_PROPOSAL_FILE
    words = words_of_root(read_root(proposal))
    document = {"home": str(home.root), "name": settings.name, "root_fingerprint": None, "proposal": str(proposal)}
    show(
        format,
        document | {"words": words, "officer_words": words_of_keys(keys), "persons": 2},
        f"home             {home.root}",
        f"officer's words  {words_of_keys(keys)} (the officer must read out the same)",
        f"carry            {proposal}",
        f"read out         {words}",
    )
    if format is Format.TEXT:
        err.print("Next: 'custodian officer sign-root' on the other side, then 'custodian root install' here.")
