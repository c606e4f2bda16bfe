"""The few averages that a spectral prior is made of, and noise that follows them.

`custodian.excitation.moments` says how they are read, `custodian.excitation.aggregates` how a person's part in them is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_PERSONS_PER_PROTOTYPE = 3
"""A prototype to which fewer persons add is merged into the class's average: it would speak of a person."""

QUANTILES = np.linspace(0.005, 0.995, 41)
"""Where a marginal distribution is read; extremes, which may belong to one patient, are not."""

BANDS = 10


@dataclass(frozen=True)
class Gaussian:
    """Mean ``(d,)`` and covariance ``(d, d)`` of some vector."""

    mean: Floats
    cov: Floats

    def sample(self, count: int, rng: np.random.Generator) -> Floats:
        """``(count, d)``."""
        return rng.multivariate_normal(self.mean, self.cov, size=count, method="eigh")


@dataclass(frozen=True)
class SpectralStatistics:
    """What is known of one prototype of one class.

    Attributes:
        factor: ``(frequencies, channels, channels)`` complex: Cholesky factor of the mean cross-spectral density of windows brought to
            unit energy; it carries each channel's spectrum and how the channels move together.
        level: of the windows' means, ``(channels,)``.
        energy: of the logarithm of the windows' energy around their mean, ``(channels,)``.
        marginal: ``(channels, len(QUANTILES))``: quantiles of the values of windows brought to mean 0 and energy 1. Gaussian noise lacks
            the skew that students such as forests live on.
        envelope: of the logarithm of the energy in equal pieces of such windows, ``(channels * segments,)``; None leaves it out.
    """

    factor: NDArray[np.complex128]
    level: Gaussian
    energy: Gaussian
    marginal: Floats
    envelope: Gaussian | None

    def sample(self, count: int, samples: int, rng: np.random.Generator) -> Floats:
        """Noise ``(count, channels, samples)`` that follows the statistics."""
        unit = _with_marginal(unit_energy(shaped_noise(rng, count, self.factor, samples)), self.marginal)
        if self.envelope is not None:
            unit = unit_energy(with_envelope(unit, self.envelope.sample(count, rng)))
        energy = np.exp(self.energy.sample(count, rng) / 2)
        return unit * energy[:, :, None] + self.level.sample(count, rng)[:, :, None]


def prototypes(
    values: Floats, person: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Rows of windows ``(n, channels, samples)`` that sound alike, in at most ``count`` groups of enough persons.

    Groups are found by k-means on log energies in frequency bands and on the level. Groups of fewer than `MIN_PERSONS_PER_PROTOTYPE`
    persons are merged into one; if that one has too few itself, all are one group.
    """
    everything = np.arange(len(values))
    if count == 1 or len(values) < 2 * count:
        yield everything
        return
    from sklearn.cluster import KMeans

    group = KMeans(count, n_init=2, random_state=int(rng.integers(2**31))).fit_predict(_features(values))
    persons = [len(np.unique(person[group == g])) for g in range(count)]
    group[np.isin(group, [g for g in range(count) if persons[g] < MIN_PERSONS_PER_PROTOTYPE])] = count
    found = [everything[group == g] for g in range(count + 1)]
    found = [rows for rows in found if len(rows)]
    if any(len(np.unique(person[rows])) < MIN_PERSONS_PER_PROTOTYPE for rows in found):
        found = [everything]
    yield from found


def shaped_noise(rng: np.random.Generator, count: int, factor: NDArray[Any], samples: int) -> Floats:
    """Gaussian noise ``(count, channels, samples)`` with cross-spectral density ``factor @ factor^H``."""
    frequencies, channels, _ = factor.shape
    z = rng.standard_normal((count, frequencies, channels)) + 1j * rng.standard_normal((count, frequencies, channels))
    return np.fft.irfft(np.einsum("fcd,nfd->ncf", factor, z), n=samples, axis=-1)


def unit_energy(values: Floats) -> Floats:
    """Each channel of each draw with mean 0 and energy 1."""
    centred = values - values.mean(-1, keepdims=True)
    return np.asarray(centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12))


def log_energies(values: Floats, segments: int) -> Floats:
    """``(n, channels, segments)``: logarithm of the energy in equal pieces of the window."""
    pieces = np.array_split(values**2, segments, axis=-1)
    return np.log(np.stack([piece.mean(-1) for piece in pieces], -1) + 1e-2)


def _with_marginal(values: Floats, marginal: Floats) -> Floats:
    """Values of a standard Gaussian marginal mapped, channel by channel, to the quantiles that were read."""
    gaussian = np.array([NormalDist().inv_cdf(q) for q in QUANTILES])
    return np.stack([np.interp(values[:, c], gaussian, marginal[c]) for c in range(values.shape[1])], axis=1)


def with_envelope(values: Floats, wanted: Floats) -> Floats:
    """The draws made louder and quieter along the window, smoothly, until their pieces' log energies are `wanted`."""
    count, channels, samples = values.shape
    segments = wanted.shape[1] // channels
    target = wanted.reshape(count, channels, segments)
    gain = (target - log_energies(values, segments)) / 2
    position = np.clip((np.arange(samples) + 0.5) * segments / samples - 0.5, 0, segments - 1)
    left = np.minimum(position.astype(int), segments - 1)
    right, share = np.minimum(left + 1, segments - 1), position - left
    return np.asarray(values * np.exp(gain[..., left] * (1 - share) + gain[..., right] * share))


def _features(values: Floats) -> Floats:
    """``(n, features)``: log energies in frequency bands that widen geometrically, and the level, per channel."""
    level = values.mean(-1)
    power = np.abs(np.fft.rfft(values - level[:, :, None], axis=-1)) ** 2
    edges = np.unique(np.geomspace(1, power.shape[-1], BANDS + 1).round().astype(int))
    bands = [np.log(power[..., a:b].mean(-1) + 1e-2) for a, b in pairwise(edges)]
    return np.concatenate([np.stack(bands, -1).reshape(len(values), -1), 2 * level], axis=1)
