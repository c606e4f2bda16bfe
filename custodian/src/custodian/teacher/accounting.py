"""What noise a teacher's guarantee costs. The sums are `custodian.budget.mechanisms`', the noise comes back from no seed.

Usage::

    draw = mechanism_within(PrivacyTarget(epsilon=8.0, delta=1e-4), steps=120)
    draw.noise          # standard deviation over one person's largest part, in each step
    draw.epsilon        # at most 8, by all steps together
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.budget.account import GRAIN, normal_noise
from custodian.budget.mechanisms import Mechanism, calibrated, gaussian
from stimset.errors import ConfigError

TOLERANCE = 1.03
"""Noise is found to within this factor, on the safe side."""

MOST_NOISE = 1000.0


@dataclass(frozen=True)
class PrivacyTarget:
    """Differential privacy of a person (Dwork et al. 2006): of all their recordings, not of a single window.

    Neighbours are cohorts in which one person's recordings are there or not; how many persons there are, and who is kept apart for
    validation, is taken as known.

    Attributes:
        epsilon: the bound on what one person's recordings change, in nats of likelihood.
        delta: the chance at which the bound may fail; to be well below one over the number of persons.
    """

    epsilon: float = 8.0
    delta: float = 1e-4

    def __post_init__(self) -> None:
        if not (0 < self.epsilon < float("inf") and 0 < self.delta < 1):
            raise ConfigError("a guarantee needs a finite epsilon > 0 and a delta between 0 and 1")

    def check_persons(self, persons: int) -> None:
        """Refuse a delta that would allow to publish one person outright.

        Raises:
            ConfigError: delta is not below one over the number of persons.
        """
        if self.delta >= 1 / persons:
            raise ConfigError(
                f"delta {self.delta:g} protects nobody among {persons} persons; give one well below 1/{persons}"
            )


def mechanism_within(target: PrivacyTarget, *, steps: int, rate: float = 1.0) -> Mechanism:
    """The least Gaussian noise that keeps `steps` answers within the target.

    Args:
        target: what is promised.
        steps: noisy answers given.
        rate: chance that a person takes part in a step, drawn anew for each (Poisson sampling; Abadi et al. 2016).

    Raises:
        ConfigError: no sensible noise reaches the target.
    """
    # Everybody in every step: the answers are one Gaussian mechanism. Sampling can only lower what that costs.
    high = calibrated(target.epsilon, target.delta).noise * steps**0.5
    if rate >= 1:
        return gaussian(high, target.delta, count=steps)
    high, low = min(high, MOST_NOISE), min(high, MOST_NOISE) * rate / 2
    found = gaussian(high, target.delta, sampling=rate, count=steps)
    if _epsilon(found) > target.epsilon:
        raise ConfigError(
            f"epsilon {target.epsilon:g} is out of reach in {steps} steps; allow a larger one, or take fewer steps"
        )
    while high / low > TOLERANCE:
        middle = (high * low) ** 0.5
        tried = gaussian(middle, target.delta, sampling=rate, count=steps)
        if _epsilon(tried) <= target.epsilon:
            found, high = tried, middle
        else:
            low = middle
    return found


def noisy(values: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """The values with secret Gaussian noise, rounded far below it: the last bits of floating-point noise would tell (Mironov 2012)."""
    grain = 2.0 ** np.floor(np.log2(deviation * GRAIN))
    noise = normal_noise(secrets.token_bytes(32), values.size).reshape(values.shape)
    return np.asarray(np.round((values + deviation * noise) / grain) * grain)


def secret_choice(count: int, rate: float) -> NDArray[np.bool_]:
    """``(count,)``: each person with chance `rate`, independently and in secret, as sampling's gain in privacy asks."""
    source = secrets.SystemRandom()
    return np.array([source.random() < rate for _ in range(count)], dtype=bool)


def _epsilon(mechanism: Mechanism) -> float:
    return float("inf") if mechanism.epsilon is None else mechanism.epsilon
