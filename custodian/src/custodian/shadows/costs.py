"""What a world costs, said before it begins: one second of training here, and how much of it a world needs."""

from __future__ import annotations

import time

import numpy as np

from custodian.cohort import Cohort
from custodian.device import one_thread
from custodian.inhibition import IDENTITY_ARCHITECTURES, identity_plans
from custodian.shadows.plan import Plan
from custodian.teacher.training import planned_rounds
from stimset.learning.networks import build_network, member_names
from stimset.learning.training import TrainingPlan, soft_targets, train

# Seconds relative to one epoch of the CNN on as many windows; measured on one core with windows of 1 x 150.
PACE = {
    "cnn": 1.0,
    "spectral_mlp": 0.15,
    "mlp": 0.2,
    "deep_cnn": 1.6,
    "tcn": 1.2,
    "lstm": 3.0,
    "gru": 3.5,
    "transformer": 4.0,
}
OTHER_PACE = 3.0
SAMPLE, EPOCHS = 1024, 4
INHIBITED, PLAIN_STIMULUS, GENERATED = 0.006, 0.0006, 0.03
"""Epochs of the CNN on 1,000 windows that one stimulus costs."""
STUDENT_EPOCHS, LEAST_STUDENT = 12, 38.0
"""Epochs of a network that learns a release; and what it goes through at least, in thousands of windows."""
EARLY = 0.6
"""Share of the planned epochs that early stopping goes through."""


def unit_seconds(cohort: Cohort) -> float:
    """Seconds of one epoch of the CNN on 1,000 windows of this shape on this machine."""
    spec, windows = cohort.spec, cohort.windows
    rows = np.random.default_rng(0).integers(len(windows), size=SAMPLE)
    network = build_network("cnn", spec.channels, spec.samples, spec.classes, seed=0)
    targets = soft_targets(windows.labels[rows], spec.classes)
    ended = [time.perf_counter()]
    with one_thread():
        plan = TrainingPlan(epochs=EPOCHS)
        train(
            network, windows.values[rows], targets, plan, seed=0, on_epoch=lambda *_: ended.append(time.perf_counter())
        )
    # The first epoch warms caches up.
    return float(np.median(np.diff(ended)[1:])) * 1000 / SAMPLE


def world_seconds(plan: Plan, half: Cohort) -> float:
    """About how many seconds one world takes on one core.

    Args:
        plan: what is run.
        half: the cohort of one world.
    """
    thousands = len(half.training) / 1000
    identity = 0.0
    if plan.recipe.uses_inhibition:
        epochs = sum(plan.with_enough_steps(len(half.training)).epochs for plan in identity_plans())
        identity = epochs * thousands * sum(PACE.get(name, OTHER_PACE) for name in IDENTITY_ARCHITECTURES)
    stimulus = (
        GENERATED if plan.recipe.method == "generator" else INHIBITED if plan.recipe.uses_inhibition else PLAIN_STIMULUS
    )
    sources = 3 if plan.controls else 1
    passes = max(STUDENT_EPOCHS * plan.stimuli / 1000, LEAST_STUDENT)
    students = passes * sources * sum(PACE.get(name, 0.03) for name in plan.students)
    return unit_seconds(half) * (_teacher_epochs(plan, half, thousands) + identity + stimulus * plan.stimuli + students)


def _teacher_epochs(plan: Plan, half: Cohort, thousands: float) -> float:
    """The teacher's epochs in units of the CNN's on 1,000 windows."""
    names = member_names(plan.architecture)
    rounds = planned_rounds(half, architecture=plan.architecture, regime=plan.regime, plan=plan.training)
    # Rounds are named member by member; a teacher of a part of the persons passes over that part only.
    share = {"cross-fitted": 0.5, "aggregated": len(names) / len(rounds), "pate": len(names) / len(rounds)}.get(
        plan.regime, 1.0
    )
    paces = [PACE.get(names[i % len(names)], OTHER_PACE) for i in range(len(rounds))]
    return EARLY * share * thousands * sum(epochs * pace for epochs, pace in zip(rounds, paces, strict=True))
