"""A teacher of two members on the small cohort, trained once per test session and process."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from custodian.inhibition import train_identity_networks
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.training import TEACHER_PLAN, train_teacher
from small_cohort import cohort
from stimset.learning.training import TrainingPlan


@cache
def teacher() -> TrainedNetwork:
    """A convolutional network and a perceptron on spectra."""
    return train_teacher(cohort(), plan=replace(TEACHER_PLAN, epochs=12, batch=32, steps_at_least=0), seed=0)


@cache
def identity() -> tuple[TrainedNetwork, ...]:
    """One identity network."""
    plan = TrainingPlan(epochs=6, batch=32)
    return tuple(train_identity_networks(cohort(), architectures=("cnn",), plans=[plan]))
