"""The custodian's database: who the partners are and what each may see. SQLite in WAL mode, readable by its owner only.

::

    partners   id, name, fingerprint (SHA-256 of the DER certificate), certificate (PEM), created, expires, revoked_at
    grants     partner_id, series (a pattern: "*", "apnea-*", "apnea-nights")

A row is never deleted: a revoked partner stays, so that an old access log can still be read. A name can be used again
once every certificate under it is revoked.

Usage::

    partners = Partners.open(home.database)
    partners.add("acme", certificate, series=("*",))
    partners.by_fingerprint(fingerprint).sees("apnea-nights")     # True
    partners.revoke("acme")                                       # effective at acme's next call
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from sqlalchemy import ForeignKey, Index, String, create_engine, event, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from stimset.errors import ConfigError, TransportError

PARTNER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
SERIES_PATTERN = re.compile(r"[a-z0-9*](?:[a-z0-9*-]{0,126}[a-z0-9*])?\Z")
MAX_GRANTS = 100
BUSY_MILLISECONDS = 5000


@dataclass(frozen=True)
class Partner:
    """A partner organisation as the daemon knows it.

    Attributes:
        name: lower-case letters, digits and hyphens, at most 63.
        fingerprint: SHA-256 of the DER certificate, lower-case hex.
        created, expires: UTC; `expires` is the certificate's own end.
        revoked_at: UTC, or None while the certificate is good.
        grants: patterns of the series that it may see.
    """

    name: str
    fingerprint: str
    created: datetime
    expires: datetime
    revoked_at: datetime | None
    grants: tuple[str, ...]

    def sees(self, series: str) -> bool:
        """Whether any grant covers the series of this name."""
        return any(fnmatchcase(series, pattern) for pattern in self.grants)


class _Base(DeclarativeBase):
    pass


class _PartnerRow(_Base):
    __tablename__ = "partners"
    __table_args__ = (Index("one_live_certificate", "name", unique=True, sqlite_where=text("revoked_at IS NULL")),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    certificate: Mapped[str]
    created: Mapped[str] = mapped_column(String(20))
    expires: Mapped[str] = mapped_column(String(20))
    revoked_at: Mapped[str | None] = mapped_column(String(20))
    grants: Mapped[list[_GrantRow]] = relationship(order_by="_GrantRow.series", cascade="all, delete-orphan")


class _GrantRow(_Base):
    __tablename__ = "grants"

    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"), primary_key=True)
    series: Mapped[str] = mapped_column(String(128), primary_key=True)


class Partners:
    """The table of partners. Safe to use from several threads and processes at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, path: Path) -> Partners:
        """Open the database, and make it (mode 0600) where there is none.

        Raises:
            ConfigError: the file can't be opened, or is no database of ours.
        """
        try:
            # SQLite gives its -wal and -shm files the mode of the database itself.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise ConfigError(f"{path}: the database can't be opened ({error.strerror})") from None
        engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False})
        event.listen(engine, "connect", _configure)
        partners = cls(engine)
        with partners._errors():
            _Base.metadata.create_all(engine)
        return partners

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    def add(self, name: str, certificate: x509.Certificate, series: Sequence[str] = ("*",)) -> Partner:
        """Enter a partner with its certificate and grants.

        Raises:
            ConfigError: the name or a pattern is malformed, or the name has a live certificate already.
        """
        check_name(name)
        check_series(series)
        row = _PartnerRow(
            name=name,
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            created=_stamp(datetime.now(UTC)),
            expires=_stamp(certificate.not_valid_after_utc),
            grants=[_GrantRow(series=pattern) for pattern in sorted(set(series))],
        )
        try:
            with self._errors(), Session(self._engine) as session, session.begin():
                session.add(row)
                session.flush()
                return _partner(row)
        except IntegrityError:
            raise ConfigError(
                f"partner '{name}' has a certificate already; 'custodian partner revoke {name}' takes it back first"
            ) from None

    def list(self) -> tuple[Partner, ...]:
        """Every partner, the revoked ones too, by name and then by age."""
        query = select(_PartnerRow).options(selectinload(_PartnerRow.grants)).order_by(_PartnerRow.name, _PartnerRow.id)
        with self._errors(), Session(self._engine) as session:
            return tuple(_partner(row) for row in session.scalars(query))

    def by_fingerprint(self, fingerprint: str) -> Partner | None:
        """The partner whose certificate has this SHA-256 (hex), revoked or not; None for a stranger."""
        query = select(_PartnerRow).where(_PartnerRow.fingerprint == fingerprint)
        with self._errors(), Session(self._engine) as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else _partner(row)

    def revoke(self, name: str) -> Partner:
        """Take the partner's live certificate back.

        Raises:
            ConfigError: no live certificate stands under this name.
        """
        query = select(_PartnerRow).where(_PartnerRow.name == name, _PartnerRow.revoked_at.is_(None))
        with self._errors(), Session(self._engine) as session, session.begin():
            row = session.scalars(query).one_or_none()
            if row is None:
                raise ConfigError(f"partner '{name}' has no valid certificate; 'custodian partner list' shows all")
            row.revoked_at = _stamp(datetime.now(UTC))
            return _partner(row)

    def grant(self, name: str, series: Sequence[str]) -> Partner:
        """Replace what the partner may see.

        Raises:
            ConfigError: a pattern is malformed, or no live certificate stands under this name.
        """
        check_series(series)
        query = select(_PartnerRow).where(_PartnerRow.name == name, _PartnerRow.revoked_at.is_(None))
        with self._errors(), Session(self._engine) as session, session.begin():
            row = session.scalars(query).one_or_none()
            if row is None:
                raise ConfigError(f"partner '{name}' has no valid certificate; 'custodian partner list' shows all")
            held = {grant.series: grant for grant in row.grants}
            row.grants = [held.get(pattern) or _GrantRow(series=pattern) for pattern in sorted(set(series))]
            session.flush()
            return _partner(row)

    def check(self) -> None:
        """Let SQLite check the file.

        Raises:
            ConfigError: the file is damaged.
            TransportError: it is locked by another process for too long.
        """
        with self._errors(), self._engine.connect() as connection:
            answer = connection.execute(text("PRAGMA quick_check")).scalar_one()
        if answer != "ok":
            raise ConfigError(f"the database is damaged ({str(answer)[:200]}); restore it from a backup")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except OperationalError as error:
            raise TransportError(f"the database can't be used at the moment ({error.orig}); try again") from None
        except DatabaseError as error:
            raise ConfigError(f"the database is not Stimset's ({error.orig}); restore it from a backup") from None


def check_name(name: str) -> None:
    """Refuse a malformed partner name.

    Raises:
        ConfigError: it is not 1 to 63 lower-case letters, digits and inner hyphens.
    """
    if not PARTNER_NAME.match(name):
        raise ConfigError("a partner's name has 1 to 63 lower-case letters, digits and hyphens, such as 'acme-labs'")


def check_series(series: Sequence[str]) -> None:
    """Refuse malformed grants.

    Raises:
        ConfigError: there is none, there are too many, or one is not a series name or a pattern with ``*``.
    """
    if not 1 <= len(series) <= MAX_GRANTS or not all(SERIES_PATTERN.match(pattern) for pattern in series):
        raise ConfigError(f"a grant is a series name or a pattern such as 'apnea-*'; 1 to {MAX_GRANTS} can be given")


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    # A reader in WAL mode never waits for a writer, so `partner revoke` can't stall the daemon, nor the daemon it.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_MILLISECONDS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _partner(row: _PartnerRow) -> Partner:
    return Partner(
        name=row.name,
        fingerprint=row.fingerprint,
        created=_moment(row.created),
        expires=_moment(row.expires),
        revoked_at=None if row.revoked_at is None else _moment(row.revoked_at),
        grants=tuple(grant.series for grant in row.grants),
    )
