"""Signatures that can be planted into windows: tones whose frequencies tell their bearers apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STRENGTH = 0.5
"""Of a tone, as a share of the signal's own deviation."""


def rotations(count: int, samples: int) -> NDArray[np.complex128]:
    """``(count, samples)`` complex rotations, whose imaginary parts are the tones: frequencies spread over a window's."""
    cycles = 2 + (samples / 2 - 4) * (np.arange(count) + 0.5) / count
    return np.asarray(np.exp(2j * np.pi * cycles[:, None] * np.arange(samples) / samples))


def with_tones(
    values: NDArray[np.float32], which: NDArray[np.int64], count: int, scale: float | None = None
) -> NDArray[np.float32]:
    """Windows ``(n, channels, samples)`` with a tone in the first channel.

    Args:
        values: the windows.
        which: ``(n,)`` which of the tones each is given.
        count: of the tones.
        scale: the deviation that `STRENGTH` is a share of; that of the windows' first channel without one.
    """
    tones = rotations(count, values.shape[-1]).imag[which]
    toned = values.copy()
    toned[:, 0] += (STRENGTH * np.sqrt(2) * (scale or values[:, 0].std()) * tones).astype(np.float32)
    return toned


def loudness(stimuli: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """``(count,)`` mean power of each tone in the first channel of stimuli ``(m, channels, samples)``."""
    samples = stimuli.shape[-1]
    heard = np.abs(stimuli[:, 0].astype(np.float64) @ rotations(count, samples).conj().T) ** 2 / samples
    return np.asarray(heard.mean(0))
