"""The neural families: a network by name, trained by the one loop, behind the same contract as every other family."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stimset.errors import ConfigError
from stimset.learning.estimator import Floats, OnProgress, SoftLabelEstimator, Values
from stimset.learning.networks import Builder, build_network
from stimset.learning.training import History, TrainingPlan, Validation, predict, train


class Network(SoftLabelEstimator):
    """A network of `stimset.learning.networks`, or your own.

    `network` is a name, or anything that makes a ``torch.nn.Module`` of ``(channels, samples, classes)``: a class of yours, say.

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
        network: str | Builder = "cnn",
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # scikit-learn's own check learns tables of two columns: all but the perceptron average over time, and what is
        # rolled in training can't tell one column from the other.
        tags.classifier_tags.poor_score = self.network != "mlp" or self.shift > 0
        return tags

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
        network = self._built(chances.shape[1])
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

    def _built(self, classes: int) -> torch.nn.Module:
        """The network before training.

        Raises:
            ConfigError: what `network` makes is no module that answers windows with logits.
        """
        if isinstance(self.network, str):
            return build_network(self.network, *self.shape_, classes, seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = self.network(*self.shape_, classes)
        if not isinstance(made, torch.nn.Module):
            raise ConfigError(f"your network: a torch.nn.Module is expected, got {type(made).__name__}")
        with torch.no_grad():
            answer = made.eval()(torch.zeros(2, *self.shape_))
        if not isinstance(answer, torch.Tensor) or answer.shape != (2, classes):
            got = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
            raise ConfigError(f"your network: logits of shape (batch, {classes}) are expected, got {got}")
        return made

    def _answer(self, values: Values) -> Floats:
        return predict(self.network_, values)


def cross_entropy(found: Floats, wanted: Floats) -> float:
    """Mean cross-entropy in nats of predicted against target probabilities, both ``(n, classes)``."""
    return float(-(wanted * np.log(np.maximum(found, 1e-12))).sum(axis=1).mean())
