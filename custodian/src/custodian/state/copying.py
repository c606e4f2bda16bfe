"""The database as lines of JSON and back: one form for SQLite and PostgreSQL, so that a home can also move from one to the other.

The first line names the revision, each other line is a row; tables stand in an order in which their references hold. All lines are of
one moment, while others go on writing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, MetaData, Table, func, insert, inspect, select, text

from custodian.state.engine import HEAD, Database
from custodian.state.migrating import upgrade
from custodian.state.tables import METADATA
from stimset.errors import ConfigError, FormatError
from stimset.release import canonical_json
from stimset.strict import Fields, load_json

MAX_LINE = 1 << 20
MAX_ROWS = 100_000_000
_BATCH = 500
_REVISIONS = "alembic_version"


def dump(database: Database, path: Path) -> int:
    """Write every row into a new file; answers with their number."""
    written = 0
    with database.reading() as session, path.open("xb") as file:
        file.write(canonical_json({"revision": HEAD}) + b"\n")
        for table in METADATA.sorted_tables:
            order = list(table.primary_key.columns)
            for row in (
                session.connection()
                .execution_options(yield_per=_BATCH)
                .execute(select(table).order_by(*order))
                .mappings()
            ):
                file.write(canonical_json({"row": dict(row), "table": table.name}) + b"\n")
                written += 1
    return written


def load(database: Database, path: Path, *, replace: bool = False) -> int:
    """Fill a database from such a file, and bring it to this version's revision; all in one transaction, or nothing.

    Args:
        database: empty, or at any revision with nothing in its tables.
        path: what `dump` wrote.
        replace: throw away what is in the database.

    Returns:
        How many rows there are.

    Raises:
        ConfigError: the database is not empty, or the file is of a later version.
        FormatError: the file is damaged.
    """
    with path.open("rb") as file:
        lines = _lines(file)
        revision = Fields(next(lines, None), "database copy", ("revision",)).text("revision", most=32)
        if not revision.isdecimal() or revision > HEAD:
            raise ConfigError(
                f"the backup is of revision {revision}, this version knows {HEAD} only; install the version that wrote it"
            )
        _empty(database, replace)
        upgrade(database, to=revision)
        with database.exclusive() as connection:
            count = _insert(connection, lines)
            if not database.embedded:
                _follow_sequences(connection)
        upgrade(database)
    return count


def _lines(file: BinaryIO) -> Iterator[Any]:
    while line := file.readline(MAX_LINE + 1):
        yield load_json(line, limit=MAX_LINE, what="database copy")


def _empty(database: Database, replace: bool) -> None:
    with database.exclusive() as connection:
        present = inspect(connection).get_table_names()
        if replace:
            _drop(connection, present)
            return
        for name in present:
            if name != _REVISIONS and connection.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first():  # noqa: S608 - from the catalogue
                raise ConfigError(
                    f"the database {database.name} is not empty; give --force to throw away what is in it"
                )


def _drop(connection: Connection, present: list[str]) -> None:
    ours = MetaData()
    known = {table.name for table in METADATA.sorted_tables} | {_REVISIONS}
    ours.reflect(connection, only=[name for name in present if name in known])
    ours.drop_all(connection)


def _insert(connection: Connection, lines: Iterator[Any]) -> int:
    tables: dict[str, Table] = {}
    known = set(inspect(connection).get_table_names()) - {_REVISIONS}
    waiting: list[dict[str, Any]] = []
    current, count = "", 0
    for document in lines:
        fields = Fields(document, "database copy", ("row", "table"))
        name = fields.text("table", most=64)
        if name not in known:
            raise FormatError(f"database copy: there is no table '{name}'; the backup is damaged")
        if name != current or len(waiting) >= _BATCH:
            _store(connection, tables.get(current), waiting)
            current, waiting = name, []
        if name not in tables:
            tables[name] = Table(name, MetaData(), autoload_with=connection)
        row = fields.mapping("row", most=64)
        if set(row) != set(tables[name].columns.keys()) or not all(
            v is None or isinstance(v, str | int | float) for v in row.values()
        ):
            raise FormatError(
                f"database copy: a row of '{name}' has other columns than its table; the backup is damaged"
            )
        waiting.append(row)
        count += 1
        if count > MAX_ROWS:
            raise FormatError(f"database copy: more than {MAX_ROWS} rows; it is not what 'custodian backup' made")
    _store(connection, tables.get(current), waiting)
    return count


def _store(connection: Connection, table: Table | None, rows: list[dict[str, Any]]) -> None:
    if table is not None and rows:
        connection.execute(insert(table), rows)


def _follow_sequences(connection: Connection) -> None:
    """PostgreSQL numbers new rows by a sequence, which does not notice rows that bring their numbers along."""
    for table in METADATA.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        highest = connection.execute(select(func.max(column))).scalar()
        if highest is not None:
            name = connection.execute(
                text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": table.name, "c": column.name}
            ).scalar()
            if name is not None:
                connection.execute(
                    text("SELECT setval(CAST(:name AS regclass), :value)"), {"name": name, "value": highest}
                )
