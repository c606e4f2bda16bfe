"""The sets whose nature is known, on which every attack is tried before it is believed.

Windows of patients must be caught, as they are and under a tenth of noise; noise that never saw a patient must pass. Patients may be
alike, though, and then nobody can point at one; so that this is not mistaken for a blind attack, each patient is given a tone of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custodian.excitation.priors import NoisePrior
from stimset.windows import Windows, WindowSpec

RAW, NOISED, NOISE = "raw windows", "windows with 10 % noise", "noise"
NOISE_SHARE = 0.1

Values = NDArray[np.float32]


def noised(values: Values, rng: np.random.Generator, *, share: float = NOISE_SHARE) -> Values:
    """Windows ``(n, channels, samples)`` with white noise of `share` of each channel's standard deviation over all of them."""
    scale = values.std(axis=(0, 2), keepdims=True)
    added: Values = (share * scale * rng.standard_normal(values.shape)).astype(np.float32)
    return values + added


def noise(spec: WindowSpec, count: int, rng: np.random.Generator) -> Values:
    """Pink noise ``(count, channels, samples)`` that reads nothing of patients: the recipe ``noise``."""
    return NoisePrior(spec).sample(count, rng)[0]


def surrogates(values: Values, rng: np.random.Generator) -> Values:
    """Noise that sounds like each of some windows ``(n, channels, samples)``: their spectra at random phases, the same for all channels.

    Pink noise lies so far from any recording that an attacker trained on few patients may be sure of anything about it; of noise that
    sounds like strangers nobody has a reason to be surer than of the strangers (surrogate data: Theiler et al., Physica D 58, 1992).
    """
    mean = values.mean(-1, keepdims=True)
    spectrum = np.fft.rfft(values - mean, axis=-1)
    turned = spectrum * np.exp(2j * np.pi * rng.random((len(values), 1, spectrum.shape[-1])))
    return np.asarray(mean + np.fft.irfft(turned, n=values.shape[-1], axis=-1), dtype=np.float32)


def sample(count: int, at_most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Ascending rows out of `count`, all of them or `at_most` by chance."""
    return np.arange(count) if count <= at_most else np.sort(rng.choice(count, at_most, replace=False))


def sample_by_person(
    windows: Windows,
    per_person: int,
    rng: np.random.Generator,
    *,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Ascending rows of `windows` (of `rows`, if given): at most `per_person` of each person, by chance."""
    among = np.arange(len(windows)) if rows is None else np.asarray(rows)
    owners = windows.person[among]
    mine = [np.flatnonzero(owners == p) for p in np.unique(owners)]
    return np.sort(np.concatenate([among[m[sample(len(m), per_person, rng)]] for m in mine]))
