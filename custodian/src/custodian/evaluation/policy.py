"""How much a partner may learn of held-out patients by its models, in two numbers that a person can judge.

`queries` answers together must leave every attacker, however much it knows, with an area under the ROC of at most ``0.5 + advantage`` when
it guesses whether a person is among the patients. Gaussian noise of multiplier z on each answer makes all of them together a Gaussian
mechanism with separation mu = sqrt(queries) / z (J. Dong, A. Roth, W. Su, "Gaussian Differential Privacy", JRSS B 84, 2022, corollary 2),
also when each model is chosen after the answers before it; the best attack on it has the ROC area Phi(mu / sqrt(2)). So::

    z = sqrt(queries) / (sqrt(2) * Phi^-1(0.5 + advantage))

The price is paid in accuracy, and only patients buy it back: the noise of a count is z patients, whether there are 20 of them or 2,000.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from custodian.budget import Mechanism, gaussian
from custodian.config import Settings
from stimset.errors import ConfigError

PURPOSE = "evaluation"
DELTA = 1e-6
"""At which each answer's epsilon is read; the noise does not depend on it."""

FEWEST_PATIENTS = 5


@dataclass(frozen=True)
class Policy:
    """What ``custodian.toml`` says of evaluations.

    Attributes:
        queries: answers to one partner on one cohort; 0 offers no evaluation.
        advantage: what all of them together may add to an attacker's area under the ROC of 0.5.
        patients: with fewer held-out patients nothing is answered.
    """

    queries: int
    advantage: float
    patients: int

    def __post_init__(self) -> None:
        if not 0 <= self.queries <= 1000:
            raise ConfigError("custodian.toml: evaluation_queries must be 0 to 1000")
        if not 0 < self.advantage < 0.5:
            raise ConfigError("custodian.toml: evaluation_advantage must lie between 0 and 0.5; 0.02 is advised")
        if self.patients < FEWEST_PATIENTS:
            raise ConfigError(f"custodian.toml: evaluation_patients must be at least {FEWEST_PATIENTS}")

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """The policy in a home's settings. Raises ConfigError where a number is out of range."""
        return cls(settings.evaluation_queries, settings.evaluation_advantage, settings.evaluation_patients)

    @property
    def noise(self) -> float:
        """Standard deviation of each count, in patients; each patient has one vote, so the L2 sensitivity is 1."""
        return sqrt(self.queries) / separation(self.advantage)

    def allows(self, drawn: Iterable[float]) -> bool:
        """Whether one more answer keeps the promise.

        Args:
            drawn: the noise of each answer that the partner had before, in patients; under other settings it may have been another.
        """
        precision = sum(1 / noise**2 for noise in drawn) + 1 / self.noise**2
        return precision <= separation(self.advantage) ** 2 * (1 + 1e-9)

    def mechanism(self) -> Mechanism:
        """What one answer draws from the budget."""
        return gaussian(self.noise, DELTA)


def separation(advantage: float) -> float:
    """The mu of Gaussian differential privacy whose best attack has an area under the ROC of ``0.5 + advantage``."""
    return sqrt(2) * NormalDist().inv_cdf(0.5 + advantage)
