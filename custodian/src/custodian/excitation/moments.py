"""Every statistic of a spectral prior as means of features of windows, and back.

Features are taken as differences from what noise without any patient would show (a falling spectrum, a Gaussian marginal), and scaled so
that a window's have a norm of about 1: what everybody knows needs no room within the bound, and no kind of feature drowns in noise that
hides the others. Under noise spectra, marginals and envelopes are read more coarsely: fewer numbers, less noise in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.aggregates import positive
from custodian.excitation.statistics import QUANTILES, Floats, Gaussian, SpectralStatistics, log_energies
from stimset.windows import WindowSpec

REACH = 4.5
"""Marginal distributions are read between -REACH and REACH; what lies beyond counts at the ends."""

FINE_BINS, COARSE_BINS, COARSE_BANDS = 120, 15, 12
DENSITY_SCALE, MARGINAL_SCALE = 1.5, 3.0
VECTOR_SCALE, SQUARE_SCALE = 0.5, 0.15
ENVELOPE_CENTRE = -0.5
"""Mean log energy of a piece of a window whose energy is 1."""

MOST_LOG_MEAN, MOST_LOG_VARIANCE = 3.0, 4.0
"""Under noise: windows are normalised, so that the logarithms of their energies lie about 0, with a spread of at most 2."""


@dataclass(frozen=True)
class Moments:
    """The features of windows of one spec.

    Attributes:
        spec: of the windows.
        segments: pieces of the envelope; 0 leaves it out.
        coarse: read little, for the sake of noise.
    """

    spec: WindowSpec
    segments: int
    coarse: bool

    def features(self, values: NDArray[np.float32]) -> Floats:
        """``(n, d)`` of windows ``(n, channels, samples)``."""
        exact = values.astype(np.float64)
        level = exact.mean(-1)
        rest = exact - level[:, :, None]
        energy = np.log(rest.var(-1) + 1e-6)
        unit = rest / np.exp(energy / 2)[:, :, None]
        parts = [self._density(unit), self._marginal(unit), _moments(level), _moments(energy)]
        if self.segments:
            pieces = log_energies(unit, self.segments) - ENVELOPE_CENTRE
            parts.append(_lagged(pieces) if self.coarse else _moments(pieces.reshape(len(unit), -1)))
        return np.concatenate(parts, axis=1)

    def statistics(self, mean: Floats) -> SpectralStatistics:
        """What a mean ``(d,)`` of such features says; noise may have taken it anywhere."""
        channels, segments = self.spec.channels, self.segments
        pieces = channels * segments
        envelope = channels * (1 + segments) if self.coarse else _count(pieces)
        sizes = [
            len(self._edges) * channels**2,
            channels * self._bins,
            _count(channels),
            _count(channels),
            envelope if segments else 0,
        ]
        density, marginal, level, energy, pieces_flat = np.split(mean, np.cumsum(sizes)[:-1])
        spread = (MOST_LOG_MEAN, MOST_LOG_VARIANCE) if self.coarse else (np.inf, np.inf)
        wanted = None
        if segments:
            flat = _unlagged(pieces_flat, channels, segments) if self.coarse else pieces_flat
            wanted = _gaussian(flat, pieces, *spread, centre=ENVELOPE_CENTRE)
        return SpectralStatistics(
            self._factor(density), _gaussian(level, channels, self.spec.clip, self.spec.clip**2), _gaussian(energy, channels, *spread),
            self._quantiles(marginal), wanted,
        )  # fmt: skip

    @property
    def _edges(self) -> NDArray[np.int64]:
        """Where bands of frequencies begin; frequency 0, the level, is in none."""
        frequencies = self.spec.samples // 2 + 1
        if not self.coarse:
            return np.arange(1, frequencies)
        return np.unique(np.geomspace(1, frequencies, COARSE_BANDS + 1).round().astype(np.int64))[:-1]

    @property
    def _falling(self) -> Floats:
        """Each band's share of the energy of noise whose power falls as 1 / frequency."""
        power = 1 / np.arange(1, self.spec.samples // 2 + 1)
        return np.asarray(np.add.reduceat(power, self._edges - 1) / power.sum())

    @property
    def _gaussian_shares(self) -> Floats:
        """Each bin's share of a Gaussian's samples."""
        inner = [NormalDist().cdf(edge) for edge in np.linspace(-REACH, REACH, self._bins + 1)[1:-1]]
        return np.diff([0.0, *inner, 1.0])

    @property
    def _bins(self) -> int:
        return COARSE_BINS if self.coarse else FINE_BINS

    def _density(self, unit: Floats) -> Floats:
        """Each band's share of the energy, and how the channels move together in it: ``(n, bands * channels ** 2)``."""
        spectrum = np.fft.rfft(unit, axis=-1) * (DENSITY_SCALE**0.5 * 2**0.5 / self.spec.samples)
        cross = np.einsum("ncf,ndf->nfcd", spectrum, spectrum.conj())
        bands = np.add.reduceat(cross, self._edges, axis=1)
        first, second = np.tril_indices(self.spec.channels, -1)
        diagonal = np.einsum("nbcc->nbc", bands).real - DENSITY_SCALE * self._falling[:, None]
        between = bands[:, :, first, second] * 2**0.5  # as long as in the whole matrix, where each stands twice
        return np.concatenate([diagonal, between.real, between.imag], axis=-1).reshape(len(unit), -1)

    def _factor(self, flat: Floats) -> NDArray[np.complex128]:
        """Cholesky factors ``(frequencies, channels, channels)`` of the density, evened out within each band."""
        channels, edges, frequencies = self.spec.channels, self._edges, self.spec.samples // 2 + 1
        numbers = flat.reshape(len(edges), channels**2) / DENSITY_SCALE
        numbers[:, :channels] += self._falling[:, None]
        pairs = channels * (channels - 1) // 2
        first, second = np.tril_indices(channels, -1)
        bands = np.zeros((len(edges), channels, channels), dtype=np.complex128)
        bands[:, first, second] = (
            numbers[:, channels : channels + pairs] + 1j * numbers[:, channels + pairs :]
        ) / 2**0.5
        bands += np.conj(np.swapaxes(bands, 1, 2))
        bands[:, np.arange(channels), np.arange(channels)] = numbers[:, :channels]
        widths = np.diff(np.append(edges, frequencies))
        density = np.zeros((frequencies, channels, channels), dtype=np.complex128)
        density[1:] = np.repeat(positive(bands) / widths[:, None, None], widths, axis=0)
        # A little white noise keeps the factor defined where channels repeat each other or all was noise; it is far below any signal.
        floor = max(1e-6 * float(np.trace(density, axis1=1, axis2=2).real.mean()), 1e-12)
        return np.asarray(np.linalg.cholesky(density + floor * np.eye(channels)), dtype=np.complex128)

    def _marginal(self, unit: Floats) -> Floats:
        """Shares of the samples in each bin of values: ``(n, channels * bins)``."""
        count, channels, samples = unit.shape
        place = np.clip(((unit + REACH) * self._bins / (2 * REACH)).astype(np.int64), 0, self._bins - 1)
        place += np.arange(count * channels).reshape(count, channels, 1) * self._bins
        counted = np.bincount(place.ravel(), minlength=count * channels * self._bins)
        shares = counted.reshape(count, channels, self._bins) / samples - self._gaussian_shares
        return np.asarray(MARGINAL_SCALE * shares.reshape(count, -1))

    def _quantiles(self, flat: Floats) -> Floats:
        """``(channels, len(QUANTILES))`` from the shares."""
        shares = flat.reshape(self.spec.channels, self._bins) / MARGINAL_SCALE + self._gaussian_shares
        shares = np.maximum(shares, 0) + 1e-9  # so that the distribution rises everywhere
        reached = np.cumsum(shares, axis=1) / shares.sum(1, keepdims=True)
        edges = np.linspace(-REACH, REACH, self._bins + 1)
        return np.stack([np.interp(QUANTILES, np.append(0, row), edges) for row in reached])


def _moments(rows: Floats) -> Floats:
    """Vectors ``(n, d)`` and their products ``(n, d * (d + 1) / 2)``, scaled."""
    first, second = np.tril_indices(rows.shape[1])
    return np.concatenate([rows * VECTOR_SCALE, rows[:, first] * rows[:, second] * SQUARE_SCALE], axis=1)


def _count(size: int) -> int:
    """Numbers in `_moments` of vectors of this size."""
    return size + size * (size + 1) // 2


def _lagged(pieces: Floats) -> Floats:
    """``(n, channels * (1 + segments))``: means of ``(n, channels, segments)`` and of products at each lag: as if no piece were special.

    They are projections of `_moments` onto unit vectors, so they are no longer than these.
    """
    count, _, segments = pieces.shape
    mean = pieces.mean(-1, keepdims=True) * (segments**0.5 * VECTOR_SCALE)
    lags = [
        (pieces[..., : segments - lag] * pieces[..., lag:]).mean(-1) * ((segments - lag) ** 0.5 * SQUARE_SCALE)
        for lag in range(segments)
    ]
    return np.concatenate([mean, np.stack(lags, -1)], axis=-1).reshape(count, -1)


def _unlagged(flat: Floats, channels: int, segments: int) -> Floats:
    """What `_moments` would be if each piece had the same mean, and channels were independent of each other."""
    numbers = flat.reshape(channels, 1 + segments)
    means = np.repeat(numbers[:, 0] / segments**0.5, segments)
    products = np.outer(means, means) * (SQUARE_SCALE / VECTOR_SCALE**2)
    lag = np.abs(np.subtract.outer(np.arange(segments), np.arange(segments)))
    for c in range(channels):
        own = slice(c * segments, (c + 1) * segments)
        products[own, own] = (numbers[c, 1:] / (segments - np.arange(segments)) ** 0.5)[lag]
    return np.concatenate([means, products[np.tril_indices(channels * segments)]])


def _gaussian(flat: Floats, size: int, most_mean: float, most_variance: float, *, centre: float = 0.0) -> Gaussian:
    """From the mean of `_moments`, held within bounds that noise may have left."""
    mean = np.clip(flat[:size] / VECTOR_SCALE, -most_mean, most_mean)
    first, second = np.tril_indices(size)
    products = np.zeros((size, size))
    products[first, second] = products[second, first] = flat[size:] / SQUARE_SCALE
    return Gaussian(mean + centre, positive(products - np.outer(mean, mean), most=most_variance))
