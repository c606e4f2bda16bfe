"""What one shard of stimuli is made of; no shard needs another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import nn

from custodian.excitation.ascent import ascend
from custodian.excitation.generator import generate
from custodian.excitation.objectives import Objective
from custodian.excitation.priors import Prior
from custodian.excitation.recipe import Recipe
from stimset.errors import ConfigError
from stimset.learning.training import predict
from stimset.windows import WindowSpec

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Excitation:
    """Everything that shards are made from; no shard needs another.

    Attributes:
        recipe: how.
        spec: what the stimuli imitate.
        teacher: in evaluation mode, without gradients of its own.
        identity: identity networks, likewise; empty without inhibition.
        prior: what the ascent starts from; None for the generator.
        objective: what the ascent climbs; empty without steps.
        seed: of everything.
        batch: stimuli at once: memory, not results to more than rounding.
        device: a torch device.
    """

    recipe: Recipe
    spec: WindowSpec
    teacher: nn.Module
    identity: Sequence[nn.Module]
    prior: Prior | None
    objective: Objective
    seed: int
    batch: int
    device: str

    def shard(self, number: int, count: int, on_progress: OnProgress) -> bytes:
        """The safetensors bytes of one shard of ``count`` stimuli."""
        rng = np.random.default_rng([self.seed, number])
        values = (
            self._generated(count, rng, on_progress) if self.prior is None else self._ascended(count, rng, on_progress)
        )
        probabilities = predict(self.teacher, values).astype(np.float32)
        # safetensors writes memory as it lies; a transposed array would come back scrambled.
        return save({"values": np.ascontiguousarray(values), "probabilities": np.ascontiguousarray(probabilities)})

    def _generated(self, count: int, rng: np.random.Generator, on_progress: OnProgress) -> NDArray[np.float32]:
        return generate(
            self.recipe.generator, self.spec, self.teacher, count, rng, device=self.device, on_stimulus=on_progress
        )

    def _ascended(self, count: int, rng: np.random.Generator, on_progress: OnProgress) -> NDArray[np.float32]:
        if self.prior is None:
            raise ConfigError(f"recipe '{self.recipe.name}' has no prior to start from")
        start, classes = self.prior.sample(count, rng)
        if self.recipe.belief.source == "own":
            wanted = predict(self.teacher, start).astype(np.float32)
        else:
            wanted = wanted_beliefs(self.recipe, classes, self.spec.classes, rng)
        ascent = self.recipe.ascent
        made = []
        for i in range(0, count, self.batch):
            first, belief = (torch.from_numpy(a[i : i + self.batch]).to(self.device) for a in (start, wanted))
            stimuli = ascend(
                first, belief, self.objective, self.teacher, self.identity, steps=ascent.steps, learning_rate=ascent.learning_rate,
                clip=self.spec.clip,
            )  # fmt: skip
            made.append(stimuli.cpu().numpy())
            on_progress(min(count, i + self.batch))
        return np.concatenate(made)


def wanted_beliefs(recipe: Recipe, classes: NDArray[np.int64], k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """``(n, k)`` beliefs drawn from a Dirichlet distribution around each start's class."""
    alpha = np.full((k, k), recipe.belief.others / (k - 1)) + np.eye(k) * (
        recipe.belief.own - recipe.belief.others / (k - 1)
    )
    gamma = rng.standard_gamma(alpha[classes]) + 1e-12
    return (gamma / gamma.sum(1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]
