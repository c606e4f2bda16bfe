"""The rows of the privacy budget's ledger: numbered without a gap, each holding the hash of the one before it, never changed.

::

    budget_entries   number, cohort, kind (reserve | commit | limit), purpose, subject, key, mechanism (JSON), epsilon, delta, detail,
                     created, previous, hash

This module appends and reads rows; what they mean is said in `custodian.budget`. A decision and the row that follows from it are one
transaction of the only writer over all processes, so two who each see enough left can't both spend it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Integer, String, Text, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from custodian.config import Home
from custodian.state.base import Base, stamp
from custodian.state.engine import Database
from stimset.errors import ConfigError
from stimset.release import canonical_json

FIRST = "0" * 64
"""What the first row names as the hash before it."""


@dataclass(frozen=True)
class Entry:
    """One row.

    Attributes:
        number: from 1, without a gap.
        cohort: whose budget (`custodian.budget.cohort_id`); empty for a limit, which holds for all.
        kind: ``reserve`` counts as spent, ``commit`` says that the answer of a reserve was given, ``limit`` that a limit was set.
        purpose: such as ``aggregates`` or ``evaluation``.
        subject: for whom or what: a candidate set, a partner.
        key: tells the same piece of work again; a commit carries its reserve's.
        mechanism: what a reserve draws (`custodian.budget.mechanisms.Mechanism.document`).
        epsilon, delta: what a reserve costs by itself, or what a limit allows; None is unbounded.
        detail: a digest of what was given out, or plain words.
        created: UTC.
        previous, hash: SHA-256 (hex) of the row before and of this one.
    """

    number: int
    cohort: str
    kind: str
    purpose: str
    subject: str
    key: str
    mechanism: Mapping[str, Any]
    epsilon: float | None
    delta: float | None
    detail: str
    created: str
    previous: str
    hash: str = ""

    def digest(self) -> str:
        """SHA-256 (hex) over everything but the hash itself."""
        document = {**asdict(self), "mechanism": dict(self.mechanism)}
        del document["hash"]
        return hashlib.sha256(canonical_json(document)).hexdigest()


class _EntryRow(Base):
    __tablename__ = "budget_entries"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    cohort: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    purpose: Mapped[str] = mapped_column(String(80))
    subject: Mapped[str] = mapped_column(String(200))
    key: Mapped[str] = mapped_column(String(64))
    mechanism: Mapped[str] = mapped_column(Text)
    epsilon: Mapped[float | None]
    delta: Mapped[float | None]
    detail: Mapped[str] = mapped_column(String(200))
    created: Mapped[str] = mapped_column(String(20))
    previous: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[str] = mapped_column(String(64))


Draft = Callable[[Sequence[Entry]], Entry | None]
"""Decides on the rows as they stand: the entry to append, whatever its number, time and hashes; or None for nothing."""


class Entries:
    """The rows, in order. Safe to use from several threads and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, home: Home) -> Entries:
        """The rows in the custodian's database. Raises as `Database.open`."""
        return cls(Database.open(home))

    def close(self) -> None:
        """Let go of every connection."""
        self._database.close()

    def all(self) -> tuple[Entry, ...]:
        """Every row, each held against its own hash and that of the row before.

        Raises:
            ConfigError: a row was changed, removed from the middle, or put in.
            TransportError: the database can't be used at the moment.
        """
        with self._database.reading() as session:
            return _read(session)

    def append(self, draft: Draft) -> Entry | None:
        """Let `draft` decide on the rows as they stand, and append what it returns before anyone else appends another.

        `draft` raises to refuse; nobody else can write meanwhile, so it is to be quick.

        Raises:
            ConfigError, TransportError: as `all`.
        """
        with self._database.writing() as session:
            entries = _read(session)
            entry = draft(entries)
            if entry is None:
                return None
            last = entries[-1] if entries else None
            number, previous = (last.number + 1, last.hash) if last else (1, FIRST)
            entry = replace(entry, number=number, previous=previous, created=stamp(datetime.now(UTC)))
            entry = replace(entry, hash=entry.digest())
            session.execute(insert(_EntryRow), _values(entry))
            return entry


def _read(session: Session) -> tuple[Entry, ...]:
    rows = session.execute(select(_EntryRow.__table__).order_by(_EntryRow.number)).mappings()
    return _chained(_entry(row) for row in rows)


def _chained(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    found: list[Entry] = []
    before = FIRST
    for place, entry in enumerate(entries, start=1):
        if entry.number != place or entry.previous != before or entry.digest() != entry.hash:
            raise ConfigError(
                f"the budget's ledger was tampered with or damaged at entry {place}; restore it from a backup"
            )
        before = entry.hash
        found.append(entry)
    return tuple(found)


def _values(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "mechanism": canonical_json(dict(entry.mechanism)).decode()}


def _entry(row: Mapping[Any, Any]) -> Entry:
    try:
        return Entry(**{**row, "mechanism": json.loads(row["mechanism"])})
    except ValueError:
        raise ConfigError(
            f"the budget's ledger is damaged at entry {row['number']}; restore it from a backup"
        ) from None
