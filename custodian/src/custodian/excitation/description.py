"""A window as a few numbers that say how it sounds, and windows made to have given numbers.

Level, logarithm of the energy, log power in bands of frequency, log energy in pieces of the window, for each channel; and how alike the
channels move in each band. Windows that have them are found as surrogate data are (T. Schreiber, A. Schmitz, "Improved surrogate data for
nonlinearity tests", Physical Review Letters 77, 1996): by turns, noise is given the wanted power in each band and the wanted energy in each
piece. Phases stay random, so nothing of a window comes back but these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.aggregates import positive
from custodian.excitation.statistics import Floats, log_energies, shaped_noise, unit_energy, with_envelope
from stimset.windows import WindowSpec

TURNS = 6
SINGLE, WIDE = 10, 10
COARSE_SINGLE, COARSE_WIDE, COARSE_SEGMENTS = 3, 5, 3
POWER_FLOOR = 1e-3
"""Under the logarithm of power; noise of energy 1 has a power of 1 in every band."""


@dataclass(frozen=True)
class Description:
    """Which numbers describe windows of one spec.

    Attributes:
        spec: of the windows.
        segments: pieces of the window whose energies are described; 0 leaves them out.
        coarse: fewer numbers, for the sake of noise that is added to their averages.
    """

    spec: WindowSpec
    segments: int
    coarse: bool = False

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Where bands begin, in cycles per window, and where the last one ends: single frequencies first, then geometrically wider."""
        single, wide = (COARSE_SINGLE, COARSE_WIDE) if self.coarse else (SINGLE, WIDE)
        end = self.spec.samples // 2 + 1
        single = min(single, end - 1)
        wider = np.geomspace(single + 1, end, wide + 1).round().astype(np.int64)
        return np.unique(np.concatenate([np.arange(1, single + 2), wider, [end]]))

    @property
    def pieces(self) -> int:
        """Pieces whose energies are described."""
        return min(self.segments, COARSE_SEGMENTS) if self.coarse else self.segments

    @property
    def numbers(self) -> int:
        """Of each channel."""
        return 2 + self.bands + self.pieces

    @property
    def bands(self) -> int:
        """How many."""
        return len(self.edges) - 1

    @cached_property
    def usual(self) -> Floats:
        """``(numbers,)``: of noise whose power falls as 1 / frequency, which nobody's windows are needed to know."""
        power = 1 / np.arange(1, self.spec.samples // 2 + 1)
        power *= len(power) / power.sum()
        starts = self.edges[:-1] - 1
        mean = np.add.reduceat(power, starts) / np.diff(self.edges)
        return np.concatenate([[0.0, 0.0], np.log(mean + POWER_FLOOR), np.full(self.pieces, -0.5)])

    def of(self, values: NDArray[np.float32]) -> Floats:
        """``(n, channels, numbers)`` of windows ``(n, channels, samples)``: level, log energy, log power in bands, log energy in pieces."""
        level, energy, unit = _apart(values)
        power = np.square(np.abs(np.fft.rfft(unit, axis=-1))) / self.spec.samples
        bands = np.add.reduceat(power, self.edges[:-1], axis=-1) / np.diff(self.edges)
        parts = [level[..., None], energy[..., None], np.log(bands + POWER_FLOOR)]
        if self.pieces:
            parts.append(log_energies(unit, self.pieces))
        return np.concatenate(parts, axis=-1)

    def together(self, values: NDArray[np.float32]) -> NDArray[np.complex128]:
        """``(n, bands, channels, channels)``: each band's share of the energy, and how the channels move together in it."""
        spectrum = np.fft.rfft(_apart(values)[2], axis=-1) * (2**0.5 / self.spec.samples)
        cross = np.einsum("ncf,ndf->nfcd", spectrum, spectrum.conj())
        return np.asarray(np.add.reduceat(cross, self.edges[:-1], axis=1))

    def coherence(self, together: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Cholesky factors ``(frequencies, channels, channels)`` of a mean of `together`, wherever noise has taken it, at power 1."""
        channels = self.spec.channels
        cross = positive(together, least=1e-6)
        power = np.sqrt(np.einsum("bcc->bc", cross).real)
        alike = cross / (power[:, :, None] * power[:, None, :])
        whole = np.tile(np.eye(channels, dtype=np.complex128), (self.spec.samples // 2 + 1, 1, 1))
        # A little noise of its own keeps each channel's factor defined where channels repeat each other.
        whole[self.edges[0] :] = np.repeat(0.999 * alike + 0.001 * np.eye(channels), np.diff(self.edges), axis=0)
        return np.asarray(np.linalg.cholesky(whole))

    def realise(self, wanted: Floats, coherence: NDArray[np.complex128], rng: np.random.Generator) -> Floats:
        """Windows ``(n, channels, samples)`` that have, nearly, the numbers ``wanted`` ``(n, channels, numbers)``."""
        bands = np.exp(wanted[..., 2 : 2 + self.bands])
        pieces = wanted[..., 2 + self.bands :].reshape(len(wanted), -1)
        values = self._with_power(shaped_noise(rng, len(wanted), coherence, self.spec.samples), bands)
        for _ in range(TURNS if self.pieces else 0):
            values = self._with_power(with_envelope(unit_energy(values), pieces), bands)
        if self.pieces:
            values = with_envelope(unit_energy(values), pieces)
        return unit_energy(values) * np.exp(wanted[..., 1:2] / 2) + wanted[..., :1]

    def _with_power(self, values: Floats, bands: Floats) -> Floats:
        """The same noise with the mean power in each band that is wanted; phases stay."""
        spectrum = np.fft.rfft(values, axis=-1)
        widths = np.diff(self.edges)
        power = np.add.reduceat(np.square(np.abs(spectrum)), self.edges[:-1], axis=-1) / widths / self.spec.samples
        gain = np.sqrt(bands / np.maximum(power, 1e-12))
        spectrum[..., : self.edges[0]] = 0
        spectrum[..., self.edges[0] :] *= np.repeat(gain, widths, axis=-1)
        return np.fft.irfft(spectrum, n=self.spec.samples, axis=-1)


def _apart(values: NDArray[np.float32]) -> tuple[Floats, Floats, Floats]:
    """Level and log energy ``(n, channels)``, and what is left: ``(n, channels, samples)`` with mean 0 and energy 1."""
    exact = values.astype(np.float64)
    level = exact.mean(-1)
    rest = exact - level[..., None]
    energy = np.log(rest.var(-1) + 1e-4)
    return level, energy, np.asarray(rest / np.exp(energy / 2)[..., None])
