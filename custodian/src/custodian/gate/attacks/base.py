"""What every attack of the gate takes and gives.

An attack is a small estimator: it has a name, knows about how long it takes, and makes a `Finding` of `Evidence`. It decides nothing; the
policy's limits do (`custodian.gate.verdict`). Its two controls are its own headline number, measured on sets whose nature is known: the
limit that the stimuli must keep has to refuse the positive control and to pass the negative one, or the attack proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from custodian.cohort import Cohort
from custodian.gate.attacks.doubles import find_doubles
from stimset.errors import DataInvalid
from stimset.release import StimulusArrays
from stimset.windows import Windows

CURVE_POINTS = 101

OnProgress = Callable[[float], None]


def unwatched(share: float) -> None:
    """An `OnProgress` for callers that don't watch."""


@dataclass(frozen=True)
class Curve:
    """A receiver operating characteristic: the true-positive rate for each false-positive rate, both ascending from 0 to 1.

    Attributes:
        fpr, tpr: at most `CURVE_POINTS` points.
    """

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]

    @classmethod
    def of(cls, these: NDArray[np.floating], those: NDArray[np.floating]) -> Curve:
        """The curve of scores ``(n,)`` that should be high against scores ``(m,)`` that should be low."""
        is_first = np.arange(len(these) + len(those)) < len(these)
        fpr, tpr, _ = roc_curve(is_first, np.concatenate([these, those]))
        if len(fpr) > CURVE_POINTS:
            # Low false-positive rates matter most: a third of the points lies below 1 %, the corner of the curve.
            grid = np.unique(np.concatenate([[0.0], np.geomspace(1e-3, 1e-2, 30), np.linspace(0.01, 1, 65)]))
            fpr, tpr = grid, tpr[np.searchsorted(fpr, grid, side="right") - 1]
        return cls(tuple(float(x) for x in fpr), tuple(float(y) for y in tpr))


@dataclass(frozen=True)
class Finding:
    """What one attack found.

    Attributes:
        name: e.g. ``"identity-deep_cnn"``; lower-case letters, digits, hyphens and underscores.
        headline: the measurement that the policy limits from above; a key of `measurements` unless it could not be measured.
        measurements: every number by name; what could not be measured is absent and stands in `missing`.
        intervals: 95 % intervals of measurements, where there are persons enough for one.
        missing: why a measurement or its interval is absent, and what it would take.
        curves: by the set whose scores are held against strangers' windows (``"stimuli"``, ``"raw windows"``, ``"noise"``).
        positive_control: the headline of a set that is known to leak: the mildest of those tried; None where it could not be measured.
        negative_control: the headline of noise.
        notes: further sentences that whoever reads the number should know.
        words: what the headline means.
        caveat: what it does not say.
    """

    name: str
    headline: str
    measurements: Mapping[str, float]
    words: str
    caveat: str
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    positive_control: float | None = None
    negative_control: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float | None:
        """The headline's number, or None where it could not be measured."""
        return self.measurements.get(self.headline)


@dataclass(frozen=True)
class Evidence:
    """What an attack may look at: the stimuli that would leave, and the private cohort as its own oracle.

    The attacker of the threat model has the stimuli only. Attacks read the cohort because they play the strongest one: an attacker who
    already holds recordings of the patients and asks whether the stimuli say more about them than about strangers.

    Attributes:
        stimuli: the candidate set.
        cohort: its training persons are who must be protected; its validation persons are the strangers.
    """

    stimuli: StimulusArrays
    cohort: Cohort

    @cached_property
    def doubles(self) -> tuple[int, ...]:
        """Validation persons who are no strangers: they share a recording with a training person (`custodian.gate.attacks.doubles`).

        Raises:
            DataInvalid: the cohort's windows are constant or not finite.
        """
        return find_doubles(self.cohort)

    @property
    def stranger_persons(self) -> tuple[int, ...]:
        """The validation persons who really are strangers."""
        return tuple(p for p in self.cohort.validation_persons if p not in self.doubles)

    @property
    def strangers(self) -> Windows:
        """Their windows.

        Raises:
            DataInvalid: there is no stranger.
        """
        if not self.stranger_persons:
            raise DataInvalid(
                "nobody was kept apart from training, so there are no strangers to compare with; ingest more persons"
            )
        return self.cohort.windows.of_persons(self.stranger_persons)


class Attack(Protocol):
    """One attack. Instances are frozen settings; `run` keeps nothing."""

    @property
    def name(self) -> str:
        """As in `Finding.name`."""

    def cost_s(self, evidence: Evidence) -> float:
        """About how many seconds `run` takes on one core."""

    def run(self, evidence: Evidence, *, seed: int, on_progress: OnProgress = unwatched) -> Finding:
        """Attack.

        Args:
            evidence: see `Evidence`.
            seed: of everything random in it.
            on_progress: is told the share of the work that is done, from 0 to 1.

        Raises:
            StimsetError: the evidence is of no use to this attack; the gate counts that as failed.
        """
