"""Federated averaging (B. McMahan et al., AISTATS 2017): a site's round, and the mean over sites.

Both the processes that Flower connects and the shadow worlds, which need no network, run these very functions; that Flower's mean is
this one is held by a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from stimset.learning.networks import build_network
from stimset.learning.training import TrainingPlan, soft_targets, train

ARCHITECTURE = "cnn"
LOCAL_PLAN = TrainingPlan(epochs=2, batch=64, label_smoothing=0.05, noise=0.1, shift=0.05)
"""Of one site in one round."""

FINAL = "final.npz"
"""The last weights, in the folder that the server and this process share."""

Weights = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """What all sites agree on.

    Attributes:
        channels, samples: of a window.
        classes: how many.
        rounds: of averaging.
        seed: of first weights, order and augmentation.
    """

    channels: int
    samples: int
    classes: int
    rounds: int
    seed: int

    def network(self) -> nn.Module:
        """The network before training."""
        return build_network(ARCHITECTURE, self.channels, self.samples, self.classes, seed=self.seed)

    def first(self) -> Weights:
        """The weights that the first round starts from."""
        return weights_of(self.network())

    def taught(self, weights: Weights, values: NDArray[np.float32], labels: NDArray[np.int64], site: int, number: int) -> Weights:
        """A site's round: the weights after `LOCAL_PLAN` on its own windows.

        Args:
            weights: of the round's beginning.
            values: ``(n, channels, samples)``.
            labels: ``(n,)``.
            site: its number; each site shuffles in its own way.
            number: of the round, from 1.
        """
        network = with_weights(self.network(), weights)
        seed = int(np.random.default_rng([self.seed, site, number]).integers(2**31))
        train(network, values, soft_targets(labels, self.classes), LOCAL_PLAN, seed=seed)
        return weights_of(network)


def federate(task: Task, sites: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> nn.Module:
    """All rounds in this process: what Flower computes, without its messages.

    Args:
        task: see `Task`.
        sites: each one's windows and labels.
    """
    weights = task.first()
    for number in range(1, task.rounds + 1):
        weights = mean([(task.taught(weights, *data, site, number), len(data[1])) for site, data in enumerate(sites)])
    return with_weights(task.network(), weights).eval()


def mean(parts: Sequence[tuple[Weights, int]]) -> Weights:
    """The mean of weights, each counted by its number of windows."""
    whole = sum(count for _, count in parts)
    scaled = [[layer * np.float32(count / whole) for layer in weights] for weights, count in parts]
    return [np.sum(layers, axis=0, dtype=np.float32) for layers in zip(*scaled, strict=True)]


def weights_of(network: nn.Module) -> Weights:
    """Parameters and running statistics, in order; counters are left at home, for a mean of them means nothing."""
    return [tensor.detach().cpu().numpy().copy() for tensor in _averaged(network).values()]


def with_weights(network: nn.Module, weights: Weights) -> nn.Module:
    """The network with these weights in place of its own."""
    named = zip(_averaged(network), weights, strict=True)
    network.load_state_dict({name: torch.from_numpy(layer) for name, layer in named}, strict=False)
    return network


def _averaged(network: nn.Module) -> dict[str, Any]:
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
