"""The one training loop: teachers, identity networks, the gate's attackers and the consumer's students all go through it.

Usage::

    history = train(network, values, targets, TrainingPlan(epochs=8), seed=0, validation=Validation(v, score))
    probabilities = predict(network, windows)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stimset.errors import ConfigError


@dataclass(frozen=True)
class TrainingPlan:
    """How a network is trained. The defaults suit windows of some hundred samples.

    Attributes:
        epochs: passes over the data, at most.
        batch: windows per step.
        learning_rate: peak of a one-cycle schedule (Smith and Topin 2018).
        weight_decay: of AdamW.
        label_smoothing: share of each target that is spread over all classes (Szegedy et al. 2016).
        noise: standard deviation of Gaussian noise added to each window, in normalised units.
        shift: each window is rolled by up to this share of its length, either way.
        mixup: parameter of the Beta distribution of mixup (Zhang et al. 2018); 0 mixes nothing.
        dropout: chance of every dropout layer (Srivastava et al. 2014); None leaves each network its own.
        patience: epochs without a better validation score before it stops; the best epoch's weights are kept.
        steps_at_least: small sets are passed over more often, so that training has at least this many steps.
    """

    epochs: int = 8
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    noise: float = 0.0
    shift: float = 0.0
    mixup: float = 0.0
    dropout: float | None = None
    patience: int = 4
    steps_at_least: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or self.learning_rate <= 0:
            raise ConfigError("a training plan needs epochs >= 1, batch >= 2 and learning_rate > 0")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ConfigError("a training plan's dropout lies in 0 to below 1")

    def with_enough_steps(self, windows: int) -> TrainingPlan:
        """The plan with `epochs` raised until `windows` give `steps_at_least` steps, and `patience` in proportion."""
        epochs = max(self.epochs, -(-self.steps_at_least // max(1, windows // self.batch)))
        return replace(self, epochs=epochs, patience=-(-self.patience * epochs // self.epochs), steps_at_least=0)


@dataclass(frozen=True)
class Validation:
    """Windows that choose the epoch: ``score`` maps their predicted probabilities ``(n, classes)`` to a number, higher is better."""

    values: NDArray[np.float32]
    score: Callable[[NDArray[np.float64]], float]


@dataclass
class History:
    """What happened: mean training loss and validation score per epoch (scores are empty without validation)."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """Index of the epoch whose weights were kept."""
        return int(np.argmax(self.scores)) if self.scores else len(self.losses) - 1


OnEpoch = Callable[[int, History], None]


def soft_targets(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """``(n, classes)`` one-hot rows of hard labels."""
    return np.eye(classes, dtype=np.float32)[labels]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats between target distributions and the softmax of logits, both ``(batch, classes)``."""
    return -(targets * torch.log_softmax(logits, dim=1)).sum(1).mean()


def train(
    network: nn.Module,
    values: NDArray[np.float32],
    targets: NDArray[np.float32],
    plan: TrainingPlan,
    *,
    seed: int,
    validation: Validation | None = None,
    groups: NDArray[np.int64] | None = None,
    device: str = "cpu",
    on_epoch: OnEpoch | None = None,
) -> History:
    """Train `network` in place towards soft targets; with validation, the best epoch's weights are kept.

    Args:
        network: maps ``(batch, channels, samples)`` to logits ``(batch, classes)``.
        values: ``(n, channels, samples)``.
        targets: ``(n, classes)``, rows sum to 1.
        plan: see `TrainingPlan`.
        seed: of order, augmentation and dropout; the global random state is left as it was.
        validation: early stopping.
        groups: ``(n,)`` whom each window belongs to; mixup then mixes windows of different groups only.
        device: a torch device.
        on_epoch: called after each epoch with its index and the history.
    """
    if len(values) < 2:
        raise ConfigError(f"{len(values)} windows can't train a network; at least 2 are needed")
    plan = plan.with_enough_steps(len(values))
    history = History()
    x, y = torch.from_numpy(values).to(device), torch.from_numpy(targets).to(device)
    whose = None if groups is None else torch.from_numpy(groups).to(device)
    network.to(device)
    if plan.dropout is not None:
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = plan.dropout
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    steps = max(1, len(x) // plan.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.learning_rate, total_steps=plan.epochs * steps)
    best: dict[str, Tensor] | None = None
    cuda = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        for epoch in range(plan.epochs):
            network.train()
            total = 0.0
            order = torch.randperm(len(x)).to(device)
            for rows in order.tensor_split(steps):
                batch, target = augment(x[rows], y[rows], plan, None if whose is None else whose[rows])
                loss = soft_cross_entropy(network(batch), target)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                total += loss.item()
            history.losses.append(total / steps)
            if validation:
                history.scores.append(validation.score(predict(network, validation.values)))
                if history.best_epoch == epoch:
                    best = copy.deepcopy(network.state_dict())
            if on_epoch:
                on_epoch(epoch, history)
            if validation and epoch - history.best_epoch >= plan.patience:
                break
    if best is not None:
        network.load_state_dict(best)
    network.eval()
    return history


def augment(x: Tensor, y: Tensor, plan: TrainingPlan, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The plan's label smoothing, noise, shift and mixup, drawn from torch's current random state.

    With `groups` ``(batch,)``, mixup's partners are windows of another group, as long as the batch has any.
    """
    if plan.label_smoothing:
        y = y * (1 - plan.label_smoothing) + plan.label_smoothing / y.shape[1]
    if plan.mixup:
        share = torch.distributions.Beta(plan.mixup, plan.mixup).sample((len(x), 1)).to(x.device)
        other = torch.randperm(len(x), device=x.device) if groups is None else strangers(groups)
        x, y = share[:, :, None] * x + (1 - share[:, :, None]) * x[other], share * y + (1 - share) * y[other]
    if plan.shift:
        x = shifted(x, round(plan.shift * x.shape[-1]))
    if plan.noise:
        x = x + plan.noise * torch.randn_like(x)
    return x, y


def strangers(groups: Tensor) -> Tensor:
    """For each row of a batch, a random row of another group; any row where there is but one group."""
    apart = (groups[:, None] != groups[None, :]).float()
    return torch.multinomial(apart + 1e-9, 1).squeeze(1)


def shifted(x: Tensor, most: int) -> Tensor:
    """Each window ``(batch, channels, samples)`` rolled by its own draw from ``[-most, most]``."""
    by = torch.randint(-most, most + 1, (len(x), 1, 1), device=x.device)
    positions = (torch.arange(x.shape[-1], device=x.device) - by) % x.shape[-1]
    return x.gather(-1, positions.expand_as(x))


@torch.no_grad()
def predict(network: nn.Module, values: NDArray[np.float32], *, batch: int = 1024) -> NDArray[np.float64]:
    """Class probabilities ``(n, classes)`` in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        torch.softmax(network(torch.from_numpy(values[i : i + batch]).to(device)).double(), dim=1).cpu()
        for i in range(0, len(values), batch)
    ]
    return torch.cat(parts).numpy()
