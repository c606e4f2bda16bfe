"""Draws that owe nothing to any patient: what teachers are asked about where each answer costs privacy.

They cover what a normalised signal can look like, broadly: noise of any colour, rhythms of any frequency, loud and quiet, level and skewed,
changing over within the window. What is known of the field's signals in public belongs here; what is known of the cohort does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stimset.windows import WindowSpec

EXPONENTS = (0.0, 3.0)
CROSSFADE = 0.05


def public_draws(spec: WindowSpec, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """``(count, channels, samples)`` within the spec's clip.

    Each draw is coloured noise (power falling as ``frequency ** -u``, u uniform in `EXPONENTS`) and a narrow-band rhythm in a random
    proportion, on a random level, with log-normal energy; half of the draws change over to a second one at a random moment.
    """
    first, second = (_states(spec, count, rng) for _ in range(2))
    moment = rng.uniform(0, spec.samples, (count, 1, 1))
    slope = 4 / max(1.0, CROSSFADE * spec.samples)
    stays = 0.5 * (1 + np.tanh(slope * (moment - np.arange(spec.samples)) / 2))
    weight = np.where(rng.random((count, 1, 1)) < 0.5, stays, 1.0)
    return np.asarray(np.clip(first * weight + second * (1 - weight), -spec.clip, spec.clip), np.float32)


def _states(spec: WindowSpec, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Stationary draws."""
    shape = (count, spec.channels, 1)
    cycles = np.arange(spec.samples // 2 + 1, dtype=float)
    colour = np.maximum(cycles, 1) ** (-rng.uniform(*EXPONENTS, shape) / 2) * (cycles > 0)
    centre = np.exp(rng.uniform(0, np.log(max(2.0, spec.samples / 4)), shape))
    rhythm = np.exp(-0.5 * ((cycles - centre) / (0.5 + rng.uniform(0, 0.3, shape) * centre)) ** 2)
    share = rng.beta(0.5, 0.5, shape)
    values = np.sqrt(share) * _noise(rhythm, spec.samples, rng) + np.sqrt(1 - share) * _noise(colour, spec.samples, rng)
    skew = rng.uniform(-0.4, 0.4, shape)
    loudness = np.exp(rng.normal(-0.2, 0.6, shape))
    return np.asarray(loudness * (values + skew * (values**2 - 1)) + rng.normal(0, 0.4, shape))


def _noise(amplitude: NDArray[np.float64], samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Gaussian noise of these amplitudes ``(count, channels, frequencies)``, each row brought to mean 0 and energy 1."""
    phases = rng.standard_normal((*amplitude.shape, 2)) @ np.array([1, 1j])
    values = np.fft.irfft(amplitude * phases, n=samples, axis=-1)
    values -= values.mean(-1, keepdims=True)
    return np.asarray(values / np.sqrt(values.var(-1, keepdims=True) + 1e-12))
