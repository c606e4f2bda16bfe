"""The one batched loop: gradient ascent on stimuli, whatever the objective.

No per-step host synchronisation: nothing is read back from the device until the batch is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from custodian.excitation.acceleration import EXACT, Acceleration
from custodian.excitation.objectives import Objective, Responses
from custodian.excitation.parametrisations import Parametrisation, Time
from custodian.excitation.taps import tapped

IN_TIME = Time()


def ascend(
    start: Tensor, wanted: Tensor, objective: Objective, teacher: nn.Module, identity: Sequence[nn.Module] = (),
    references: Sequence[nn.Module] = (), *, steps: int, learning_rate: float, clip: float, parametrisation: Parametrisation = IN_TIME,
    acceleration: Acceleration = EXACT,
) -> Tensor:  # fmt: skip
    """Follow the objective's gradient from `start`.

    Args:
        start: ``(batch, channels, samples)``.
        wanted: ``(batch, classes)``: the belief that each stimulus should evoke.
        objective: what is minimised; see `custodian.excitation.objectives`.
        teacher: maps stimuli to logits ``(batch, classes)``; must be in evaluation mode.
        identity: networks with logits ``(batch, persons)``, likewise.
        references: networks with logits ``(batch, classes)``, likewise.
        steps: of Adam; 0 returns the start.
        learning_rate: in normalised units per step.
        clip: stimuli are held within ``[-clip, clip]``.
        parametrisation: the coordinates that are stepped.
        acceleration: how the networks are asked.

    Returns:
        Stimuli ``(batch, channels, samples)``. Adam works element by element, so each result depends on its own start alone, or, with an
        objective that couples them, on those of its group.
    """
    if steps == 0:
        return start.clone()
    leaf = parametrisation.encode(start).requires_grad_(True)
    optimiser = torch.optim.Adam([leaf], lr=learning_rate)
    with tapped(teacher, objective.taps) as seen:
        for _ in range(steps):
            stimuli = parametrisation.decode(leaf)
            responses = Responses(
                stimuli, start, wanted, acceleration.ask(teacher, stimuli),
                tuple(acceleration.ask(network, stimuli) for network in identity),
                tuple(acceleration.ask(network, stimuli) for network in references), seen,
            )  # fmt: skip
            # Summed over the batch, so that a stimulus's gradient does not shrink as the batch grows (Adam's epsilon would notice).
            cost = objective(responses)[0] * len(start)
            optimiser.zero_grad(set_to_none=True)
            cost.backward(inputs=[leaf])  # type: ignore[no-untyped-call]
            optimiser.step()
            with torch.no_grad():
                _hold(leaf, parametrisation, clip)
    with torch.no_grad():
        return parametrisation.decode(leaf).detach().clamp_(-clip, clip)


def _hold(leaf: Tensor, parametrisation: Parametrisation, clip: float) -> None:
    """Bring the coordinates back to those of stimuli within the bounds."""
    if isinstance(parametrisation, Time):
        leaf.clamp_(-clip, clip)
    else:
        leaf.copy_(parametrisation.encode(parametrisation.decode(leaf).clamp_(-clip, clip)))
