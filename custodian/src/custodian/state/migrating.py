"""Bringing a database to this version's revision. Revisions only go forward: whoever needs to go back restores a backup."""

from __future__ import annotations

from custodian.state.engine import HEAD, Database
from stimset.errors import ConfigError

FIRST = "0001"  # what homes of versions without revisions are


def upgrade(database: Database, to: str = HEAD) -> tuple[str | None, str]:
    """Run every migration that is missing, in one transaction; two processes do it one after the other.

    Args:
        database: at any revision.
        to: which revision; this version's.

    Returns:
        The revision before (None for an empty database, ``""`` for one without revisions) and after.

    Raises:
        ConfigError: the database is of a later version; there is no downgrade.
        TransportError: it can't be used at the moment.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "custodian.state:migrations")
    with database.exclusive() as connection:
        before = database.revision()
        if before is not None and before > to:
            raise ConfigError(
                f"the database is at revision {before}, later than {to}; a downgrade would lose records and is refused: "
                "install the version that wrote it, or restore a backup from before"
            )
        config.attributes["connection"] = connection
        if before == "":
            command.stamp(config, FIRST)
        command.upgrade(config, to)
    return before, to
