"""The ledger: what each cohort has spent, what it may still spend, and the refusal before any work begins.

An entry is reserved before the private answer is computed and committed once it was given out. A reserve counts as spent whether its
commit follows or not: after a crash nobody can say what was seen. Nothing is ever given back.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any

from custodian.budget.limits import Limit
from custodian.budget.mechanisms import Mechanism, composed, naive
from custodian.config import Home
from custodian.state.spending import FIRST, Entries, Entry
from stimset.errors import ConfigError, PolicyDenied

ROUNDING = 1e-9
"""Share of a limit that the accountants' own rounding may exceed it by."""


@dataclass(frozen=True)
class Total:
    """What entries amount to together.

    Attributes:
        epsilon: composed at `delta`; None where an entry has no bound.
        delta: the limit's, or without a limit the sum of the entries' own.
        naive_epsilon, naive_delta: plain sums, for comparison.
        entries: how many were reserved.
        uncommitted: of them, how many were never committed.
        unbounded: of them, how many added no noise.
    """

    epsilon: float | None
    delta: float
    naive_epsilon: float | None
    naive_delta: float
    entries: int
    uncommitted: int
    unbounded: int


@dataclass(frozen=True)
class Reservation:
    """A place in the ledger: ``repeated`` where the very same work had been paid for before and costs nothing more."""

    entry: Entry
    repeated: bool


class Ledger:
    """The budget of every cohort of a home."""

    def __init__(self, entries: Entries, limit: Limit | None = None) -> None:
        self._entries = entries
        self.limit = limit or Limit()

    @classmethod
    def open(cls, home: Home) -> Ledger:
        """The home's ledger under the limit of its settings.

        Raises:
            ConfigError: the settings or the database can't be used.
        """
        return cls(Entries.open(home), Limit.of(home))

    def close(self) -> None:
        """Let go of every connection."""
        self._entries.close()

    def entries(self, cohort: str | None = None, subject: str | None = None) -> tuple[Entry, ...]:
        """The entries, in order, of one cohort and one subject if they are named; a partner is shown the same ones.

        Raises:
            ConfigError: an entry was tampered with.
        """
        return tuple(e for e in self._entries.all() if cohort in (None, e.cohort) and subject in (None, e.subject))

    def head(self) -> str:
        """Hash of the last entry: whoever keeps it sees if the ledger is cut short later."""
        entries = self._entries.all()
        return entries[-1].hash if entries else FIRST

    def cohorts(self) -> tuple[str, ...]:
        """Cohorts with entries, in the order of their first."""
        return tuple(dict.fromkeys(e.cohort for e in self._entries.all() if e.kind == "reserve"))

    def total(self, cohort: str) -> Total:
        """What a cohort has spent."""
        return _total(self.entries(cohort), self.limit)

    def require(self, cohort: str, mechanism: Mechanism) -> None:
        """Refuse work that the limit would not allow, before it starts. `reserve` decides again, and bindingly.

        Raises:
            PolicyDenied: less is left; the message says how much, and the remedy.
        """
        self._afford(cohort, mechanism, self.entries(cohort))

    def reserve(
        self, cohort: str, mechanism: Mechanism, *, purpose: str, subject: str = "", key: str | None = None, most: int | None = None
    ) -> Reservation:  # fmt: skip
        """Spend; only then may the private answer be computed and given out.

        Args:
            cohort: whose budget (`cohort_id`).
            mechanism: what is drawn.
            purpose: one word, such as ``aggregates`` or ``evaluation``.
            subject: for whom or what: a set, a partner.
            key: names the very same answer (same data, same noise): paid for once, however often it is given. None: always new.
            most: so many entries of this purpose the subject may have, such as a partner's queries.

        Raises:
            PolicyDenied: the limit or `most` does not allow it; nothing was spent.
            ConfigError: the ledger was tampered with, or the names are too long.
        """
        if not cohort or len(cohort) > 64 or not 1 <= len(purpose) <= 80 or len(subject) > 200 or len(key or "") > 64:
            raise ConfigError("budget: a cohort and a purpose are needed; names have at most 64, 80 and 200 characters")
        unique = key or secrets.token_hex(16)
        earlier: list[Entry] = []

        def draft(entries: Sequence[Entry]) -> Entry | None:
            own = [e for e in entries if e.cohort == cohort]
            earlier[:] = [e for e in own if e.kind == "reserve" and (e.key, e.purpose) == (unique, purpose)]
            if earlier:
                return None
            asked = sum(e.kind == "reserve" and (e.purpose, e.subject) == (purpose, subject) for e in own)
            if most is not None and asked >= most:
                raise PolicyDenied(
                    f"'{subject}' has used all of its {most} {purpose} entries; ask the custodian for a higher limit"
                )
            self._afford(cohort, mechanism, own)
            return _draft(cohort, "reserve", purpose, subject, unique, mechanism)

        made = self._entries.append(draft)
        return Reservation(made, repeated=False) if made else Reservation(earlier[0], repeated=True)

    def commit(self, reservation: Reservation, detail: str = "") -> None:
        """Say that the reserved answer was given out; once is enough.

        Args:
            reservation: of `reserve`.
            detail: a digest of the answer, at most 200 characters.
        """
        reserve = reservation.entry

        def draft(entries: Sequence[Entry]) -> Entry | None:
            if any(e.kind == "commit" and (e.cohort, e.purpose, e.key) == _key(reserve) for e in entries):
                return None
            return _draft(reserve.cohort, "commit", reserve.purpose, reserve.subject, reserve.key, detail=detail[:200])

        self._entries.append(draft)

    @contextmanager
    def spend(
        self, cohort: str, mechanism: Mechanism, *, purpose: str, subject: str = "", key: str | None = None, most: int | None = None
    ) -> Iterator[Reservation]:  # fmt: skip
        """`reserve`, the caller's work, `commit`. Work that fails stays spent.

        Raises:
            PolicyDenied: as `reserve`; the work does not start.
        """
        reservation = self.reserve(cohort, mechanism, purpose=purpose, subject=subject, key=key, most=most)
        yield reservation
        self.commit(reservation)

    def note_limit(self, limit: Limit) -> None:
        """Enter a change of the limit, so that raising one leaves a trace, and hold to it from here on."""
        mechanism = Mechanism("none", epsilon=limit.epsilon, delta=limit.delta)
        words = "no limit" if limit.epsilon is None else "all cohorts"
        self._entries.append(lambda entries: _draft("", "limit", "limit", "", secrets.token_hex(16), mechanism, words))
        self.limit = limit

    def _afford(self, cohort: str, mechanism: Mechanism, entries: Sequence[Entry]) -> None:
        limit = self.limit
        if limit.epsilon is None or limit.delta is None:
            return
        if mechanism.epsilon is None:
            raise PolicyDenied(
                f"the cohort's budget is limited to epsilon {limit.epsilon:g}, and this would read patients without noise; state epsilon "
                "and delta ([privacy] in the recipe), or lift the limit with 'custodian budget limit'"
            )
        before = _mechanisms(entries)
        epsilon = composed([*before, mechanism], limit.delta)
        if epsilon <= limit.epsilon * (1 + ROUNDING):
            return
        left = max(0.0, limit.epsilon - composed(before, limit.delta))
        raise PolicyDenied(
            f"the privacy budget of cohort {cohort[:12]} does not allow this: it would reach epsilon {epsilon:.4g} of {limit.epsilon:g} "
            f"at delta {limit.delta:g}, and about {left:.4g} is left; ask for less, or raise the limit with 'custodian budget limit'"
        )


def spent(home: Home, cohort_id: str) -> dict[str, Any]:
    """A cohort's cumulative budget, as a release's predicate states it: ``epsilon`` (None: unbounded), ``delta``, ``entries``."""
    ledger = Ledger.open(home)
    try:
        total = ledger.total(cohort_id)
    finally:
        ledger.close()
    return {"epsilon": total.epsilon, "delta": total.delta, "entries": total.entries}


def _total(entries: Sequence[Entry], limit: Limit) -> Total:
    mechanisms = _mechanisms(entries)
    committed = {_key(e) for e in entries if e.kind == "commit"}
    summed, delta = naive(mechanisms)
    at = min(1.0, delta) if limit.delta is None else limit.delta
    return Total(
        epsilon=_finite(composed(mechanisms, at)), delta=at, naive_epsilon=_finite(summed), naive_delta=delta, entries=len(mechanisms),
        uncommitted=sum(e.kind == "reserve" and _key(e) not in committed for e in entries),
        unbounded=sum(m.epsilon is None for m in mechanisms),
    )  # fmt: skip


def _mechanisms(entries: Sequence[Entry]) -> list[Mechanism]:
    return [Mechanism.from_document(e.mechanism) for e in entries if e.kind == "reserve"]


def _key(entry: Entry) -> tuple[str, str, str]:
    return entry.cohort, entry.purpose, entry.key


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _draft(
    cohort: str, kind: str, purpose: str, subject: str, key: str, mechanism: Mechanism | None = None, detail: str = ""
) -> Entry:  # fmt: skip
    """An entry whose number, time and hashes the table fills in."""
    drawn = mechanism.document() if mechanism else {}
    epsilon, delta = (mechanism.epsilon, mechanism.delta) if mechanism else (None, None)
    return Entry(0, cohort, kind, purpose, subject, key, drawn, epsilon, delta, detail, "", "")
