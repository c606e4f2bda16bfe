"""Train the teacher: it learns labels from the training persons' windows; Cohen's kappa on the validation persons chooses the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from custodian.cohort import Cohort
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.errors import ConfigError
from stimset.learning.networks import NETWORKS, build_network
from stimset.learning.training import History, TrainingPlan, Validation, soft_targets, train
from stimset.metrics import cohen_kappa

# Against memorisation (shared knowledge of the field: what a teacher remembers of single patients, its soft labels tell).
TEACHER_PLAN = TrainingPlan(epochs=10, label_smoothing=0.05, noise=0.1, shift=0.05, patience=3, steps_at_least=400)

OnEpoch = Callable[[int, str], None]


def train_teacher(
    cohort: Cohort, *, architecture: str = "cnn", plan: TrainingPlan = TEACHER_PLAN, seed: int = 0, device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> TrainedNetwork:  # fmt: skip
    """Train a teacher on the training persons; the validation persons choose the epoch.

    The same cohort, plan and seed give the same weights on the same kind of device.

    Raises:
        ConfigError: there is no such architecture.
    """
    if architecture not in NETWORKS:
        raise ConfigError(f"there is no architecture '{architecture}'; known are {', '.join(NETWORKS)}")
    spec, training, validation = cohort.spec, cohort.training, cohort.validation
    network = build_network(architecture, spec.channels, spec.samples, spec.classes, seed=seed)

    def kappa(probabilities: np.ndarray) -> float:
        return cohen_kappa(validation.labels, probabilities.argmax(1), spec.classes) or 0.0

    def report(epoch: int, history: History) -> None:
        if on_epoch:
            on_epoch(epoch + 1, f"loss {history.losses[-1]:.3f}  validation kappa {history.scores[-1]:.3f}")

    history = train(
        network, training.values, soft_targets(training.labels, spec.classes), plan, seed=seed, device=device,
        validation=Validation(validation.values, kappa), on_epoch=report,
    )  # fmt: skip
    facts = {
        "plan": asdict(plan), "seed": seed, "epochs": history.best_epoch + 1, "validationKappa": max(history.scores),
        "trainingWindows": len(training), "trainingPersons": cohort.training_persons,
    }  # fmt: skip
    return TrainedNetwork(network.cpu(), architecture, spec, spec.classes, facts)
