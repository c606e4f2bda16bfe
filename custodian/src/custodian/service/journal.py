"""The daemon's part in the log: what leaves is recorded before it leaves, many records in one transaction.

A call waits until its record is on the disk; while one transaction is being written, the next calls gather for the one after it, so the
disk's pace bounds the calls' beginning, never their throughput. What can't be recorded is not served.

Refusals are bounded: the first one of a partner, method and reason is recorded at once, those that follow within `REFUSAL_SECONDS` are
counted and recorded together. A stranger can't fill the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

import structlog

from custodian.config import Home
from custodian.publish.keys import load_online
from custodian.state.database import Partners
from custodian.state.engine import Database
from custodian.state.log import Entry, append
from custodian.state.witnesses import checkpoint, shown
from stimset.errors import StimsetError

REFUSAL_SECONDS = 60.0
CHECKPOINT_SECONDS = 300.0
MAX_REFUSALS = 1000
MAX_BATCH = 500

_Refusal = tuple[str, str, str]


@dataclass
class _Refused:
    """Refusals of one kind since the last record."""

    recorded: dict[_Refusal, float] = field(default_factory=dict)
    counted: Counter[_Refusal] = field(default_factory=Counter)


class Journal:
    """Records the daemon's decisions; of one event loop."""

    def __init__(self, home: Home, database: Database) -> None:
        self._home = home
        self._database = database
        self._waiting: list[tuple[tuple[Entry, ...], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._refused = _Refused()
        self._log = structlog.get_logger("custodian.log")

    @property
    def partners(self) -> Partners:
        """The partners' table of the same database."""
        return Partners(self._database)

    @property
    def waiting(self) -> int:
        """How many calls wait for their record."""
        return len(self._waiting)

    async def record(self, *entries: Entry) -> None:
        """Return once the records are on the disk.

        Raises:
            TransportError, ConfigError: they can't be written; what was to be recorded must not happen.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await written

    async def refuse(self, partner: str, method: str, reason: str) -> None:
        """Record a refusal, or count it; a failure goes to the daemon's own log, since the refusal stands anyway."""
        kind = (partner, method, reason)
        now = time.monotonic()
        recorded = self._refused.recorded
        if len(recorded) >= MAX_REFUSALS or now - recorded.get(kind, -REFUSAL_SECONDS) < REFUSAL_SECONDS:
            self._refused.counted[kind if kind in recorded else ("many", method, reason)] += 1
            return
        recorded[kind] = now
        await self._quietly(_refusal(kind, 1))

    async def keep(self, seconds: float = CHECKPOINT_SECONDS) -> None:
        """Record counted refusals and sign checkpoints, again and again, until it is cancelled."""
        waited = 0.0
        while True:
            await asyncio.sleep(min(seconds, REFUSAL_SECONDS))
            await self.settle_refusals()
            waited += min(seconds, REFUSAL_SECONDS)
            if waited >= seconds:
                waited = 0.0
                await self.sign()

    async def settle_refusals(self) -> None:
        """Record what was counted."""
        counted, self._refused = self._refused.counted, _Refused()
        if counted:
            await self._quietly(*(_refusal(kind, number) for kind, number in sorted(counted.items())))

    async def sign(self) -> None:
        """Sign a checkpoint, where the log grew. A failure goes to the daemon's own log, since serving must go on."""
        try:
            made = await asyncio.to_thread(lambda: checkpoint(self._home, self._database, load_online(self._home)))
        except (StimsetError, OSError) as error:
            self._log.error("checkpoint can't be signed", reason=str(error)[:300])
        else:
            if made is not None:
                self._log.info("checkpoint", records=made.size)

    async def shown(self, known: int) -> tuple[bytes | None, list[bytes]]:
        """The newest checkpoint and its proof (`custodian.state.witnesses.shown`)."""
        return await asyncio.to_thread(shown, self._database, known)

    async def _quietly(self, *entries: Entry) -> None:
        try:
            await self.record(*entries)
        except StimsetError as error:
            self._log.error("a refusal can't be recorded", reason=str(error)[:300])

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            entries = [entry for group, _ in batch for entry in group]
            failure: BaseException | None = None
            try:
                await asyncio.to_thread(self._append, entries)
            except Exception as error:  # each of the waiting calls is told
                failure = error
            for _, written in batch:
                with contextlib.suppress(asyncio.InvalidStateError):  # its call was given up meanwhile
                    written.set_result(None) if failure is None else written.set_exception(failure)

    def _append(self, entries: list[Entry]) -> None:
        with self._database.writing() as session:
            append(session, entries)


def _refusal(kind: _Refusal, count: int) -> Entry:
    partner, method, reason = kind
    return Entry("refuse", partner=partner, method=method, reason=reason, count=count)
