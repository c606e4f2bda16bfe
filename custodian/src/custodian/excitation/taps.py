"""Look inside a network while it answers: what enters or leaves its layers, by forward hooks that never outlive the look.

Usage::

    with tapped(teacher, [Tap("blocks.0.1", "input")]) as seen:
        teacher(stimuli)
    seen[Tap("blocks.0.1", "input")]        # (batch, channels, time)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stimset.errors import ConfigError
from stimset.learning.networks import Ensemble


@dataclass(frozen=True)
class Tap:
    """One side of one layer, by its name in ``network.named_modules()``."""

    layer: str
    side: Literal["input", "output"] = "output"


@contextmanager
def tapped(network: nn.Module, taps: Iterable[Tap]) -> Iterator[dict[Tap, Tensor]]:
    """What passed the taps in the network's latest answer.

    Raises:
        ConfigError: the network has no such layer.
    """
    modules, seen, handles = dict(network.named_modules()), dict[Tap, Tensor](), []
    try:
        for tap in set(taps):
            if tap.layer not in modules or not tap.layer:
                known = ", ".join(name for name in modules if name)
                raise ConfigError(f"the teacher has no layer '{tap.layer}'; it has {known}")

            def before(_: nn.Module, inputs: Any, tap: Tap = tap) -> None:
                seen[tap] = inputs[0]

            def after(_: nn.Module, inputs: Any, output: Any, tap: Tap = tap) -> None:
                seen[tap] = output[0] if isinstance(output, tuple) else output

            module = modules[tap.layer]
            handles.append(
                module.register_forward_pre_hook(before) if tap.side == "input" else module.register_forward_hook(after)
            )
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def member_taps(network: nn.Module) -> list[Tap]:
    """The answers of an ensemble's members; empty for a single network."""
    return [Tap(f"members.{i}") for i in range(len(network.members))] if isinstance(network, Ensemble) else []


def embedding_taps(network: nn.Module) -> list[Tap]:
    """What enters the last linear layer, of each member: the network's own description of a stimulus.

    Raises:
        ConfigError: the network has no linear layer.
    """
    members = enumerate(network.members) if isinstance(network, Ensemble) else None
    parts = [(f"members.{i}.", m) for i, m in members] if members else [("", network)]
    found = []
    for prefix, part in parts:
        linear = [name for name, module in part.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ConfigError("the teacher has no linear layer whose input could describe a stimulus")
        found.append(Tap(prefix + linear[-1], "input"))
    return found


def batch_norm_moments(network: nn.Module) -> dict[Tap, tuple[Tensor, Tensor]]:
    """Running mean and variance of what enters each BatchNorm layer.

    Raises:
        ConfigError: there is no such layer.
    """
    found = {
        Tap(name, "input"): (module.running_mean, module.running_var)
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None
    }
    if not found:
        raise ConfigError("the teacher has no BatchNorm layer; name others in [features] layers, or set the weight 'features' to 0")
    return found


@torch.no_grad()
def look(network: nn.Module, taps: list[Tap], values: NDArray[np.float32], *, batch: int = 1024) -> Iterator[list[Tensor]]:
    """What passes each of the taps, batch after batch of ``values`` ``(n, channels, samples)``."""
    device = next(network.parameters()).device
    with tapped(network, taps) as seen:
        for i in range(0, len(values), batch):
            network(torch.from_numpy(values[i : i + batch]).to(device))
            yield [seen[tap] for tap in taps]


def embed(network: nn.Module, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(n, features)``: the embedding of each stimulus ``(n, channels, samples)``, all members' side by side."""
    parts = [torch.cat([x.flatten(1) for x in found], 1).cpu().numpy() for found in look(network, embedding_taps(network), values)]
    return np.concatenate(parts)
