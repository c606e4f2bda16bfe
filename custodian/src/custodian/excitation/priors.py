"""What a stimulus starts from. Never a patient's window: random numbers, shaped by a few averages over many patients at the most.

Each prior says which statistics of patients it reads (`Prior.aggregates`); they stand in the signed provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.recipe import Start
from custodian.excitation.statistics import (
    MAX_WINDOWS_PER_PERSON,
    Floats,
    SpectralStatistics,
    bounded,
    prototypes,
    shaped_noise,
    unit_energy,
)
from stimset.windows import Windows, WindowSpec

Draws = tuple[NDArray[np.float32], NDArray[np.int64]]
CROSSFADE = 0.04
"""Share of a window that a change from one class to another takes."""


class Prior(Protocol):
    """A source of starting points."""

    @property
    def spec(self) -> WindowSpec:
        """What the starts imitate."""
        ...

    @property
    def aggregates(self) -> Sequence[Mapping[str, Any]]:
        """The statistics of patients that were read: name, numbers, bound, epsilon, delta."""
        ...

    def sample(self, count: int, rng: np.random.Generator) -> Draws:
        """``count`` starts ``(count, channels, samples)`` and the class that each was drawn for ``(count,)``."""
        ...


@dataclass(frozen=True)
class NoisePrior:
    """Gaussian noise with power falling as ``frequency ** -exponent`` (0 white, 1 pink, 2 brown). It reads nothing of patients."""

    spec: WindowSpec
    exponent: float = 1.0
    aggregates: tuple[Mapping[str, Any], ...] = ()

    def sample(self, count: int, rng: np.random.Generator) -> Draws:
        """Unit variance; classes are drawn uniformly."""
        frequency = np.arange(self.spec.samples // 2 + 1, dtype=float)
        amplitude = np.sqrt(np.where(frequency > 0, np.maximum(frequency, 1) ** -self.exponent, 0))
        factor = amplitude[:, None, None] * np.eye(self.spec.channels)
        noise = unit_energy(shaped_noise(rng, count, factor, self.spec.samples))
        return _finished(noise, self.spec), rng.integers(self.spec.classes, size=count)


@dataclass(frozen=True)
class SpectralPrior:
    """Noise with the spectrum, level, log-normal energy, marginal distribution and envelope of each class.

    Attributes:
        parts: ``(class, share, statistics)`` of each prototype; the shares sum to 1.
        aggregates: what was read.
    """

    spec: WindowSpec
    parts: tuple[tuple[int, float, SpectralStatistics], ...]
    aggregates: tuple[Mapping[str, Any], ...]

    @classmethod
    def measure(cls, windows: Windows, start: Start, rng: np.random.Generator) -> SpectralPrior:
        """Read the averages from the training persons' windows.

        With ``start.kind == "spectral"`` all classes share one average: the baseline that shows what class-conditional statistics add.
        """
        conditional = start.kind == "class-spectral"
        parts = []
        for k in range(windows.spec.classes):
            of_class = windows.labels == k
            rows = bounded(windows.person, np.flatnonzero(of_class) if conditional else np.arange(len(windows)), rng)
            values = windows.values[rows].astype(np.float64)
            for group in prototypes(values, windows.person[rows], start.prototypes, rng):
                share = float(of_class.mean()) * len(group) / len(rows)
                parts.append((k, share, SpectralStatistics.measure(values[group], start.segments)))
        read = parts if conditional else [part for part in parts if part[0] == 0]
        entry = {
            "name": f"spectrum, level, energy and marginal{', envelope' if start.segments else ''} "
            + (f"of each class in {len(read)} prototypes" if conditional else "of all classes together"),
            "numbers": sum(1 + statistics.numbers for _, _, statistics in read),
            "bound": f"at most {MAX_WINDOWS_PER_PERSON} windows per person and class",
            "epsilon": None,
            "delta": None,
        }
        return cls(windows.spec, tuple(parts), (entry,))

    def sample(self, count: int, rng: np.random.Generator) -> Draws:
        """Draws in the classes' own proportions."""
        shares = np.array([share for _, share, _ in self.parts])
        which = rng.choice(len(shares), size=count, p=shares / shares.sum())
        values = np.empty((count, *self.spec.shape))
        for i, (_, _, statistics) in enumerate(self.parts):
            rows = np.flatnonzero(which == i)
            values[rows] = statistics.sample(len(rows), self.spec.samples, rng)
        return _finished(values, self.spec), np.array([k for k, _, _ in self.parts])[which]


@dataclass(frozen=True)
class SplicedPrior:
    """Draws of another prior, a share of which change over to a second draw at a random moment.

    Recordings change state within a window; draws of one class throughout teach a student nothing of that. The label that such a draw
    was made for is that of the draw in the middle of the labelled epoch.
    """

    inner: Prior
    share: float

    @property
    def spec(self) -> WindowSpec:
        """The inner prior's."""
        return self.inner.spec

    @property
    def aggregates(self) -> Sequence[Mapping[str, Any]]:
        """The inner prior's: splicing reads nothing more."""
        return self.inner.aggregates

    def sample(self, count: int, rng: np.random.Generator) -> Draws:
        """Draws of the inner prior, spliced."""
        (first, its_class), (second, other_class) = self.inner.sample(count, rng), self.inner.sample(count, rng)
        samples = self.spec.samples
        moment = rng.uniform(0, samples, (count, 1, 1))
        spliced = rng.random((count, 1, 1)) < self.share
        slope = 4 / max(1.0, CROSSFADE * samples)
        fade = 0.5 * (1 + np.tanh(0.5 * slope * (moment - np.arange(samples))))  # 1 before the moment, 0 after it
        weight: Floats = np.where(spliced, fade, 1.0)
        middle = round((self.spec.before_s + self.spec.epoch_s / 2) * self.spec.rate_hz)
        classes = np.where(weight[:, 0, middle] > 0.5, its_class, other_class)
        return (first * weight + second * (1 - weight)).astype(np.float32), classes


def build_prior(start: Start, windows: Windows, rng: np.random.Generator) -> Prior:
    """The prior that a recipe asks for, measured where it reads statistics."""
    prior: Prior
    if start.kind in ("white", "coloured"):
        prior = NoisePrior(windows.spec, exponent=0.0 if start.kind == "white" else 1.0)
    else:
        prior = SpectralPrior.measure(windows, start, rng)
    return SplicedPrior(prior, start.splices) if start.splices else prior


def _finished(values: Floats, spec: WindowSpec) -> NDArray[np.float32]:
    return np.clip(values, -spec.clip, spec.clip).astype(np.float32)
