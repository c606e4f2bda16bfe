"""Drives on the teacher's layers; both look at a group of stimuli at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from custodian.excitation.objectives.core import Drive, Objective, Responses
from custodian.excitation.taps import Tap

Moments = tuple[Tensor, Tensor]


def match_features(weight: float, targets: Mapping[Tap, Moments], *, group: int) -> Objective:
    """Drive the statistics of the teacher's layers to those that the data had.

    Cost: per group of consecutive stimuli, the sum over layers of ``||mean - target|| + ||variance - target||``, over stimuli and time;
    mean over groups. With the running statistics of BatchNorm layers it is H. Yin et al., "Dreaming to Distill: Data-free Knowledge
    Transfer via DeepInversion", CVPR 2020; with others, the statistics must have been measured (`custodian.excitation.readings`).

    Args:
        weight: of the drive.
        targets: mean and variance ``(features,)`` of each tap; features lie on axis 1 of what passes it.
        group: stimuli whose statistics are taken together; a last, smaller group counts by its size.
    """
    where = tuple(targets)

    def cost(r: Responses) -> Tensor:
        parts = [_mismatch(values, *targets[tap], group) for tap, values in ((tap, r.features[tap]) for tap in where)]
        return torch.stack(parts).sum()

    return Objective((Drive("features", weight, cost, where),))


def spread(weight: float, embedding: Sequence[Tap], *, group: int, temperature: float = 0.2) -> Objective:
    """Drive the stimuli of a group apart in the teacher's eyes.

    Cost: mean over stimuli of ``log mean exp(cosine / temperature)`` over the others of the group: the repelling half of contrastive
    learning, as G. Fang et al., "Contrastive Model Inversion for Data-Free Knowledge Distillation", IJCAI 2021, hold synthetic samples
    apart (without their memory bank and trained projection). A stimulus alone in its group costs nothing.

    Args:
        weight: of the drive.
        embedding: where the teacher's description of a stimulus comes by (`custodian.excitation.taps.embedding_taps`).
        group: consecutive stimuli that are held apart.
        temperature: small values look at the nearest neighbours only.
    """
    where = tuple(embedding)

    def cost(r: Responses) -> Tensor:
        described = torch.cat([r.features[tap].flatten(1) for tap in where], 1)
        total = described.new_zeros(())
        for members in torch.split(torch.nn.functional.normalize(described, dim=1), group):
            n = len(members)
            if n > 1:
                itself = torch.eye(n, dtype=torch.bool, device=members.device)
                alike = (members @ members.T / temperature).masked_fill(itself, -torch.inf)
                total = total + (torch.logsumexp(alike, 1) - math.log(n - 1)).sum()
        return total / len(described)

    return Objective((Drive("diversity", weight, cost, where),))


def _mismatch(values: Tensor, mean: Tensor, variance: Tensor, group: int) -> Tensor:
    """Mean over groups, by size, of the distance between a layer's statistics and the targets."""
    total = values.new_zeros(())
    mean, variance = mean.to(values), variance.to(values)
    for members in torch.split(values, group):
        rows = members.transpose(0, 1).flatten(1)  # (features, stimuli x time)
        total = total + len(members) * (_norm(rows.mean(1) - mean) + _norm(rows.var(1, unbiased=False) - variance))
    return total / len(values)


def _norm(vector: Tensor) -> Tensor:
    """Length of a vector; the small number keeps the gradient finite at 0."""
    return (vector.square().sum() + 1e-12).sqrt()
