"""``custodian migrate``: the database to this version's revision."""

from __future__ import annotations

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, reports_errors, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate")(migrate)


@reports_errors
def migrate(home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Bring the database to this version's revision, after an upgrade or in a new PostgreSQL database.

    Builds on a home made by 'init'; which database it is stands in custodian.toml: none (HOME/state.sqlite), or
    database = "postgresql+psycopg://USER@HOST/NAME" with the password in the file that CUSTODIAN_DATABASE_PASSWORD_FILE
    names. Stop the daemon and take a backup before. All of it holds or nothing does; there is no way back but the backup.
    To move to PostgreSQL: 'backup', set database in custodian.toml, 'restore' with --force.

    Example: custodian migrate
    """
    from custodian.config import Home
    from custodian.state.engine import Database
    from custodian.state.migrating import upgrade

    database = Database.unchecked(Home.open(home))
    try:
        before, after = upgrade(database)
    finally:
        database.close()
    document = {"database": database.name, "before": before or None, "revision": after}
    done = "is at" if before == after else "is now at"
    show(format, document, f"the database {database.name} {done} revision {after}")
