"""The one batched loop: gradient ascent on stimuli, whatever the objective.

No per-step host synchronisation: nothing is read back from the device until the batch is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from custodian.excitation.objectives import Objective, Responses


def ascend(
    start: Tensor, wanted: Tensor, objective: Objective, teacher: nn.Module, identity: Sequence[nn.Module] = (), *, steps: int,
    learning_rate: float, clip: float,
) -> Tensor:  # fmt: skip
    """Follow the objective's gradient from `start`.

    Args:
        start: ``(batch, channels, samples)``.
        wanted: ``(batch, classes)``: the belief that each stimulus should evoke.
        objective: what is minimised; see `custodian.excitation.objectives`.
        teacher: maps stimuli to logits ``(batch, classes)``; must be in evaluation mode.
        identity: networks with logits ``(batch, persons)``, likewise.
        steps: of Adam; 0 returns the start.
        learning_rate: in normalised units per step.
        clip: stimuli are held within ``[-clip, clip]``.

    Returns:
        Stimuli ``(batch, channels, samples)``. Adam works element by element and no cost couples two stimuli, so each result
        depends on its own start alone.
    """
    stimuli = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([stimuli], lr=learning_rate)
    for _ in range(steps):
        responses = Responses(stimuli, start, wanted, teacher(stimuli), tuple(network(stimuli) for network in identity))
        # Summed over the batch, so that a stimulus's gradient does not shrink as the batch grows (Adam's epsilon would notice).
        cost = objective(responses)[0] * len(start)
        optimiser.zero_grad(set_to_none=True)
        cost.backward(inputs=[stimuli])  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            stimuli.clamp_(-clip, clip)
    return stimuli.detach()
