"""Drives and their sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from custodian.excitation.taps import Tap


@dataclass(frozen=True)
class Responses:
    """What the networks answer to a batch of stimuli.

    Attributes:
        stimuli: ``(batch, channels, samples)``, through which gradients flow.
        start: the same shape: where the ascent began.
        wanted: ``(batch, classes)``: the belief that each stimulus should evoke.
        logits: ``(batch, classes)`` of the teacher.
        identity: logits ``(batch, persons)`` of each identity network.
        references: logits ``(batch, classes)`` of each reference.
        features: what passed the teacher's taps that the objective named.
    """

    stimuli: Tensor
    start: Tensor
    wanted: Tensor
    logits: Tensor
    identity: tuple[Tensor, ...] = ()
    references: tuple[Tensor, ...] = ()
    features: Mapping[Tap, Tensor] = field(default_factory=dict)


Cost = Callable[[Responses], Tensor]


@dataclass(frozen=True)
class Drive:
    """One term: its name in reports, its weight, its cost per batch, and where inside the teacher it looks."""

    name: str
    weight: float
    cost: Cost
    taps: tuple[Tap, ...] = ()


@dataclass(frozen=True)
class Objective:
    """A sum of drives."""

    drives: tuple[Drive, ...]

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.drives + other.drives)

    def __rmul__(self, factor: float) -> Objective:
        return Objective(tuple(replace(d, weight=factor * d.weight) for d in self.drives))

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Where the drives look inside the teacher, each place once."""
        return tuple(dict.fromkeys(tap for drive in self.drives for tap in drive.taps))

    def __call__(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each weighted part by its name."""
        parts = {d.name: d.weight * d.cost(responses) for d in self.drives}
        return torch.stack(list(parts.values())).sum(), parts
