"""``custodian backup`` and ``custodian restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, err, reports_errors, show


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


@reports_errors
def backup(
    file: Annotated[Path, typer.Argument(help="The file to make; an existing one is never replaced.")],
    with_keys: Annotated[
        bool,
        typer.Option(
            "--with-keys", help="The keys too, sealed by the passphrase in CUSTODIAN_BACKUP_PASSPHRASE(_FILE)."
        ),
    ] = False,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Write a backup of the home while the daemon serves.

    In it: settings, root, channel, releases, partners, budget and log, all of one moment; with --with-keys the signing, TLS and secret
    keys, sealed by a passphrase of its own. Never in it: recordings, windows, teachers, candidate sets. Only you can read the file. Keep
    the passphrase elsewhere, and try a 'restore' into another folder once a year.

    Example: custodian backup /backup/stimset-$(date +%F).tar --with-keys
    """
    from custodian.config import Home
    from custodian.publish.keys import backup_passphrase
    from custodian.publish.writing import series_lock
    from custodian.state import backup as taking

    opened = Home.open(home)
    passphrase = backup_passphrase() if with_keys else None
    with series_lock(opened.releases):  # a release is in it as a whole or not at all; serving goes on
        count = taking.backup(opened, file, passphrase=passphrase)
    size = file.stat().st_size
    document = {"backup": str(file), "files": count, "bytes": size, "keys": with_keys}
    show(format, document, f"{file}: {count} files, {size / 1e6:.1f} MB, {'with' if with_keys else 'without'} keys")
    if format is Format.TEXT and not with_keys:
        err.print(
            "Without its keys a custodian can't sign; back them up once by --with-keys, and after each 'root renew'."
        )


@reports_errors
def restore(
    file: Annotated[Path, typer.Argument(help="What 'custodian backup' made.")],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="The keys too; the passphrase is in CUSTODIAN_BACKUP_PASSPHRASE(_FILE).")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Replace the home that is there: it is moved aside, and hands on what the backup lacks."
        ),
    ] = False,
    home: HomeOption = None,
    format: Format = FORMAT_OPTION,
) -> None:
    """Make a home from a backup. Stop the daemon before.

    Every file is held against the backup's list; a damaged backup leaves nothing. 'log verify' then holds the log against its
    signed checkpoints. The home must not exist, but for --force; then keys, cohort, teachers and candidate sets of the old home stay.
    What was decided after the backup is missing in the log, and partners who saw it will be told so by their own software (exit
    code 20): call them.

    Example: custodian restore /backup/stimset-2026-05-03.tar --with-keys --home ./hospital
    """
    from custodian.config import Home
    from custodian.publish.keys import backup_passphrase
    from custodian.state import backup as taking

    chosen = Home.at(home)
    done = taking.restore(chosen, file, passphrase=backup_passphrase() if with_keys else None, force=force)
    document = {
        "home": str(chosen.root), "made": done.made, "files": done.files, "rows": done.rows, "keys": done.keys,
        "replaced": None if done.replaced is None else str(done.replaced),
    }  # fmt: skip
    show(
        format,
        document,
        f"{chosen.root} is as of {done.made}: {done.files} files, {done.rows} rows of the database",
        f"keys {'are restored' if done.keys else 'are not restored'}",
        *([] if done.replaced is None else [f"the old home lies in {done.replaced}"]),
    )
    if format is Format.TEXT:
        err.print("Next: custodian log verify, custodian doctor, custodian serve.")
