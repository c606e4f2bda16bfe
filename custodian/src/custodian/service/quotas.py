"""What one partner may ask of the daemon: calls at once, and calls in time.

The rate is a token bucket for each certificate: it holds `Limits.burst` calls and is refilled by `Limits.calls_per_minute`. It is
asked before the database is, so that not even a revoked certificate can make the daemon work.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from custodian.service.limits import Limits
from custodian.service.status import Busy

MAX_BUCKETS = 10_000
WAIT_FOR_A_CALL_S = 1.0


class Quotas:
    """The quotas of one daemon; of one event loop.

    Args:
        limits: the bounds.
        clock: seconds that only grow.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._per_second = limits.calls_per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # certificate -> tokens, when
        self._open: Counter[str] = Counter()

    def take(self, certificate: str) -> None:
        """Let one call of this certificate begin.

        Raises:
            Busy: it has made too many; the error says when the next one may come.
        """
        now = self._clock()
        tokens, before = self._buckets.pop(certificate, (float(self._limits.burst), now))
        tokens = min(float(self._limits.burst), tokens + (now - before) * self._per_second)
        allowed = tokens >= 1.0
        self._buckets[certificate] = (tokens - 1.0 if allowed else tokens, now)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)  # the one that called least lately is the fullest
        if not allowed:
            wait = (1.0 - tokens) / self._per_second
            raise Busy(
                f"you may make {self._limits.calls_per_minute:g} calls a minute; the next one in {wait:.1f} s",
                "rate",
                wait,
            )

    @contextmanager
    def open_call(self, partner: str) -> Iterator[None]:
        """Hold one of the partner's places while its call is open.

        Raises:
            Busy: all of them are taken.
        """
        most = self._limits.calls_per_partner
        if self._open[partner] >= most:
            raise Busy(f"you have {most} calls open already; wait for one to end", "concurrency", WAIT_FOR_A_CALL_S)
        self._open[partner] += 1
        try:
            yield
        finally:
            self._open[partner] -= 1
            if not self._open[partner]:
                del self._open[partner]
