"""The beliefs that stimuli should evoke, as a recipe's ``[belief]`` asks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from custodian.excitation.sections import Belief
from custodian.excitation.taps import embedding_taps
from stimset.learning.training import predict

Beliefs = NDArray[np.float32]
LEAST_CONCENTRATION = 0.05
"""Of the most unlike classes; at 0 there would be no Dirichlet distribution."""


def paired(start: NDArray[np.float32], classes: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Every second start and its class twice: both sides of a border are sought from one place."""
    twice = np.repeat(np.arange(0, len(start), 2), 2)[: len(start)]
    return start[twice], classes[twice]


def wanted_beliefs(
    settings: Belief, teacher: nn.Module, start: NDArray[np.float32], classes: NDArray[np.int64], k: int, rng: np.random.Generator
) -> Beliefs:
    """``(n, k)``: what each stimulus should make the teacher believe.

    Args:
        settings: which beliefs.
        teacher: whose own belief of the start counts for ``own`` and ``boundary``, whose last layer for ``similarity``.
        start: ``(n, channels, samples)``; for ``boundary`` as `paired` left it.
        classes: ``(n,)``: the class that each start was drawn for.
        k: classes in all.
        rng: draws the Dirichlet distributions.
    """
    if settings.source == "own":
        return predict(teacher, start).astype(np.float32)
    if settings.source == "class":
        return np.eye(k, dtype=np.float32)[classes]
    if settings.source == "boundary":
        return _either_side(predict(teacher, start), settings.margin)
    if settings.source == "similarity":
        return _dirichlet(settings.own * np.maximum(class_similarity(teacher), LEAST_CONCENTRATION)[classes], rng)
    others = settings.others / (k - 1)
    return _dirichlet((np.full((k, k), others) + np.eye(k) * (settings.own - others))[classes], rng)


def class_similarity(teacher: nn.Module) -> NDArray[np.float64]:
    """``(classes, classes)`` in 0 to 1: how alike the teacher thinks two classes; each row is stretched from its least to its most alike.

    Cosines between the rows of the last linear layer's weights, whose spread over a row is the concentration of that class's Dirichlet
    distribution: G. K. Nayak et al., "Zero-Shot Knowledge Distillation in Deep Networks", ICML 2019. Mean over an ensemble's members.
    """
    modules = dict(teacher.named_modules())
    cosines = []
    for tap in embedding_taps(teacher):
        weight = torch.as_tensor(modules[tap.layer].weight).detach().double().cpu()
        unit = torch.nn.functional.normalize(weight, dim=1)
        cosines.append((unit @ unit.T).numpy())
    mean = np.mean(cosines, axis=0)
    least = mean.min(1, keepdims=True)
    return np.asarray((mean - least) / np.maximum(mean.max(1, keepdims=True) - least, 1e-9))


def _either_side(belief: NDArray[np.float64], margin: float) -> Beliefs:
    """Even rows lean to the likeliest class by `margin`, odd ones to the second; the other classes get nothing.

    Pairs beside the border tell a student where it runs: B. Heo et al., "Knowledge Distillation with Adversarial Samples Supporting
    Decision Boundary", AAAI 2019.
    """
    rows = np.arange(len(belief))
    first, second = np.argsort(-belief, axis=1, kind="stable")[:, :2].T
    lean = np.where(rows % 2 == 0, 0.5 + margin, 0.5 - margin)
    wanted = np.zeros(belief.shape, np.float32)
    wanted[rows, first], wanted[rows, second] = lean, 1 - lean
    return wanted


def _dirichlet(alpha: NDArray[np.float64], rng: np.random.Generator) -> Beliefs:
    """One draw per row of parameters ``(n, k)``."""
    gamma = rng.standard_gamma(alpha) + 1e-12
    return (gamma / gamma.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]
