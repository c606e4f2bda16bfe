"""Who the partners are and what each may see.

::

    partners   id, name, fingerprint (SHA-256 of the DER certificate), certificate (PEM), created, expires, revoked_at
    grants     partner_id, series (a pattern: "*", "apnea-*", "apnea-nights")

A row is never deleted: a revoked partner stays, so that an old access log can still be read. A name can be used again
once every certificate under it is revoked. One that was renewed is revoked at a moment ahead, so that the partner has time to change.

Every change is a decision: it enters the log (`custodian.state.log`) in the same transaction, under the certificate's
fingerprint, never under a name. Usage::

    partners = Partners.open(home)
    partners.add("acme", certificate, series=("*",))
    partners.by_fingerprint(fingerprint).sees("apnea-nights")     # True
    partners.revoke("acme")                                       # effective at acme's next call
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from sqlalchemy import ColumnElement, ForeignKey, Index, String, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship, selectinload

from custodian.config import Home
from custodian.state.base import Base, moment, stamp
from custodian.state.engine import Database
from custodian.state.log import Entry, append, short
from stimset.errors import ConfigError

PARTNER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
SERIES_PATTERN = re.compile(r"[a-z0-9*](?:[a-z0-9*-]{0,126}[a-z0-9*])?\Z")
MAX_GRANTS = 100
_LIVE = text("revoked_at IS NULL")


@dataclass(frozen=True)
class Partner:
    """A partner organisation as the daemon knows it.

    Attributes:
        name: lower-case letters, digits and hyphens, at most 63.
        fingerprint: SHA-256 of the DER certificate, lower-case hex.
        created, expires: UTC; `expires` is the certificate's own end.
        revoked_at: UTC, or None while the certificate is good; ahead of now for one that was renewed.
        grants: patterns of the series that it may see.
    """

    name: str
    fingerprint: str
    created: datetime
    expires: datetime
    revoked_at: datetime | None
    grants: tuple[str, ...]

    def revoked(self, now: datetime | None = None) -> bool:
        """Whether the certificate has been taken back by now."""
        return self.revoked_at is not None and self.revoked_at <= (now or datetime.now(UTC))

    def sees(self, series: str) -> bool:
        """Whether any grant covers the series of this name."""
        return any(fnmatchcase(series, pattern) for pattern in self.grants)


class _PartnerRow(Base):
    __tablename__ = "partners"
    __table_args__ = (Index("one_live_certificate", "name", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63), index=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    certificate: Mapped[str]
    created: Mapped[str] = mapped_column(String(20))
    expires: Mapped[str] = mapped_column(String(20))
    revoked_at: Mapped[str | None] = mapped_column(String(20))
    grants: Mapped[list[_GrantRow]] = relationship(order_by="_GrantRow.series", cascade="all, delete-orphan")


class _GrantRow(Base):
    __tablename__ = "grants"

    partner_id: Mapped[int] = mapped_column(ForeignKey("partners.id"), primary_key=True)
    series: Mapped[str] = mapped_column(String(128), primary_key=True)


class Partners:
    """The table of partners. Safe to use from several threads and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, home: Home) -> Partners:
        """The partners of a home; raises what `Database.open` raises."""
        return cls(Database.open(home))

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()

    def add(self, name: str, certificate: x509.Certificate, series: Sequence[str] = ("*",)) -> Partner:
        """Enter a partner with its certificate and grants.

        Raises:
            ConfigError: the name or a pattern is malformed, or the name has a live certificate already.
        """
        check_name(name)
        check_series(series)
        row = _row(name, certificate, series)
        try:
            with self._database.writing() as session:
                session.add(row)
                session.flush()
                added = _partner(row)
                _decided(session, "enrol", added)
                return added
        except IntegrityError:
            raise ConfigError(
                f"partner '{name}' has a certificate already; 'custodian partner renew {name}' replaces it, "
                f"'custodian partner revoke {name}' takes it back"
            ) from None

    def renew(self, name: str, certificate: x509.Certificate, overlap: timedelta) -> Partner:
        """Give the partner another certificate with the same grants; the present one is good for `overlap` more.

        Raises:
            ConfigError: no live certificate stands under this name, or the new one is known already.
        """
        now = datetime.now(UTC)
        try:
            with self._live(name) as (session, former):
                former.revoked_at = min(former.expires, stamp(now + overlap))
                session.flush()  # before the new row: a name has one certificate without an end
                row = _row(name, certificate, [grant.series for grant in former.grants])
                session.add(row)
                session.flush()
                renewed = _partner(row)
                hours = round(overlap / timedelta(hours=1))
                append(session, [Entry(
                    "recertify", partner=short(renewed.fingerprint), former=short(former.fingerprint), hours=hours
                )])  # fmt: skip
                return renewed
        except IntegrityError:
            raise ConfigError("this certificate is in the table already; a renewal needs a new one") from None

    def certificates(self) -> tuple[tuple[str, str], ...]:
        """Name and PEM certificate of each that is not taken back yet."""
        query = select(_PartnerRow.name, _PartnerRow.certificate).where(_not_revoked()).order_by(_PartnerRow.id)
        with self._database.reading() as session:
            return tuple((name, pem) for name, pem in session.execute(query))

    def list(self) -> tuple[Partner, ...]:
        """Every partner, the revoked ones too, by name and then by age."""
        query = select(_PartnerRow).options(selectinload(_PartnerRow.grants)).order_by(_PartnerRow.name, _PartnerRow.id)
        with self._database.reading() as session:
            return tuple(_partner(row) for row in session.scalars(query))

    def by_fingerprint(self, fingerprint: str) -> Partner | None:
        """The partner whose certificate has this SHA-256 (hex), revoked or not; None for a stranger."""
        query = select(_PartnerRow).where(_PartnerRow.fingerprint == fingerprint)
        with self._database.reading() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else _partner(row)

    def revoke(self, name: str) -> Partner:
        """Take the partner's live certificate back, and one that it replaced.

        Raises:
            ConfigError: no live certificate stands under this name.
        """
        now = stamp(datetime.now(UTC))
        with self._live(name) as (session, row):
            former = session.scalars(select(_PartnerRow).where(_PartnerRow.name == name, _PartnerRow.revoked_at > now)).all()
            for each in (row, *former):
                each.revoked_at = now
            append(session, [Entry("revoke", partner=short(each.fingerprint)) for each in (row, *former)])
            return _partner(row)

    def grant(self, name: str, series: Sequence[str]) -> Partner:
        """Replace what the partner may see.

        Raises:
            ConfigError: a pattern is malformed, or no live certificate stands under this name.
        """
        check_series(series)
        with self._live(name) as (session, row):
            held = {grant.series: grant for grant in row.grants}
            row.grants = [held.get(pattern) or _GrantRow(series=pattern) for pattern in sorted(set(series))]
            session.flush()
            granted = _partner(row)
            _decided(session, "grant", granted)
            return granted

    def check(self) -> None:
        """Let the database check itself; raises what `Database.sound` raises."""
        self._database.sound()

    @contextmanager
    def _live(self, name: str) -> Iterator[tuple[Session, _PartnerRow]]:
        """The partner's row with its valid certificate, to be changed."""
        query = select(_PartnerRow).where(_PartnerRow.name == name, _PartnerRow.revoked_at.is_(None))
        with self._database.writing() as session:
            row = session.scalars(query).one_or_none()
            if row is None:
                raise ConfigError(f"partner '{name}' has no valid certificate; 'custodian partner list' shows all")
            yield session, row


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


def _not_revoked() -> ColumnElement[bool]:
    return or_(_PartnerRow.revoked_at.is_(None), _PartnerRow.revoked_at > stamp(datetime.now(UTC)))


def _row(name: str, certificate: x509.Certificate, series: Sequence[str]) -> _PartnerRow:
    return _PartnerRow(
        name=name,
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        created=stamp(datetime.now(UTC)),
        expires=stamp(certificate.not_valid_after_utc),
        grants=[_GrantRow(series=pattern) for pattern in sorted(set(series))],
    )


def _decided(session: Session, event: str, partner: Partner) -> None:
    append(session, [Entry(event, partner=short(partner.fingerprint), series=list(partner.grants))])


def _partner(row: _PartnerRow) -> Partner:
    return Partner(
        name=row.name,
        fingerprint=row.fingerprint,
        created=moment(row.created),
        expires=moment(row.expires),
        revoked_at=None if row.revoked_at is None else moment(row.revoked_at),
        grants=tuple(grant.series for grant in row.grants),
    )
