"""What every regime needs of a training: whom it learns from, how a member is trained, and what is reported on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from custodian.cohort import Cohort
from custodian.teacher.accounting import PrivacyTarget
from stimset.learning.networks import Ensemble, build_network, member_names
from stimset.learning.training import History, TrainingPlan, Validation, soft_targets, train
from stimset.metrics import cohen_kappa
from stimset.windows import Windows

OnEpoch = Callable[[int, str], None]


def unwatched(epoch: int, note: str) -> None:
    """Nobody watches the epochs."""


@dataclass(frozen=True)
class Lesson:
    """One training of a teacher.

    Attributes:
        cohort: whose training persons teach; its validation persons choose epochs.
        architecture: networks, several joined by ``+``.
        plan: how each network is trained.
        privacy: what the regimes with a guarantee keep to.
        seed: of first weights, order and augmentation; the noise of a guarantee owes it nothing.
        device: a torch device.
        on_epoch: told the epoch, from 1 in each network's training, and a line about it.
    """

    cohort: Cohort
    architecture: str
    plan: TrainingPlan
    privacy: PrivacyTarget
    seed: int
    device: str
    on_epoch: OnEpoch = unwatched

    def kappa(self, probabilities: NDArray[np.float64]) -> float:
        """Cohen's kappa of predictions on the validation persons' windows; 0 where it is not defined."""
        validation = self.cohort.validation
        return cohen_kappa(validation.labels, probabilities.argmax(1), self.cohort.spec.classes) or 0.0

    def built(self, architecture: str, seed: int) -> nn.Module:
        """An untrained network for the cohort's windows."""
        spec = self.cohort.spec
        return build_network(architecture, spec.channels, spec.samples, spec.classes, seed=seed)

    def taught(self, windows: Windows, seed: int, *, title: str = "", validated: bool = True) -> Taught:
        """The architecture's members, one after another, each trained on these windows.

        Args:
            windows: of training persons.
            seed: of the first member; the i-th takes ``seed + i``.
            title: before each line of progress.
            validated: each member stops at its own best epoch on the validation persons; else all epochs are gone through, and the
                validation persons leave no trace.
        """
        validation, classes = self.cohort.validation, self.cohort.spec.classes
        targets = soft_targets(windows.labels, classes)
        # Mixup across persons: no mixture is a single patient's.
        persons = windows.person if self.plan.mixup else None
        network = self.built(self.architecture, seed)
        epochs = []
        for i, (name, member) in enumerate(zip(member_names(self.architecture), members(network), strict=True)):

            def report(epoch: int, history: History, name: str = name) -> None:
                score = f"  validation kappa {history.scores[-1]:.3f}" if history.scores else ""
                self.on_epoch(epoch + 1, f"{title}{name}: loss {history.losses[-1]:.3f}{score}")

            history = train(
                member, windows.values, targets, self.plan, seed=seed + i, device=self.device, groups=persons,
                validation=Validation(validation.values, self.kappa) if validated else None, on_epoch=report,
            )  # fmt: skip
            epochs.append(history.best_epoch + 1)
        return Taught(network.eval(), self.architecture, tuple(epochs))

    def planned_rounds(self, windows: int) -> list[int]:
        """Epochs at most of each member's training on so many windows."""
        return [self.plan.with_enough_steps(windows).epochs] * len(member_names(self.architecture))


@dataclass(frozen=True)
class Taught:
    """A trained network.

    Attributes:
        network: in evaluation mode.
        architecture: what rebuilds it.
        epochs: that each member's weights come from.
        facts: what the regime adds for the provenance; it says nothing of single persons.
    """

    network: nn.Module
    architecture: str
    epochs: tuple[int, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def members(network: nn.Module) -> list[nn.Module]:
    """The members of an ensemble, or the one network."""
    return list(network.members) if isinstance(network, Ensemble) else [network]


def joined(teachers: Sequence[Taught]) -> Taught:
    """One teacher that believes what several believe on average."""
    network = Ensemble([member for teacher in teachers for member in members(teacher.network)])
    epochs = tuple(epoch for teacher in teachers for epoch in teacher.epochs)
    return Taught(network.eval(), "+".join(teacher.architecture for teacher in teachers), epochs)
