"""Patient-level differentially private stochastic gradient descent (Abadi et al. 2016; by persons as in McMahan et al. 2018).

In each step persons are drawn in secret; each gives the gradient of the mean loss over a bounded number of their windows, cut down to norm
`CLIP`; the sum gets Gaussian noise. The unit is the person: cutting down each window's gradient, as libraries do, would protect a window,
not the person who has hundreds of them.

The networks have group in the place of batch normalisation, whose running averages no clipping bounds, and no validation person chooses
anything. With a few dozen persons the noise is many times the signal: the guarantee holds, and the teacher is poor. It is for cohorts of
hundreds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from custodian.budget.mechanisms import Mechanism
from custodian.teacher.accounting import mechanism_within, noisy, secret_choice
from custodian.teacher.lessons import Lesson, Taught
from stimset.learning.networks import GROUP_NORM, member_names
from stimset.learning.training import TrainingPlan, augment, soft_cross_entropy, soft_targets
from stimset.windows import Windows

CLIP = 1.0
PERSONS_PER_STEP = 64
"""How many take part in a step on average; smaller cohorts take part as a whole, since sampling would only thin the signal."""


def sampling_rate(persons: int) -> float:
    """The chance at which each of so many persons takes part in a step."""
    return min(1.0, PERSONS_PER_STEP / persons)


def privacy_drawn(lesson: Lesson) -> Mechanism:
    """What a training draws from the cohort's budget; nothing of the cohort is read but the number of persons.

    Raises:
        ConfigError: delta is too large for so few persons, or epsilon can't be reached.
    """
    persons = lesson.cohort.training_persons
    lesson.privacy.check_persons(persons)
    return mechanism_within(lesson.privacy, steps=lesson.plan.epochs, rate=sampling_rate(persons))


def teach_by_noisy_steps(lesson: Lesson) -> Taught:
    """The regime ``dp-sgd``. The plan's epochs are steps here, its batch the most windows of a person in a step.

    Raises:
        ConfigError: delta is too large for so few persons, or epsilon can't be reached.
    """
    training, plan = lesson.cohort.training, lesson.plan
    persons = lesson.cohort.training_person_indices
    draw, rate = privacy_drawn(lesson), sampling_rate(len(persons))
    architecture = "+".join(name.removesuffix(GROUP_NORM) + GROUP_NORM for name in member_names(lesson.architecture))
    network = lesson.built(architecture, lesson.seed).to(lesson.device)
    # Adam only sees noisy gradients, and the mean of the last half of its steps is taken: both cost nothing (post-processing).
    optimiser = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    with torch.random.fork_rng(devices=[torch.device(lesson.device)] if lesson.device.startswith("cuda") else []):
        network.train()
        for step in range(plan.epochs):
            present = persons[secret_choice(len(persons), rate)]
            parts = [gradient_of(network, training, person, plan, (lesson.seed, step)) for person in present]
            summed = sum_of_clipped(parts, _size(network), CLIP)
            _apply(network, torch.from_numpy(noisy(summed.numpy(), draw.noise * CLIP)) / (rate * len(persons)))
            optimiser.step()
            if step >= plan.epochs // 2:
                averaged.update_parameters(network)
            lesson.on_epoch(step + 1, f"{architecture}: {len(present)} persons, noise {draw.noise:.2f}")
    facts = {
        "epsilon": draw.epsilon, "delta": draw.delta, "noise": draw.noise, "clip": CLIP, "steps": plan.epochs, "rate": rate,
    }  # fmt: skip
    network.load_state_dict(averaged.module.state_dict())
    return Taught(network.eval(), architecture, (plan.epochs,), facts)


def gradient_of(network: nn.Module, windows: Windows, person: int, plan: TrainingPlan, seed: tuple[int, int]) -> Tensor:
    """``(parameters,)``: gradient of the mean cross-entropy over at most ``plan.batch`` windows of one person.

    Choice, augmentation and dropout come from a stream of this person and step alone. From a common one, the presence of one person would
    move the draws of all who follow, and so their gradients: more than the noise is made for.
    """
    rng = np.random.default_rng([*seed, person])
    device = next(network.parameters()).device
    rows = np.flatnonzero(windows.person == person)
    rows = rng.choice(rows, min(len(rows), plan.batch), replace=False)
    x = torch.from_numpy(windows.values[rows]).to(device)
    y = torch.from_numpy(soft_targets(windows.labels[rows], windows.spec.classes)).to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63)))
        x, y = augment(x, y, plan)
        loss = soft_cross_entropy(network(x), y)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])


def sum_of_clipped(gradients: list[Tensor], size: int, clip: float) -> Tensor:
    """``(size,)`` float64: the sum of gradients, each cut down to norm `clip`, so that no person adds more than that.

    A gradient that is not finite counts as zero: it would otherwise be told by what becomes of the sum.
    """
    total = torch.zeros(size, dtype=torch.float64)
    for gradient in gradients:
        g = gradient.double().cpu()
        norm = float(g.norm())
        if np.isfinite(norm):
            total += g * min(1.0, clip / max(norm, 1e-12))
    return total


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _apply(network: nn.Module, gradient: Tensor) -> None:
    """Hand a flat gradient to the parameters."""
    place = 0
    for parameter in network.parameters():
        part = gradient[place : place + parameter.numel()]
        parameter.grad = part.reshape(parameter.shape).to(parameter)
        place += parameter.numel()
