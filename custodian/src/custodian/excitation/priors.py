"""What a stimulus starts from. Never a patient's window: random numbers, shaped by a few averages over many patients at the most.

Each prior says which statistics of patients it reads (`Prior.aggregates`); they stand in the signed provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.aggregates import SHARE_SCALE, Reader, proportions
from custodian.excitation.joint import PRIOR, JointPrior
from custodian.excitation.moments import Moments
from custodian.excitation.recipe import Start
from custodian.excitation.sections import Privacy
from custodian.excitation.statistics import Floats, SpectralStatistics, prototypes, shaped_noise, unit_energy
from stimset.errors import ConfigError
from stimset.windows import Windows, WindowSpec

Draws = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Name of what a prior reads, among a reader's `kept`."""

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
    def measure(
        cls, windows: Windows, start: Start, rng: np.random.Generator, reader: Reader | None = None
    ) -> SpectralPrior:
        """Read the averages from the training persons' windows.

        With ``start.kind == "spectral"`` all classes share one average: the baseline that shows what class-conditional statistics add.

        Raises:
            ConfigError: noise is asked for together with prototypes, whose clusters are found without any.
        """
        reader = reader or Reader(Privacy())
        noisy, classes = reader.privacy.noisy, windows.spec.classes
        if noisy and start.prototypes > 1:
            raise ConfigError("[privacy] epsilon goes with prototypes = 1 only: clusters are found without noise")
        moments = Moments(windows.spec, start.segments, coarse=noisy)
        words = f"spectrum, level, energy and marginal{', envelope' if start.segments else ''} "
        if start.kind == "spectral":
            one_hot = SHARE_SCALE * np.eye(classes)
            means = reader.read(
                PRIOR, windows.person, np.zeros(len(windows), np.int64), 1,
                lambda rows: np.column_stack([one_hot[windows.labels[rows]], moments.features(windows.values[rows])]),
                words=f"{words}of all classes together, share of each",
            )  # fmt: skip
            shares, shared = proportions(means.mean[0, :classes]), moments.statistics(means.mean[0, classes:])
            parts = [(k, float(shares[k]), shared) for k in range(classes)]
        else:
            group, owner = prototypes_of_classes(windows, start.prototypes, rng)
            means = reader.read(
                PRIOR, windows.person, group, len(owner), lambda rows: moments.features(windows.values[rows]),
                words=f"{words}of each class in {len(owner)} prototypes, share of each",
            )  # fmt: skip
            parts = [(k, float(means.share[g]), moments.statistics(means.mean[g])) for g, k in enumerate(owner)]
        return cls(windows.spec, tuple(parts), tuple(reader.aggregates))

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


def build_prior(start: Start, windows: Windows, rng: np.random.Generator, reader: Reader | None = None) -> Prior:
    """The prior that a recipe asks for, measured by `reader` where it reads statistics; without one they have no noise."""
    prior: Prior
    if start.kind in ("white", "coloured"):
        prior = NoisePrior(windows.spec, exponent=0.0 if start.kind == "white" else 1.0)
    elif start.kind == "class-joint":
        prior = JointPrior.measure(windows, start, reader)
    else:
        prior = SpectralPrior.measure(windows, start, rng, reader)
    return SplicedPrior(prior, start.splices) if start.splices else prior


def prototypes_of_classes(
    windows: Windows, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[int]]:
    """The prototype that each window belongs to ``(n,)``, and the class of each prototype."""
    owner: list[int] = []
    group = np.zeros(len(windows), np.int64)
    for k in range(windows.spec.classes):
        rows = np.flatnonzero(windows.labels == k)
        for members in prototypes(windows.values[rows].astype(np.float64), windows.person[rows], count, rng):
            group[rows[members]] = len(owner)
            owner.append(k)
    return group, owner


def _finished(values: Floats, spec: WindowSpec) -> NDArray[np.float32]:
    return np.clip(values, -spec.clip, spec.clip).astype(np.float32)
