"""What excitation climbs: objectives are values that add and scale, and the loop knows none of them.

Usage::

    objective = excite_belief(1.0) + 0.5 * stay_near() + inhibit(0.5, shares)    # inhibit: custodian.inhibition
    cost, parts = objective(responses)      # scalar, and each part by name

Every cost is a mean over the batch, and no stimulus's cost depends on another's: a set made in batches of 10 equals a set made in
batches of 1,000.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Responses:
    """What the networks answer to a batch of stimuli.

    Attributes:
        stimuli: ``(batch, channels, samples)``, the leaf of the gradient.
        start: the same shape: where the ascent began.
        wanted: ``(batch, classes)``: the belief that each stimulus should evoke.
        logits: ``(batch, classes)`` of the teacher.
        identity: logits ``(batch, persons)`` of each identity network.
    """

    stimuli: Tensor
    start: Tensor
    wanted: Tensor
    logits: Tensor
    identity: tuple[Tensor, ...] = ()


Cost = Callable[[Responses], Tensor]


@dataclass(frozen=True)
class Drive:
    """One term: its name in reports, its weight, and its cost per batch."""

    name: str
    weight: float
    cost: Cost


@dataclass(frozen=True)
class Objective:
    """A sum of drives."""

    drives: tuple[Drive, ...]

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.drives + other.drives)

    def __rmul__(self, factor: float) -> Objective:
        return Objective(tuple(Drive(d.name, factor * d.weight, d.cost) for d in self.drives))

    def __call__(self, responses: Responses) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each weighted part by its name."""
        parts = {d.name: d.weight * d.cost(responses) for d in self.drives}
        return torch.stack(list(parts.values())).sum(), parts


def excite_belief(weight: float = 1.0) -> Objective:
    """Drive the teacher's belief to the wanted distribution.

    Cost: mean KL(wanted || belief) in nats; 0 where the teacher believes exactly what is wanted. Targets drawn from a Beta or
    Dirichlet distribution, as here, are due to zero-shot knowledge distillation (Nayak et al., ICML 2019).
    """

    def cost(r: Responses) -> Tensor:
        wanted = r.wanted.clamp_min(1e-6)
        return (wanted * (wanted.log() - torch.log_softmax(r.logits, dim=1))).sum(1).mean()

    return Objective((Drive("belief", weight, cost),))


def stay_near(weight: float = 1.0) -> Objective:
    """Keep a stimulus near the prior's draw: what lies far from the data's statistics teaches unlike students nothing.

    Cost: mean squared distance to the start, in squared normalised units per sample.
    """
    return Objective((Drive("near", weight, lambda r: (r.stimuli - r.start).square().mean()),))
