"""Which stimuli are kept. A shard goes on making candidates until it is full, with a bound on how many."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.sections import Acceptance

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Quantiles = tuple[Floats, Floats]


@dataclass
class Selection:
    """What one shard has kept so far.

    Attributes:
        settings: the rule.
        count: stimuli that make the shard full.
        quantiles: for the rule ``quantiles``: see `custodian.excitation.readings.certainty_quantiles`.
    """

    settings: Acceptance
    count: int
    quantiles: Quantiles | None = None
    _kept: list[NDArray[np.float32]] = field(default_factory=list)
    _spare: list[NDArray[np.float32]] = field(default_factory=list)
    _embedded: NDArray[np.float32] | None = None
    _nearest: float = 0.0
    _room: NDArray[np.int64] | None = None

    @property
    def size(self) -> int:
        """Stimuli kept."""
        return sum(len(values) for values in self._kept)

    def offer(
        self, values: NDArray[np.float32], belief: Floats, wanted: NDArray[np.int64], embedded: NDArray[np.float32] | None,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        """Look at candidates, in order, and keep those that the rule wants.

        Args:
            values: ``(n, channels, samples)``.
            belief: ``(n, classes)``: the teacher's.
            wanted: ``(n,)``: the class that each should evoke.
            embedded: ``(n, features)``: the teacher's description of each; needed where duplicates are left out.
            rng: draws thresholds.
        """
        fits = np.ones(len(values), np.bool_)
        if self.settings.rule == "threshold":
            threshold = rng.uniform(self.settings.threshold_low, self.settings.threshold_high, len(values))
            fits = belief[np.arange(len(values)), wanted] > threshold
        if embedded is not None:
            fits = self._without_duplicates(fits, embedded)
        if self.quantiles is not None:
            room = self._with_room(fits, belief, *self.quantiles)
            self._spare.append(values[fits & ~room])
            fits = room
        self._kept.append(values[fits][: self.count - self.size])

    def full(self) -> bool:
        """Whether there is nothing left to make."""
        return self.size >= self.count

    def settle(self) -> bool:
        """Fill what is missing from candidates whose bin was full, if that is within the slack; whether the shard is full now."""
        missing = self.count - self.size
        if missing and missing <= self.settings.slack * self.count:
            self._kept.append(np.concatenate([self._kept[0][:0], *self._spare])[:missing])
        return self.full()

    def values(self) -> NDArray[np.float32]:
        """The stimuli ``(size, channels, samples)``."""
        return np.concatenate(self._kept)

    def _with_room(self, fits: Bools, belief: Floats, shares: Floats, edges: Floats) -> Bools:
        """Those whose bin still has room, first come first served."""
        bins = edges.shape[1] + 1
        if self._room is None:
            self._room = quotas(np.repeat(shares / bins, bins), self.count)
        likeliest, certainty = belief.argmax(1), belief.max(1)
        cell = likeliest * bins + (certainty[:, None] > edges[likeliest]).sum(1)
        chosen = np.zeros(len(fits), np.bool_)
        for i in np.flatnonzero(fits):
            if self._room[cell[i]]:
                self._room[cell[i]] -= 1
                chosen[i] = True
        return chosen

    def _without_duplicates(self, fits: Bools, embedded: NDArray[np.float32]) -> Bools:
        """Those that are no near neighbours of one before them."""
        if self._embedded is None:
            # Twice the variance is the mean squared distance between two.
            self._nearest = self.settings.duplicates * float(np.sqrt(2 * embedded.var(0).sum()))
            self._embedded = embedded[:0]
        chosen = np.zeros(len(fits), np.bool_)
        for i in np.flatnonzero(fits):
            before = np.concatenate([self._embedded, embedded[:i][chosen[:i]]])
            distance = np.sqrt(np.square(before - embedded[i]).sum(1))
            chosen[i] = not len(before) or distance.min() >= self._nearest
        self._embedded = np.concatenate([self._embedded, embedded[chosen]])
        return chosen


def quotas(shares: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Whole numbers that sum to `count` and follow the shares, by largest remainders."""
    exact = shares * count
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return whole
