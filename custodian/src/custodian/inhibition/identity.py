"""Identity networks learn the training persons instead of the labels. While a stimulus is excited, `inhibit` drives their answers toward
"nobody in particular".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from custodian.cohort import Cohort, person_shares
from custodian.excitation.objectives import Drive, Objective, Responses
from custodian.excitation.sections import Inhibition, Toward
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.learning.networks import build_network
from stimset.learning.training import History, TrainingPlan, soft_targets, train

IDENTITY_PLAN = TrainingPlan(steps_at_least=400)
IDENTITY_ARCHITECTURES = ("cnn", "tcn", "spectral_mlp")

OnEpoch = Callable[[int, str], None]
Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]


def identity_plans(settings: Inhibition | None = None) -> list[TrainingPlan]:
    """How the networks of each architecture are trained, one plan for each level of noise; None is a recipe that says nothing of it.

    A network that was trained under noise looks at what any network looks at; what fools one that was not fools that one alone. With
    two levels, attackers of any training that was tried are left little; with one, those of another (`shared/adr/0005`, "sturdy
    identity networks").
    """
    settings = settings or Inhibition()
    plan = replace(IDENTITY_PLAN, epochs=settings.epochs, mixup=settings.mixup, shift=settings.shift)
    return [replace(plan, noise=noise) for noise in settings.noise]


def train_identity_networks(
    cohort: Cohort, *, architectures: tuple[str, ...] = IDENTITY_ARCHITECTURES, plans: Sequence[TrainingPlan] | None = None, seed: int = 0,
    device: str = "cpu", also: Labelled | None = None, on_epoch: OnEpoch = lambda epoch, note: None,
) -> list[TrainedNetwork]:  # fmt: skip
    """Networks that tell the training persons apart; output ``i`` is the cohort's ``i``-th training person.

    They are trained with noise and shifts, so that what they recognise is no accident of single samples.

    Args:
        cohort: whose training persons are told apart.
        architectures: one network each for every plan.
        plans: of their training; None takes `identity_plans`.
        seed: of the first; the i-th takes ``seed + i``.
        device: a torch device.
        also: windows ``(n, channels, samples)`` besides the cohort's own, and the person of each as an index into ``person_names``.
        on_epoch: told after each epoch.
    """
    windows, persons = cohort.training, cohort.training_person_indices
    values, whose = windows.values, windows.person
    if also is not None:
        values, whose = np.concatenate([values, also[0]]), np.concatenate([whose, also[1]])
    targets = soft_targets(np.searchsorted(persons, whose), len(persons))
    networks = []
    for i, (plan, architecture) in enumerate(product(plans or identity_plans(), architectures)):
        network = build_network(architecture, windows.spec.channels, windows.spec.samples, len(persons), seed=seed + i)

        def report(epoch: int, history: History, name: str = architecture) -> None:
            on_epoch(epoch + 1, f"identity network {name}: loss {history.losses[-1]:.3f}")

        history = train(network, values, targets, plan, seed=seed + i, device=device, on_epoch=report)
        facts = {"plan": asdict(plan), "seed": seed + i, "loss": history.losses[-1]}
        networks.append(TrainedNetwork(network.cpu(), architecture, windows.spec, len(persons), facts))
    return networks


def expected_persons(cohort: Cohort, toward: Toward) -> NDArray[np.float32]:
    """``(classes, training persons)``: what inhibition drives the answers toward, for each class.

    ``base-rate`` is what the label alone says of the person, so that inhibition does not erase the label; ``uniform`` is any person,
    equally.
    """
    if toward == "uniform":
        persons = cohort.training_persons
        return np.full((cohort.spec.classes, persons), 1 / persons, np.float32)
    return person_shares(cohort.training, cohort.training_person_indices)


def inhibit(weight: float, expected: NDArray[np.float32]) -> Objective:
    """Drive the identity networks' answers toward `expected` ``(classes, persons)``.

    Cost: mean over networks and stimuli of KL(expected for the wanted belief || answer) in nats. It says nothing about networks other
    than these (see `custodian.gate.attacks`).
    """
    table = torch.from_numpy(expected)

    def cost(r: Responses) -> torch.Tensor:
        goal = (r.wanted @ table.to(r.wanted)).clamp_min(1e-6)
        parts = [(goal * (goal.log() - torch.log_softmax(logits, dim=1))).sum(1).mean() for logits in r.identity]
        return torch.stack(parts).mean()

    return Objective((Drive("identity", weight, cost),))
