"""Features of many fixed convolutions with a linear head, in the manner of MiniRocket (Dempster et al. 2021).

The kernels are MiniRocket's: nine weights, three of them 2 and six -1, so 84 in all, each at several dilations and, with several
channels, on a random choice of them. A feature is how much of the window lies above a threshold that was drawn from the training
windows' own answers. MiniRocket counts samples, a step at the threshold; here the step is a ramp as wide as a part of the answers'
deviation, so that a rounding error on the way can't tip a sample over, and ONNX answers as NumPy does.

On top stands a ridge regression of the log-probabilities, whose penalty is chosen by leave-one-out on the stimuli.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from stimset.learning.estimator import Floats, OnProgress, Values
from stimset.learning.sklearn_families import Answers, FeatureEstimator, log_chances

TAPS = 9
RAMP = 0.25  # half the ramp's width, in deviations of a kernel's answers
DILATIONS = 5
PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
_CALIBRATION_WINDOWS = 256
_BATCH = 128
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Bank:
    """All kernels of one dilation.

    Attributes:
        dilation: samples between two taps.
        weights: ``(kernels, channels, TAPS)``.
        thresholds: ``(biases, kernels)``.
        slope: ``(kernels,)`` of the ramp.
    """

    dilation: int
    weights: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    slope: NDArray[np.float32]

    def answers(self, windows: Values) -> NDArray[np.float32]:
        """The convolutions ``(n, samples, kernels)`` of windows ``(n, channels, samples)``, which go on as zeros on both sides."""
        n, channels, samples = windows.shape
        reach = self.dilation * (TAPS // 2)
        padded = np.pad(windows, ((0, 0), (0, 0), (reach, reach)))
        taps = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=2)[..., :: self.dilation]
        columns = np.ascontiguousarray(taps.transpose(0, 2, 1, 3)).reshape(n * samples, channels * TAPS)
        found: NDArray[np.float32] = columns @ self.weights.reshape(len(self.weights), -1).T
        return found.reshape(n, samples, -1)

    def describe(self, windows: Values) -> NDArray[np.float32]:
        """``(n, biases * kernels)``: how much of each window lies above each threshold, from 0 to 1."""
        answers = self.answers(windows) * self.slope
        shares = [np.clip(answers - self.slope * t + np.float32(0.5), 0, 1).mean(axis=1) for t in self.thresholds]
        return np.concatenate(shares, axis=1)


def kernels() -> NDArray[np.float32]:
    """MiniRocket's 84 kernels ``(84, TAPS)``; each sums to 0, so the level of a window does not matter."""
    chosen = np.array(list(combinations(range(TAPS), 3)))
    weights = np.full((len(chosen), TAPS), -1.0, dtype=np.float32)
    np.put_along_axis(weights, chosen, 2.0, axis=1)
    return weights


def dilations(samples: int) -> list[int]:
    """At most `DILATIONS` dilations, evenly spread in octaves, with which a kernel still fits into the window."""
    longest = max(1, (samples - 1) // (TAPS - 1))
    return sorted({int(d) for d in np.floor(2 ** np.linspace(0, np.log2(longest), DILATIONS))})


def banks(windows: Values, biases: int, rng: np.random.Generator) -> list[Bank]:
    """Kernels with thresholds drawn from these windows ``(n, channels, samples)``."""
    few = windows[rng.choice(len(windows), min(_CALIBRATION_WINDOWS, len(windows)), replace=False)]
    channels, made = windows.shape[1], []
    plain = kernels()
    for dilation in dilations(windows.shape[2]):
        taken = rng.uniform(size=(len(plain), channels)) < 0.5
        taken[np.arange(len(plain)), rng.integers(channels, size=len(plain))] = True
        bank = Bank(dilation, plain[:, None] * taken[:, :, None].astype(np.float32), *(np.zeros((1, 1), np.float32),) * 2)
        answers = bank.answers(few).reshape(-1, len(plain))
        # Quantiles that spread evenly however many there are (MiniRocket's low-discrepancy sequence).
        at = (np.arange(1, biases * len(plain) + 1) * _GOLDEN) % 1
        ordered = np.sort(answers, axis=0)
        places = (at.reshape(biases, -1) * (len(ordered) - 1)).round().astype(int)
        deviation = answers.std(axis=0)
        slope = 1 / (2 * RAMP * np.where(deviation > 1e-6, deviation, 1.0))
        thresholds = np.take_along_axis(ordered, places, axis=0)
        made.append(Bank(dilation, bank.weights, thresholds.astype(np.float32), slope.astype(np.float32)))
    return made


class Rocket(FeatureEstimator):
    """Random convolution features with a linear head.

    Attributes:
        banks_: the kernels, one bank per dilation.
    """

    answers: ClassVar[Answers] = "logits"
    features: str = "rocket"
    banks_: list[Bank]

    def __init__(
        self, classes: int | None = None, seed: int = 0, max_samples: int | None = 10_000, biases: int = 2
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.max_samples = max_samples
        self.biases = biases

    def _learn(
        self, values: Values, chances: Floats, held: tuple[Values, Floats] | None, on_progress: OnProgress
    ) -> None:
        self.banks_ = banks(values, self.biases, np.random.default_rng(self.seed))
        super()._learn(values, chances, held, on_progress)

    def _describe(self, values: Values) -> Floats:
        parts = [
            np.concatenate([bank.describe(values[i : i + _BATCH]) for bank in self.banks_], axis=1)
            for i in range(0, len(values), _BATCH)
        ]
        return np.concatenate(parts).astype(np.float64)

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        return [RidgeCV(alphas=PENALTIES).fit(features.astype(np.float64), log_chances(chances))]
