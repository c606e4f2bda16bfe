"""The neural families: a network by name, trained by the one loop, behind the same contract as every other family."""

from __future__ import annotations

import numpy as np
import torch

from stimset.learning.estimator import Floats, OnProgress, SoftLabelEstimator, Values
from stimset.learning.networks import build_network
from stimset.learning.training import History, TrainingPlan, Validation, predict, train


class Network(SoftLabelEstimator):
    """A network of `stimset.learning.networks`.

    With validation windows, the epoch with the lowest cross-entropy on them is kept. The parameters are those of
    `stimset.learning.training.TrainingPlan`, but `noise` is in standard deviations of the training windows.

    Attributes:
        network_: the trained ``torch.nn.Module``: windows to logits.
        history_: loss and validation score (minus the cross-entropy in nats) per epoch.
    """

    network_: torch.nn.Module
    history_: History

    def __init__(
        self,
        network: str = "cnn",
        classes: int | None = None,
        seed: int = 0,
        epochs: int = 12,
        batch: int = 128,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.0,
        noise: float = 0.2,
        shift: float = 0.0,
        mixup: float = 0.0,
        patience: int = 4,
        steps_at_least: int = 300,
        device: str = "cpu",
    ) -> None:
        self.network = network
        self.classes = classes
        self.seed = seed
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.noise = noise
        self.shift = shift
        self.mixup = mixup
        self.patience = patience
        self.steps_at_least = steps_at_least
        self.device = device

    def _learn(
        self, values: Values, chances: Floats, held: tuple[Values, Floats] | None, on_progress: OnProgress
    ) -> None:
        plan = TrainingPlan(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            label_smoothing=self.label_smoothing,
            noise=self.noise * float(values.std()),
            shift=self.shift,
            mixup=self.mixup,
            patience=self.patience,
            steps_at_least=self.steps_at_least,
        )
        epochs = plan.with_enough_steps(len(values)).epochs
        network = build_network(self.network, *self.shape_, chances.shape[1], seed=self.seed)
        self.history_ = train(
            network,
            values,
            chances.astype(np.float32),
            plan,
            seed=self.seed,
            validation=Validation(held[0], lambda found: -cross_entropy(found, held[1])) if held else None,
            device=self.device,
            on_epoch=lambda epoch, history: on_progress((epoch + 1) / epochs),
        )
        self.network_ = network.to("cpu").eval()
        on_progress(1.0)

    def _answer(self, values: Values) -> Floats:
        return predict(self.network_, values)


def cross_entropy(found: Floats, wanted: Floats) -> float:
    """Mean cross-entropy in nats of predicted against target probabilities, both ``(n, classes)``."""
    return float(-(wanted * np.log(np.maximum(found, 1e-12))).sum(axis=1).mean())
