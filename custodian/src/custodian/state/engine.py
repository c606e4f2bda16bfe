"""How the database is opened: SQLite in the home by default, PostgreSQL where ``custodian.toml`` names one.

::

    database = "postgresql+psycopg://stimset@db.hospital.example/stimset?sslmode=verify-full"

A password never stands in that line, since settings are copied and shown: it comes from ``CUSTODIAN_DATABASE_PASSWORD``, from the
file that ``CUSTODIAN_DATABASE_PASSWORD_FILE`` names, or from libpq's own ways (``~/.pgpass``, a service file, peer authentication).

Both databases keep the same promises: `Database.reading` sees one moment, `Database.writing` has the only writer, over all
processes. Usage::

    database = Database.open(home)
    with database.writing() as session:
        session.add(row)
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from custodian.config import Home
from stimset.errors import ConfigError, TransportError

PASSWORD_VARIABLE = "CUSTODIAN_DATABASE_PASSWORD"  # noqa: S105 - a variable's name
PASSWORD_FILE_VARIABLE = "CUSTODIAN_DATABASE_PASSWORD_FILE"  # noqa: S105
BUSY_MILLISECONDS = 15_000
HEAD = "0003"  # the revision that this version works with; a test holds it against the migrations
_REVISIONS = "alembic_version"
_WRITER_LOCK = 0x5715E7  # PostgreSQL's advisory lock: one writer over all processes, as SQLite has anyway


class Database:
    """One database; safe to use from several threads and processes at once.

    Attributes:
        engine: SQLAlchemy's engine.
        name: what to call it in messages; never with a password.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    @classmethod
    def open(cls, home: Home) -> Database:
        """The home's database, at the revision that this version works with.

        A SQLite file is made where the home never had one.

        Raises:
            ConfigError: it is missing, damaged, of another revision (the message says which command helps), or the settings are wrong.
            TransportError: it can't be reached at the moment.
        """
        opened = cls.unchecked(home)
        try:
            opened.check(home)
        except BaseException:
            opened.close()
            raise
        return opened

    @classmethod
    def unchecked(cls, home: Home) -> Database:
        """The same at whatever revision it is: for what changes the revision, or restores it.

        Raises:
            ConfigError: the settings are wrong, or the file can't be opened.
        """
        url = home.settings().database if home.settings_file.exists() else ""
        if url:
            return cls(create_engine(_server(url), pool_pre_ping=True, isolation_level="REPEATABLE READ"), _shown(url))
        return cls.at(home.database)

    @classmethod
    def at(cls, path: Path) -> Database:
        """The SQLite file at `path`, made (mode 0600) where there is none; its revision is not looked at.

        Raises:
            ConfigError: it can't be opened.
        """
        try:
            # SQLite gives its -wal and -shm files the mode of the database itself. A file that is there must not be opened here:
            # closing it would drop the locks of every other connection of this process (POSIX), and another one's WAL be lost.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass
        except OSError as error:
            raise ConfigError(f"{path}: the database can't be opened ({error.strerror})") from None
        engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
        return cls(engine, path.name)

    @property
    def embedded(self) -> bool:
        """Whether it is the SQLite file."""
        return self.engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees the database at one moment."""
        with self.errors(), Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that has the only writer of all processes from its beginning; all of it holds or nothing does.

        Raises:
            IntegrityError: a row breaks a rule of its table.
            TransportError: another writer did not end in time, or the database is away.
        """
        with self.exclusive() as connection, Session(connection) as session:
            yield session
            session.flush()

    @contextmanager
    def exclusive(self) -> Iterator[Connection]:
        """The same as a bare connection; raises what `writing` raises."""
        # PostgreSQL: what REPEATABLE READ sees is decided by its first statement, which here is the wait for the other writer.
        engine = self.engine.execution_options(writes=True) if self.embedded else self._committed
        with self.errors(), engine.begin() as connection:
            if not self.embedded:
                connection.execute(text(f"SET LOCAL lock_timeout = {BUSY_MILLISECONDS}"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITER_LOCK})
            yield connection

    @property
    def _committed(self) -> Engine:
        return self.engine.execution_options(isolation_level="READ COMMITTED")

    def revision(self) -> str | None:
        """The revision that the database is at; None for an empty one, ``""`` for one of a version without revisions."""
        with self.errors(), self.engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            if _REVISIONS not in tables:
                return "" if "partners" in tables else None
            return str(connection.execute(text(f"SELECT version_num FROM {_REVISIONS}")).scalar_one())  # noqa: S608 - our own name

    def check(self, home: Home) -> None:
        """Return when the database is at this version's revision; a home's first one is made.

        Raises:
            ConfigError: as `open`.
        """
        found = self.revision()
        if found == HEAD:
            return
        if found is None and home.checkpoint.exists():
            raise ConfigError(
                f"the database {self.name} is empty, but this home had a log; restore it: 'custodian restore FILE'"
            )
        if found is None and self.embedded:
            from custodian.state.migrating import upgrade

            upgrade(self)
            return
        if found is not None and found > HEAD:
            raise ConfigError(
                f"the database is at revision {found}, this version knows {HEAD} only, and there is no way back; "
                "install the version that wrote it"
            )
        raise ConfigError(
            f"the database is at revision {found or 'none'}, {HEAD} is needed; stop the daemon and run 'custodian migrate'"
        )

    def sound(self) -> None:
        """Let the database check itself, as far as it can.

        Raises:
            ConfigError: it is damaged.
            TransportError: it can't be used at the moment.
        """
        with self.errors(), self.engine.connect() as connection:
            answer = connection.execute(text("PRAGMA quick_check" if self.embedded else "SELECT 'ok'")).scalar_one()
        if answer != "ok":
            raise ConfigError(f"the database is damaged ({str(answer)[:200]}); restore it from a backup")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """The library's errors as ours, but for `IntegrityError`. Their text is the driver's first line: no statement, no values."""
        try:
            yield
        except IntegrityError:
            raise
        except OperationalError as error:
            raise TransportError(
                f"the database {self.name} can't be used at the moment ({_line(error)}); try again"
            ) from None
        except (ProgrammingError, DataError) as error:
            raise ConfigError(
                f"the database {self.name} lacks a table or a right ({_line(error)}); run 'custodian migrate'"
            ) from None
        except DatabaseError as error:
            raise ConfigError(f"the database is not Stimset's ({_line(error)}); restore it from a backup") from None
        except PoolTimeout:
            raise TransportError(f"the database {self.name} has no connection left for this; try again") from None


def _line(error: DatabaseError) -> str:
    return str(error.orig).strip().split("\n", 1)[0][:200]


def _server(url: str) -> URL:
    parsed = _parsed(url)
    direct, file = os.environ.get(PASSWORD_VARIABLE), os.environ.get(PASSWORD_FILE_VARIABLE)
    if file:
        try:
            direct = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{PASSWORD_FILE_VARIABLE} names a file that can't be read as text: {file}") from None
    return parsed.set(password=direct) if direct else parsed


def _shown(url: str) -> str:
    parsed = _parsed(url)
    return f"{parsed.database} on {parsed.host or 'this machine'}"


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername != "postgresql+psycopg":
        raise ConfigError("'database' in custodian.toml must be empty, or 'postgresql+psycopg://USER@HOST/NAME'")
    if parsed.password is not None:
        raise ConfigError(
            f"'database' in custodian.toml must not hold a password; put it into the file that {PASSWORD_FILE_VARIABLE} names"
        )
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ConfigError("PostgreSQL needs the driver: pip install 'stimset-custodian[postgres]'") from None
    return parsed


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not at the first change
    # A reader in WAL mode never waits for a writer, so `partner revoke` can't stall the daemon, nor the daemon it.
    for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    # A reader that becomes a writer midway could fail; a writer says so at once, and waits.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")
