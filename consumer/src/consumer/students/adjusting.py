"""After training: how certain a student is (temperature), and how frequent each class is where it will work (prevalence).

Both are a factor on the logarithm of the probabilities, so they become four more operators of the ONNX file::

    p'(class | window)  ~  p(class | window) ** (1 / temperature) * prevalence(class) / prior(class)

The temperature is fitted on held-out stimuli against the teacher's beliefs (Guo et al. 2017), so it repairs a student that is more or
less certain than its teacher; that the teacher is as certain as it should be on patients, it can't promise. The prior is the classes'
mean belief over the stimuli; the rule for another prevalence (Saerens et al. 2002) holds where only the classes' shares differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.errors import ConfigError

Floats = NDArray[np.float64]

LEAST = 1e-7  # under the logarithm: what float32 still tells from 0 beside 1
COLDEST, HOTTEST = 0.1, 10.0


@dataclass(frozen=True)
class Adjustment:
    """What is done to a student's probabilities.

    Attributes:
        temperature: above 1 makes them less certain; 1 leaves them.
        weights: ``(classes,)`` each class's factor; equal ones leave the probabilities.
    """

    temperature: float
    weights: tuple[float, ...]

    def __call__(self, chances: Floats) -> Floats:
        """Adjusted probabilities ``(n, classes)``."""
        logs = np.log(np.clip(chances, LEAST, 1.0)) / self.temperature + np.log(self.weights)
        raised = np.exp(logs - logs.max(axis=1, keepdims=True))
        adjusted: Floats = raised / raised.sum(axis=1, keepdims=True)
        return adjusted

    def unshifted(self, chances: Floats) -> Floats:
        """Probabilities with the temperature alone, as the teacher's beliefs are compared with."""
        return chances if self.temperature == 1.0 else Adjustment(self.temperature, (1.0,) * len(self.weights))(chances)

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.temperature != 1.0 or len(set(self.weights)) > 1

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"temperature": self.temperature, "classWeights": list(self.weights)}


def temperature(chances: Floats, wanted: Floats) -> float:
    """The temperature with which `chances` have the least cross-entropy to `wanted`, both ``(n, classes)``, within 0.1 to 10."""
    from scipy.optimize import minimize_scalar

    logs = np.log(np.clip(chances, LEAST, 1.0))

    def cost(exponent: float) -> float:
        scaled = logs / np.exp(exponent)
        top = scaled.max(axis=1, keepdims=True)
        normaliser = top[:, 0] + np.log(np.exp(scaled - top).sum(axis=1))
        return float((normaliser - (wanted * scaled).sum(axis=1)).mean())

    found = minimize_scalar(cost, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return round(float(np.exp(found.x)), 6)


def prevalence_weights(prior: Floats, wanted: Mapping[str, float], labels: tuple[str, ...]) -> tuple[float, ...]:
    """Each class's factor for a wanted prevalence.

    Args:
        prior: ``(classes,)`` mean belief over the stimuli.
        wanted: label -> share; labels that are not named keep their proportions in what is left.
        labels: of the classes.

    Raises:
        ConfigError: an unknown label, or shares that can't be.
    """
    if unknown := sorted(set(wanted) - set(labels)):
        raise ConfigError(f"prevalence: there is no label '{unknown[0]}'; known are {', '.join(labels)}")
    named = sum(wanted.values())
    rest = [k for k, label in enumerate(labels) if label not in wanted]
    complete = 0 < named < 1 if rest else abs(named - 1) < 1e-6
    if not complete or any(not 0 < share < 1 for share in wanted.values()):
        raise ConfigError("prevalence: shares must lie between 0 and 1, and sum to 1 where every label is named")
    safe = np.maximum(prior, LEAST)
    shares = np.array([wanted.get(label, 0.0) for label in labels])
    shares[rest] = (1 - named) * safe[rest] / safe[rest].sum() if rest else 0.0
    return tuple(round(float(w), 9) for w in shares / safe)
