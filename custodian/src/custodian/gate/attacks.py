"""Attacks on identity: does a stimulus point at a patient?

An attacker of a family that inhibition never saw learns to tell the training persons apart, then looks at stimuli and at windows of
persons whom nobody trained on. It must be able to succeed (held-out windows of the training persons: the positive control), or it proves
nothing.

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
from stimset.learning.families import build
from stimset.release import StimulusArrays

CONTROL_SHARE = 0.2
MAX_WINDOWS = 12_000


@dataclass(frozen=True)
class IdentityAttack:
    """What one attacker found.

    Attributes:
        family: of the attacker.
        stimuli_auc: chance that it is more certain (largest probability) of a stimulus than of a stranger's window; 0.5 is no difference.
        control_auc: the same for held-out windows of the training persons themselves.
        stimuli_entropy, strangers_entropy, control_entropy: mean entropy of its answers over the logarithm of the number of persons: 1
            when everyone is equally likely.
        stimuli_excess, strangers_excess: mean KL(answer || what the label alone says of the person) in nats: what it claims to know
            beyond the label's base rate.
    """

    family: str
    stimuli_auc: float
    control_auc: float
    stimuli_entropy: float
    strangers_entropy: float
    control_entropy: float
    stimuli_excess: float
    strangers_excess: float


def attack_identity(
    family: str, stimuli: StimulusArrays, cohort: Cohort, *, seed: int, on_progress: Callable[[float], None] | None = None
) -> IdentityAttack:
    """Train one attacker on the training persons and let it look at the stimuli."""
    training, strangers = cohort.training, cohort.validation
    persons = cohort.training_person_indices
    owners = np.searchsorted(persons, training.person)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(training))
    control, learnt = np.split(order, [max(1, round(CONTROL_SHARE * len(order)))])
    learnt = learnt[:MAX_WINDOWS]
    attacker = build(family, *training.spec.shape, len(persons), seed=seed)
    attacker.fit(training.values[learnt], owners[learnt], on_progress=on_progress)
    shares = person_shares(training, persons).astype(np.float64)

    on_stimuli = attacker.predict_proba(stimuli.values)
    on_strangers = attacker.predict_proba(strangers.values)
    on_control = attacker.predict_proba(training.values[control])
    return IdentityAttack(
        family,
        _more_certain(on_stimuli, on_strangers),
        _more_certain(on_control, on_strangers),
        _entropy(on_stimuli),
        _entropy(on_strangers),
        _entropy(on_control),
        _excess(on_stimuli, stimuli.probabilities.astype(np.float64) @ shares),
        _excess(on_strangers, shares[strangers.labels]),
    )


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
