"""Drives on what the teacher, and the members of an ensemble, believe."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from custodian.excitation.objectives.core import Drive, Objective, Responses
from custodian.excitation.taps import Tap


def excite_belief(weight: float = 1.0, *, temperature: float = 1.0) -> Objective:
    """Drive the teacher's belief to the wanted distribution.

    Cost: mean KL(wanted || belief at the temperature) in nats; 0 where the teacher believes exactly what is wanted. For a certain class it
    is the cross-entropy to it. Targets drawn from a Beta or Dirichlet distribution, and the temperature, are due to zero-shot knowledge
    distillation (G. K. Nayak et al., ICML 2019).
    """

    def cost(r: Responses) -> Tensor:
        wanted = r.wanted.clamp_min(1e-6)
        return (wanted * (wanted.log() - torch.log_softmax(r.logits / temperature, dim=1))).sum(1).mean()

    return Objective((Drive("belief", weight, cost),))


def agree(weight: float, members: Sequence[Tap]) -> Objective:
    """Drive stimuli to where the members of an ensemble believe the same: what only one architecture sees is left out.

    Cost: mean Jensen-Shannon divergence of the members' beliefs in nats, between 0 and log(members). Several teachers against
    architecture dependence: S. Shao et al., "Generalized Large-Scale Data Condensation via Various Backbone and Statistical Matching"
    (G-VBSM), CVPR 2024.

    Args:
        weight: of the drive.
        members: where the members' logits ``(batch, classes)`` come by (`custodian.excitation.taps.member_taps`).
    """
    return Objective((Drive("agreement", weight, lambda r: _divergence(r, members), tuple(members)),))


def disagree(weight: float, members: Sequence[Tap]) -> Objective:
    """Drive stimuli to where the members disagree: the opposite of `agree`.

    Stimuli on which two networks differ teach most (P. Micaelli, A. Storkey, "Zero-shot Knowledge Transfer via Adversarial Belief
    Matching", NeurIPS 2019). There the student is one of the two; a custodian has no student of a partner's, so an ensemble's members
    stand in.
    """
    return Objective((Drive("disagreement", weight, lambda r: -_divergence(r, members), tuple(members)),))


def _divergence(r: Responses, members: Sequence[Tap]) -> Tensor:
    answers = torch.stack([torch.log_softmax(r.features[tap], dim=1) for tap in members])
    mean = torch.logsumexp(answers, 0) - math.log(len(members))
    return (answers.exp() * (answers - mean)).sum(-1).mean()
