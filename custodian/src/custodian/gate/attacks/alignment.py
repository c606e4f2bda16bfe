"""How alike two windows are under any shift in time and any gain: the largest normalised cross-correlation, many pairs at once.

Windows are first whitened by the cohort's average spectrum, since what all recordings share (slow drift, the breath's band) would make any
two of them alike; whitening is the matched filter for a copy in such a background (Turin, IRE Trans. Inf. Theory 6, 1960). All channels
shift together. The shift is circular: it finds rolled copies exactly, and parts of a longer recording to the share that overlaps.

The cross-correlation of unit vectors a, b at any shift is at most ``sum_f |A_f| |B_f| / n``, which is one matrix product for all pairs;
only the windows with the largest bounds are correlated in full. A copy's bound is 1, so no copy is missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stimset.errors import DataInvalid

FLOOR = 0.1
"""Of the mean power, added before whitening: bands in which recordings hold nothing are not blown up to noise."""
CANDIDATES = 6
CHUNK_NUMBERS = 8_000_000

Values = NDArray[np.float32]
Spectra = NDArray[np.complex64]


@dataclass(frozen=True)
class Whitening:
    """A filter per channel, and the aligned comparison behind it.

    Attributes:
        gain: ``(channels, samples // 2 + 1)`` by which each frequency is multiplied.
        samples: of a window.
    """

    gain: NDArray[np.float32]
    samples: int

    @classmethod
    def of(cls, windows: Values) -> Whitening:
        """Measured on windows ``(n, channels, samples)``.

        Raises:
            DataInvalid: there is none, or they hold nothing but constants.
        """
        if not len(windows):
            raise DataInvalid("whitening needs at least one window")
        power = np.square(np.abs(_transformed(windows))).mean(0)
        level = power[:, 1:].mean(axis=1, keepdims=True)
        if not (np.isfinite(level).all() and level.any()):
            raise DataInvalid("windows that are constant or not finite can't be compared")
        floor = np.where(level > 0, FLOOR * level, 1.0)
        return cls((1 / np.sqrt(power + floor)).astype(np.float32), windows.shape[-1])

    def spectra(self, windows: Values) -> Spectra:
        """Whitened spectra ``(n, channels, frequencies)``, scaled so that each window's energy is 1 (constant windows become 0).

        Raises:
            DataInvalid: a value is not finite.
        """
        if not np.isfinite(windows).all():
            raise DataInvalid("windows with values that are not finite can't be compared")
        spectra = _transformed(windows) * self.gain
        energy = (np.square(np.abs(spectra)) * self._times()).sum(axis=(1, 2), keepdims=True) / self.samples
        scaled: Spectra = (spectra / np.sqrt(np.maximum(energy, 1e-12))).astype(np.complex64)
        return scaled

    def nearest(self, queries: Spectra, bank: Spectra, *, candidates: int = CANDIDATES) -> NDArray[np.float32]:
        """The likeness ``(queries,)`` of each query to the window of the bank that is most like it, at most 1.

        Args:
            queries, bank: as `spectra` makes them.
            candidates: how many windows of the bank are correlated in full for each query.
        """
        best = np.zeros(len(queries), np.float32)
        rows = max(1, CHUNK_NUMBERS // max(len(bank), candidates * queries[0].size if len(queries) else 1))
        weight = np.sqrt(self._times() / self.samples).astype(np.float32)
        sizes = (np.abs(bank) * weight).reshape(len(bank), -1)
        kept = min(candidates, len(bank))
        for first in range(0, len(queries), rows):
            part = queries[first : first + rows]
            bounds = (np.abs(part) * weight).reshape(len(part), -1) @ sizes.T
            chosen = np.argpartition(-bounds, kept - 1, axis=1)[:, :kept]
            cross = np.einsum("qcf,qkcf->qkf", part, bank[chosen].conj())
            best[first : first + rows] = np.fft.irfft(cross, self.samples, axis=-1).max(axis=(1, 2))
        return np.clip(best, 0.0, 1.0)

    def _times(self) -> NDArray[np.float32]:
        """How many frequencies of the full transform each of the half's stands for."""
        times = np.full(self.samples // 2 + 1, 2.0, np.float32)
        times[0] = 1.0
        if self.samples % 2 == 0:
            times[-1] = 1.0
        return times


def _transformed(windows: Values) -> Spectra:
    centred = windows - windows.mean(axis=-1, keepdims=True)
    spectra: Spectra = np.fft.rfft(centred, axis=-1).astype(np.complex64)
    return spectra
