"""Train the teacher: it learns labels from the training persons' windows; Cohen's kappa on the validation persons chooses the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.learning.networks import Ensemble, build_network, member_names
from stimset.learning.training import History, TrainingPlan, Validation, predict, soft_targets, train
from stimset.metrics import cohen_kappa

# Against memorisation (shared knowledge of the field: what a teacher remembers of single patients, its soft labels tell).
TEACHER_PLAN = TrainingPlan(epochs=10, label_smoothing=0.05, noise=0.1, shift=0.05, patience=3, steps_at_least=400)

# A network on samples and one on spectra: their mean belief teaches unlike students better than either (shared/adr/0005).
TEACHER_ARCHITECTURE = "cnn+spectral_mlp"

OnEpoch = Callable[[int, str], None]


def train_teacher(
    cohort: Cohort, *, architecture: str = TEACHER_ARCHITECTURE, plan: TrainingPlan = TEACHER_PLAN, seed: int = 0, device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> TrainedNetwork:  # fmt: skip
    """Train a teacher on the training persons; the validation persons choose the epoch.

    The members of an ensemble (``"cnn+tcn+gru"``) are trained one after another, each on all training persons, and each stops at its
    own best epoch. The same cohort, plan and seed give the same weights on the same kind of device.

    Raises:
        ConfigError: there is no such architecture.
    """
    spec, training, validation = cohort.spec, cohort.training, cohort.validation
    teacher = build_network(architecture, spec.channels, spec.samples, spec.classes, seed=seed)
    members = list(teacher.members) if isinstance(teacher, Ensemble) else [teacher]

    def kappa(probabilities: NDArray[np.float64]) -> float:
        return cohen_kappa(validation.labels, probabilities.argmax(1), spec.classes) or 0.0

    epochs = []
    for i, (name, member) in enumerate(zip(member_names(architecture), members, strict=True)):

        def report(epoch: int, history: History, name: str = name) -> None:
            if on_epoch:
                on_epoch(epoch + 1, f"{name}: loss {history.losses[-1]:.3f}  validation kappa {history.scores[-1]:.3f}")

        history = train(
            member, training.values, soft_targets(training.labels, spec.classes), plan, seed=seed + i, device=device,
            validation=Validation(validation.values, kappa), on_epoch=report,
        )  # fmt: skip
        epochs.append(history.best_epoch + 1)
    teacher.eval()
    facts = {
        "plan": asdict(plan), "seed": seed, "epochs": epochs, "validationKappa": kappa(predict(teacher, validation.values)),
        "trainingWindows": len(training), "trainingPersons": cohort.training_persons,
    }  # fmt: skip
    return TrainedNetwork(teacher.cpu(), architecture, spec, spec.classes, facts)
