"""Inhibition of membership: keep stimuli from telling what the teacher remembers of single patients.

References are small teachers, each trained without a random part of the persons. Where they and the teacher believe the same, the belief
is due to the many; where the teacher alone is sure, it may be due to one. That is the calibration by reference models of membership attacks
(N. Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022), turned into a defence. It lowers what an attack by
likelihood ratios finds and promises no bound; that would take noise (PATE, DP-SGD).
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import torch
from torch import Tensor

from custodian.cohort import Cohort
from custodian.excitation.objectives import Drive, Objective, Responses
from custodian.excitation.sections import Membership
from custodian.inhibition.identity import OnEpoch
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.training import TEACHER_PLAN
from stimset.errors import ConfigError
from stimset.learning.networks import build_network
from stimset.learning.training import History, soft_targets, train


def train_references(
    cohort: Cohort, settings: Membership, *, seed: int, device: str = "cpu", on_epoch: OnEpoch = lambda epoch, note: None
) -> list[TrainedNetwork]:
    """Small teachers, each on its own random part of the training persons (`parts`).

    Args:
        cohort: whose training persons.
        settings: how many references, on which share of the persons, of which architecture.
        seed: of the parts and of the first network; the i-th takes ``seed + i``.
        device: a torch device.
        on_epoch: told after each epoch.

    Raises:
        ConfigError: too few persons for parts of this share.
    """
    spec, training = cohort.spec, cohort.training
    networks = []
    for i, persons in enumerate(parts(cohort.training_person_indices.tolist(), settings, seed)):
        windows = training.of_persons(persons)
        network = build_network(settings.architecture, spec.channels, spec.samples, spec.classes, seed=seed + i)

        def report(epoch: int, history: History, number: int = i) -> None:
            on_epoch(epoch + 1, f"reference {number + 1}: loss {history.losses[-1]:.3f}")

        # No validation persons: a stop that looked at them would tie all references to the same few.
        plan = replace(TEACHER_PLAN, epochs=settings.epochs, steps_at_least=min(TEACHER_PLAN.steps_at_least, 100 * settings.epochs))
        targets = soft_targets(windows.labels, spec.classes)
        history = train(network, windows.values, targets, plan, seed=seed + i, device=device, on_epoch=report)
        facts = {"plan": asdict(plan), "seed": seed + i, "loss": history.losses[-1], "persons": len(persons)}
        networks.append(TrainedNetwork(network.cpu(), settings.architecture, spec, spec.classes, facts))
    return networks


def parts(persons: list[int], settings: Membership, seed: int) -> list[tuple[int, ...]]:
    """The persons of each reference, ascending; each has the same number, and each person stands in about the same number of them.

    In a random order of the persons, each part is a run of neighbours, and the runs begin at even distances around it.

    Raises:
        ConfigError: too few persons.
    """
    size = round(settings.share * len(persons))
    if not 1 <= size < len(persons):
        raise ConfigError(
            f"{len(persons)} training persons can't be split into references on a share of {settings.share}; change 'share' in [membership]"
        )
    order = np.random.default_rng(seed).permutation(persons)
    first = [round(i * len(persons) / settings.references) for i in range(settings.references)]
    return [tuple(sorted(int(p) for p in np.roll(order, -start)[:size])) for start in first]


def reference_belief(references: tuple[Tensor, ...]) -> Tensor:
    """Mean belief ``(batch, classes)`` of references that answered with these logits."""
    return torch.stack([torch.softmax(logits, dim=1) for logits in references]).mean(0)


def forget(weight: float = 1.0) -> Objective:
    """Drive stimuli to where the teacher believes what teachers without some of the persons believe.

    Cost: mean KL(mean belief of the references || teacher's belief) in nats: 0 where nothing depends on who was trained on.
    """

    def cost(r: Responses) -> Tensor:
        common = reference_belief(r.references).clamp_min(1e-6)
        return (common * (common.log() - torch.log_softmax(r.logits, dim=1))).sum(1).mean()

    return Objective((Drive("forget", weight, cost),))
