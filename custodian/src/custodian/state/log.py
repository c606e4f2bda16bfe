"""The log of decisions: who may change what leaves the hospital, and what left. It only grows, and any change of it is found.

Each record is canonical JSON that holds the hash of the one before it; all records together are the leaves of a Merkle tree
(`stimset.merkle`), whose root the daemon's key signs from time to time (`stimset.checkpoint`). Partners keep these checkpoints.

::

    log              number (from 0), record, key (a decision that may be recorded once only)
    log_nodes        level, position, hash: the complete subtrees
    log_checkpoints  size, envelope

What a record may say stands in `EVENTS`: numbers, ids and digests. Names, free text and anything of a patient have no place there.
Usage::

    record(home, Entry("train", regime="plain"))
    with database.writing() as session:      # in one transaction with what was decided
        append(session, [Entry("revoke", partner=short(fingerprint))])
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from sqlalchemy import BigInteger, Integer, String, Text, func, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from custodian.config import Home
from custodian.state.base import Base, stamp
from custodian.state.engine import Database
from stimset.errors import FormatError
from stimset.merkle import grown, leaf_hash, root_hash
from stimset.release import canonical_json

# Event -> the facts that it may hold.
EVENTS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        event: frozenset(facts.split())
        for event, facts in {
            "ingest": "windows persons simulated",
            "train": "architecture regime",
            "audit": "candidates admitted failed",
            "override": "candidates failed signers",
            "propose": "release statement",
            "approve": "release statement signers",
            "reject": "release statement signers rejection",
            "publish": "release statement signers",
            "withdraw": "release statement",
            "renew": "targets",
            "enrol": "partner series",
            "grant": "partner series",
            "revoke": "partner",
            "recertify": "partner former hours",
            "query": "partner release epsilon delta",
            "start": "version",
            "stop": "version",
            "serve": "partner release file offset bytes",
            "refuse": "partner method reason count",
            "restore": "records",
        }.items()
    }
)
MAX_RECORD_BYTES = 8192
MAX_LIST = 128
NOTHING_BEFORE = "0" * 64
_WORD = re.compile(r"[A-Za-z0-9*._:+/=-]{1,200}\Z")
_PAGE = 1000

Fact = str | int | float | bool | Sequence[str]


class Entry:
    """A decision that is to be recorded.

    Args:
        event: one of `EVENTS`.
        once: where given, a second decision under the same key is not recorded again; up to 200 characters.
        facts: those that the event may hold: numbers, flags, words without blanks, lists of such words.

    Raises:
        FormatError: the event or a fact is not one of `EVENTS`, or could hold a name or free text.
    """

    __slots__ = ("event", "facts", "once")

    def __init__(self, event: str, *, once: str | None = None, **facts: Fact) -> None:
        if event not in EVENTS or not set(facts) <= EVENTS[event]:
            raise FormatError(
                f"the log has no event '{event[:40]}' with the facts {sorted(facts)}; see custodian.state.log"
            )
        for name, value in facts.items():
            words = [value] if isinstance(value, str) else [] if isinstance(value, int | float) else list(value)
            if len(words) > MAX_LIST or not all(_WORD.match(word) for word in words):
                raise FormatError(
                    f"the log takes no free text; '{name}' of '{event}' must be a short word, or a list of them"
                )
        self.event, self.once, self.facts = event, once, facts


class LogRow(Base):
    """One record."""

    __tablename__ = "log"
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    record: Mapped[str] = mapped_column(Text)
    key: Mapped[str | None] = mapped_column(String(200), unique=True)


class NodeRow(Base):
    """One complete subtree of the Merkle tree."""

    __tablename__ = "log_nodes"
    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(64))


class CheckpointRow(Base):
    """One signed checkpoint."""

    __tablename__ = "log_checkpoints"
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    envelope: Mapped[str] = mapped_column(Text)


def short(fingerprint: str) -> str:
    """A certificate's or key's fingerprint as the log holds it: its first 16 hex digits."""
    return fingerprint[:16]


def record(home: Home, *entries: Entry) -> None:
    """Record decisions in a transaction of their own; raises what `Database.open` raises."""
    database = Database.open(home)
    try:
        with database.writing() as session:
            append(session, entries)
    finally:
        database.close()


def append(session: Session, entries: Sequence[Entry], now: datetime | None = None) -> int:
    """Add records within the caller's transaction, which must come from `Database.writing`.

    Args:
        session: the transaction.
        entries: the decisions, in order.
        now: when they were made; the clock's where None.

    Returns:
        How many were new; those whose key is recorded already are left out.
    """
    keys = [entry.once for entry in entries if entry.once is not None]
    known = set(session.scalars(select(LogRow.key).where(LogRow.key.in_(keys)))) if keys else set()
    size, fresh = length(session), Nodes(session)
    previous = fresh.read(0, size - 1).hex() if size else NOTHING_BEFORE
    rows: list[dict[str, object]] = []
    for entry in entries:
        if entry.once is not None:
            if entry.once in known:
                continue
            known.add(entry.once)
        number = size + len(rows)
        data = canonical_json(
            {
                "event": entry.event,
                "facts": entry.facts,
                "number": number,
                "previous": previous,
                "time": stamp(now or datetime.now(UTC)),
            }
        )
        if len(data) > MAX_RECORD_BYTES:
            raise FormatError(f"a record of '{entry.event}' is longer than {MAX_RECORD_BYTES} bytes")
        fresh.add(number, data)
        previous = fresh.read(0, number).hex()
        rows.append({"number": number, "record": data.decode(), "key": entry.once})
    if rows:
        session.execute(insert(LogRow), rows)
        fresh.store()
    return len(rows)


class Nodes:
    """The tree's nodes: those of the database, and those that are being added."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._fresh: dict[tuple[int, int], bytes] = {}

    def read(self, level: int, position: int) -> bytes:
        """The hash of a complete subtree.

        Raises:
            FormatError: the database has lost it.
        """
        found = self._fresh.get((level, position))
        if found is not None:
            return found
        text = self._session.scalar(select(NodeRow.hash).where(NodeRow.level == level, NodeRow.position == position))
        if text is None:
            raise FormatError(f"the log has lost node {position} of level {level}; run 'custodian log verify'")
        return bytes.fromhex(text)

    def add(self, size: int, data: bytes) -> None:
        """Let the tree of `size` records grow by one."""
        for level, position, value in grown(size, leaf_hash(data), self.read):
            self._fresh[level, position] = value

    def store(self) -> None:
        """Write what was added."""
        rows = [
            {"level": level, "position": position, "hash": value.hex()}
            for (level, position), value in self._fresh.items()
        ]
        self._session.execute(insert(NodeRow), rows)
        self._fresh.clear()


def length(session: Session) -> int:
    """How many records there are."""
    newest = session.scalar(select(func.max(LogRow.number)))
    return 0 if newest is None else newest + 1


def state(session: Session) -> tuple[int, bytes]:
    """How many records there are, and the root of their tree."""
    size = length(session)
    return size, root_hash(size, Nodes(session).read)


def records(session: Session, first: int = 0) -> Iterator[LogRow]:
    """The records from number `first` on, in order, read page by page."""
    last = first - 1
    while True:
        page = session.scalars(select(LogRow).where(LogRow.number > last).order_by(LogRow.number).limit(_PAGE)).all()
        if not page:
            return
        for row in page:
            yield row
            session.expunge(row)
        last = page[-1].number
