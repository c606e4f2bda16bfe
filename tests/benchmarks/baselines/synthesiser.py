"""A tabular synthesiser, the library under SDV, on spectral features from which windows can be made again.

A window becomes its level, the logarithm of its deviation, and the cosine coefficients (DCT-II) of what is left; a row of the table holds
these for every channel. The synthesiser draws rows of each class, and rows become windows. Labels are hard: it knows of no belief.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from baselines.environments import Environment
from numpy.typing import NDArray
from scipy.fft import dct, idct

from stimset.learning.training import soft_targets
from stimset.release import StimulusArrays
from stimset.windows import Windows

SCRIPT = "copula_side.py"
LEAST_DEVIATION = 1e-3
TIMEOUT_SECONDS = 1200.0

Floats = NDArray[np.float64]


def columns_of(values: NDArray[np.float32]) -> Floats:
    """``(n, channels * (samples + 1))`` spectral features of windows ``(n, channels, samples)``: levels, log deviations, coefficients."""
    x = values.astype(np.float64)
    level = x.mean(-1, keepdims=True)
    spread = np.maximum(x.std(-1, keepdims=True), LEAST_DEVIATION)
    coefficients = dct((x - level) / spread, norm="ortho", axis=-1)[..., 1:]  # the first is the level
    return np.concatenate([part.reshape(len(x), -1) for part in (level, np.log(spread), coefficients)], axis=1)


def windows_of(columns: Floats, channels: int, samples: int, clip: float) -> NDArray[np.float32]:
    """The inverse of `columns_of`, held within ``[-clip, clip]`` as windows are."""
    level, spread, coefficients = np.split(columns, [channels, 2 * channels], axis=1)
    shape = np.concatenate([np.zeros((len(columns), channels, 1)), coefficients.reshape(len(columns), channels, samples - 1)], axis=2)
    unit = idct(shape, norm="ortho", axis=-1)
    # Drawn coefficients need not have unit power together.
    unit /= np.maximum(unit.std(-1, keepdims=True), LEAST_DEVIATION)
    made = level[..., None] + np.exp(spread)[..., None] * unit
    return np.clip(made, -clip, clip).astype(np.float32)


def synthesise(environment: Environment, windows: Windows, count: int, *, seed: int) -> StimulusArrays:
    """Windows drawn from a Gaussian copula of each class, with hard labels, in the classes' own shares.

    Raises:
        ConfigError: the library can't be installed, or failed.
    """
    spec = windows.spec
    shares = np.bincount(windows.labels, minlength=spec.classes) / len(windows)
    counts = np.floor(shares * count).astype(np.int64)
    counts[shares.argmax()] += count - counts.sum()
    with tempfile.TemporaryDirectory(prefix="stimset-copula-") as name:
        folder = Path(name)
        job, drawn = folder / "job.npz", folder / "drawn.npz"
        np.savez(
            job, columns=columns_of(windows.values), labels=windows.labels, counts=counts, seed=seed, marginals=2 * spec.channels
        )
        environment.run(SCRIPT, str(job), str(drawn), log=folder / "log", timeout_s=TIMEOUT_SECONDS)
        with np.load(drawn, allow_pickle=False) as file:
            columns, labels = file["columns"], file["labels"]
    order = np.random.default_rng(seed).permutation(len(labels))
    values = windows_of(columns[order], *spec.shape, spec.clip)
    return StimulusArrays(values, soft_targets(labels[order].astype(np.int64), spec.classes))
