"""The prior of the shipped recipe: each class's descriptions of windows as one normal distribution, and noise made after draws from it.

A class's average spectrum says what its windows are like on average; students unlike the teacher, trees above all, live on how they
differ: which bands are strong together, and when. So mean and covariance of a whole description (`custodian.excitation.description`) are
read, and each draw has a description of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.aggregates import Reader, positive
from custodian.excitation.description import Description
from custodian.excitation.recipe import Start
from custodian.excitation.sections import Privacy
from custodian.excitation.statistics import Floats, Gaussian
from stimset.windows import Windows, WindowSpec

PRIOR = "prior"
SPREAD = 1.5
"""How far descriptions usually lie from those of falling noise, in logarithms: brings them to about 1."""

FURTHEST = 4.0
"""So many of these at most: what lies further, and may belong to one patient, counts as this far."""

ROOM, COARSE_ROOM = 0.2, 0.6
"""Norm of a window's first moments if all of it lay at `SPREAD`. Without noise nobody needs to be scaled down; with noise, numbers that are
small beside it say nothing."""


@dataclass(frozen=True)
class JointPrior:
    """Noise whose description is drawn from the class's normal distribution.

    Attributes:
        spec: of the windows.
        description: which numbers.
        parts: ``(class, share, distribution, coherence)``; the shares sum to 1.
        aggregates: what was read.
    """

    spec: WindowSpec
    description: Description
    parts: tuple[tuple[int, float, Gaussian, NDArray[np.complex128]], ...]
    aggregates: tuple[Mapping[str, Any], ...]

    @classmethod
    def measure(cls, windows: Windows, start: Start, reader: Reader | None = None) -> JointPrior:
        """Read means and covariances from the training persons' windows: mean features over persons, bounded, with the recipe's noise."""
        reader = reader or Reader(Privacy())
        spec, noisy = windows.spec, reader.privacy.noisy
        moments = JointMoments(Description(spec, start.segments, coarse=noisy))
        means = reader.read(
            PRIOR, windows.person, windows.labels, spec.classes, lambda rows: moments.features(windows.values[rows]),
            words="mean and covariance of level, energy, power in bands and envelope of each class, share of each",
        )  # fmt: skip
        parts = tuple((k, float(means.share[k]), *moments.distribution(means.mean[k])) for k in range(spec.classes))
        return cls(spec, moments.description, parts, tuple(reader.aggregates))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draws in the classes' own proportions, and the class of each."""
        shares = np.array([share for _, share, _, _ in self.parts])
        which = rng.choice(len(shares), size=count, p=shares / shares.sum())
        values = np.empty((count, *self.spec.shape))
        for i, (_, _, distribution, coherence) in enumerate(self.parts):
            rows = np.flatnonzero(which == i)
            if not len(rows):  # of a rare class, or one that noise left nothing of
                continue
            wanted = distribution.sample(len(rows), rng).reshape(len(rows), self.spec.channels, -1)
            values[rows] = self.description.realise(wanted, coherence, rng)
        clipped = np.clip(values, -self.spec.clip, self.spec.clip).astype(np.float32)
        return clipped, np.array([k for k, _, _, _ in self.parts])[which]


@dataclass(frozen=True)
class JointMoments:
    """First and second moments of descriptions as features with a norm of about 1, and back."""

    description: Description

    @property
    def _size(self) -> int:
        return self.description.spec.channels * self.description.numbers

    @property
    def _scale(self) -> float:
        return float((COARSE_ROOM if self.description.coarse else ROOM) / self._size**0.5)

    def features(self, values: NDArray[np.float32]) -> Floats:
        """``(n, d)`` of windows ``(n, channels, samples)``."""
        described = self._standard(self.description.of(values)) * self._scale
        first, second = np.tril_indices(self._size)
        # In a symmetric matrix what is off the diagonal stands twice.
        products = described[:, first] * described[:, second] * np.where(first == second, 1.0, 2**0.5)
        parts = [described, products]
        if self.description.spec.channels > 1:
            together = self.description.together(values).reshape(len(values), -1) * ROOM
            parts += [together.real, together.imag]
        return np.concatenate(parts, axis=1)

    def distribution(self, mean: Floats) -> tuple[Gaussian, NDArray[np.complex128]]:
        """The normal distribution of descriptions, and the factors of coherence, that a mean of such features says."""
        size, channels, bands = self._size, self.description.spec.channels, self.description.bands
        flat, products, rest = np.split(mean, [size, size + size * (size + 1) // 2])
        centre = np.clip(flat / self._scale, -FURTHEST, FURTHEST)
        first, second = np.tril_indices(size)
        square = np.zeros((size, size))
        square[first, second] = square[second, first] = products / np.where(first == second, 1.0, 2**0.5) / self._scale**2
        cov = positive(square - np.outer(centre, centre), least=1e-6, most=size * FURTHEST)
        together = np.tile(np.eye(channels, dtype=np.complex128), (bands, 1, 1))
        if channels > 1:
            together.real, together.imag = rest.reshape(2, bands, channels, channels) / ROOM
        usual = np.tile(self.description.usual, channels)
        return Gaussian(centre * SPREAD + usual, cov * SPREAD**2), self.description.coherence(together)

    def _standard(self, described: Floats) -> Floats:
        """``(n, channels * numbers)``: how far from falling noise, held within bounds."""
        away = (described - self.description.usual) / SPREAD
        return np.clip(away, -FURTHEST, FURTHEST).reshape(len(described), -1)
