"""Attacks on identity: does a stimulus point at a patient?

An attacker of a family that inhibition never saw learns to tell the training persons apart, then looks at stimuli and at windows of
persons whom nobody trained on. It must be able to succeed, or it proves nothing: its positive control is to recognise the training
persons in windows that it did not learn. Where even that fails, the persons may simply be indistinguishable; then the same attacker must
find a weak tone of their own that is planted into each person's windows.

What it says: whether *these* attackers are surer of a stimulus's owner than of a stranger's. What it does not say: that no other attacker
could be, or that membership in the cohort can't be told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from custodian.cohort import Cohort, person_shares
from stimset.learning.estimator import SoftLabelEstimator
from stimset.learning.families import build
from stimset.release import StimulusArrays

CONTROL_SHARE = 0.2
MAX_WINDOWS = 12_000
PLANTED_STRENGTH = 0.5


@dataclass(frozen=True)
class IdentityAttack:
    """What one attacker found.

    Attributes:
        family: of the attacker.
        stimuli_certainty, strangers_certainty, control_certainty: mean of its largest probability for stimuli, for strangers' windows, and
            for held-out windows of the training persons.
        stimuli_auc: chance that it is more certain (largest probability) of a stimulus than of a stranger's window; 0.5 is no difference.
        control_auc: the same for held-out windows of the training persons themselves.
        control_lift: how often it names their person rightly, over how often the label alone would: the positive control.
        planted_lift: the same with planted tones; equal to `control_lift` where that was enough.
        stimuli_entropy, strangers_entropy, control_entropy: mean entropy of its answers over the logarithm of the number of persons: 1
            when everyone is equally likely.
        stimuli_excess, strangers_excess: mean KL(answer || what the label alone says of the person) in nats: what it claims to know
            beyond the label's base rate.
    """

    family: str
    stimuli_certainty: float
    strangers_certainty: float
    control_certainty: float
    stimuli_auc: float
    control_auc: float
    control_lift: float
    planted_lift: float
    stimuli_entropy: float
    strangers_entropy: float
    control_entropy: float
    stimuli_excess: float
    strangers_excess: float

    @property
    def certainty_gap(self) -> float:
        """How much more certain it is, on average, of a stimulus's owner than of a stranger's window's."""
        return self.stimuli_certainty - self.strangers_certainty


def attack_identity(
    family: str, stimuli: StimulusArrays, cohort: Cohort, *, seed: int, lift_wanted: float = 1.5,
    on_progress: Callable[[float], None] | None = None,
) -> IdentityAttack:  # fmt: skip
    """Train one attacker on the training persons and let it look at the stimuli.

    Args:
        family: in `stimset.learning.families`.
        stimuli: what it looks at.
        cohort: whose training persons it learns; the validation persons are the strangers.
        seed: of its training.
        lift_wanted: below this `control_lift` the planted control is run.
        on_progress: is told the share of the training that is done.
    """
    training, strangers = cohort.training, cohort.validation
    persons = cohort.training_person_indices
    owners = np.searchsorted(persons, training.person)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(training))
    control, learnt = np.split(order, [max(1, round(CONTROL_SHARE * len(order)))])
    learnt = learnt[:MAX_WINDOWS]
    shares = person_shares(training, persons).astype(np.float64)
    by_label = float(shares[training.labels[control]].max(1).mean())

    def learn(values: NDArray[np.float32]) -> tuple[SoftLabelEstimator, float]:
        attacker = build(family, *training.spec.shape, len(persons), seed=seed)
        attacker.fit(values[learnt], owners[learnt], on_progress=on_progress)
        right = attacker.predict_proba(values[control]).argmax(1) == owners[control]
        return attacker, float(right.mean()) / by_label

    attacker, lift = learn(training.values)
    on_stimuli = attacker.predict_proba(stimuli.values)
    on_strangers = attacker.predict_proba(strangers.values)
    on_control = attacker.predict_proba(training.values[control])
    return IdentityAttack(
        family,
        float(on_stimuli.max(1).mean()),
        float(on_strangers.max(1).mean()),
        float(on_control.max(1).mean()),
        _more_certain(on_stimuli, on_strangers),
        _more_certain(on_control, on_strangers),
        lift,
        lift if lift >= lift_wanted else learn(with_planted_tones(training.values, owners, len(persons)))[1],
        _entropy(on_stimuli),
        _entropy(on_strangers),
        _entropy(on_control),
        _excess(on_stimuli, stimuli.probabilities.astype(np.float64) @ shares),
        _excess(on_strangers, shares[strangers.labels]),
    )


def with_planted_tones(values: NDArray[np.float32], owners: NDArray[np.int64], persons: int) -> NDArray[np.float32]:
    """Windows ``(n, channels, samples)`` with a tone of each owner's own frequency in the first channel, half as strong as that signal."""
    samples = values.shape[-1]
    cycles = 2 + (samples / 2 - 4) * owners / persons
    tone = np.sin(2 * np.pi * cycles[:, None] * np.arange(samples) / samples)
    planted = values.copy()
    planted[:, 0] += (PLANTED_STRENGTH * values[:, 0].std() * np.sqrt(2) * tone).astype(np.float32)
    return planted


def _more_certain(these: NDArray[np.float64], those: NDArray[np.float64]) -> float:
    certainty = np.concatenate([these.max(1), those.max(1)])
    first = np.arange(len(certainty)) < len(these)
    return float(roc_auc_score(first, certainty))


def _entropy(answers: NDArray[np.float64]) -> float:
    p = np.clip(answers, 1e-12, 1)
    return float(-(p * np.log(p)).sum(1).mean() / np.log(p.shape[1]))


def _excess(answers: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    p = np.clip(answers, 1e-12, 1)
    return float((p * np.log(p / expected)).sum(1).mean())
