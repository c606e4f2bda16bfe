"""What one shard of stimuli is made of; no shard needs another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save
from torch import nn

from custodian.excitation.acceleration import Acceleration
from custodian.excitation.acceptance import Quantiles, Selection
from custodian.excitation.ascent import ascend
from custodian.excitation.beliefs import paired, wanted_beliefs
from custodian.excitation.generator import generate
from custodian.excitation.objectives import Objective
from custodian.excitation.parametrisations import parametrisation_of
from custodian.excitation.pool import least_identifying
from custodian.excitation.priors import Draws, Prior
from custodian.excitation.recipe import Recipe
from custodian.excitation.taps import embed
from stimset.errors import ConfigError
from stimset.learning.training import predict
from stimset.windows import WindowSpec

OnProgress = Callable[[float], None]
Values = NDArray[np.float32]


def _unwatched(done: float) -> None:
    """Nobody watches the progress."""


@dataclass(frozen=True)
class Excitation:
    """Everything that shards are made from; no shard needs another.

    Attributes:
        recipe: how.
        spec: what the stimuli imitate.
        teacher: in evaluation mode, without gradients of its own.
        identity: identity networks, likewise; empty without inhibition.
        references: teachers without some of the persons, likewise; empty unless the recipe uses them.
        prior: what the ascent starts from; None for the generator.
        objective: what the ascent climbs; empty without steps.
        expected: ``(classes, persons)``: what the belief alone says of the person, where draws are chosen from a pool; else None.
        quantiles: of the teacher's certainty, where the acceptance matches them.
        aggregates: every statistic of patients that was read for it all.
        kept: the sums behind them, noise included: with these it can be assembled again without a look at the budget.
        seed: of everything.
        batch: stimuli at once: memory, not results to more than rounding.
        device: a torch device.
    """

    recipe: Recipe
    spec: WindowSpec
    teacher: nn.Module
    identity: Sequence[nn.Module]
    references: Sequence[nn.Module]
    prior: Prior | None
    objective: Objective
    expected: NDArray[np.float32] | None
    quantiles: Quantiles | None
    aggregates: tuple[Mapping[str, Any], ...]
    kept: Mapping[str, NDArray[np.float64]]
    seed: int
    batch: int
    device: str

    def shard(self, number: int, count: int, on_progress: OnProgress) -> bytes:
        """The safetensors bytes of one shard of ``count`` stimuli.

        Raises:
            ConfigError: too few candidates were accepted.
        """
        rng = np.random.default_rng([self.seed, number])
        if self.prior is None:
            values = generate(
                self.recipe.generator, self.spec, self.teacher, count, rng, device=self.device, on_stimulus=on_progress
            )
        else:
            values = self._accepted(self.prior, count, rng, on_progress)
        # safetensors writes memory as it lies; a transposed array would come back scrambled.
        return save({
            "values": np.ascontiguousarray(values), "probabilities": np.ascontiguousarray(self.labels(values).astype(np.float32)),
        })  # fmt: skip

    def labels(self, values: Values) -> NDArray[np.float64]:
        """Soft labels ``(n, classes)``: the teacher's belief, or the references' mean belief where the recipe says so."""
        if self.recipe.labelled_by_references:
            return np.asarray(np.mean([predict(reference, values) for reference in self.references], axis=0))
        return predict(self.teacher, values)

    def climb(self, start: Values, wanted: Values, on_progress: OnProgress = _unwatched) -> Values:
        """The ascent from `start` ``(n, channels, samples)`` to what the recipe's objective makes of it, batch after batch."""
        ascent = self.recipe.ascent
        # Groups stay whole, so that a set does not depend on the batch.
        size = max(ascent.group, self.batch - self.batch % ascent.group) if self.recipe.couples else self.batch
        made = []
        for i in range(0, len(start), size):
            first, belief = (torch.from_numpy(a[i : i + size]).to(self.device) for a in (start, wanted))
            stimuli = ascend(
                first, belief, self.objective, self.teacher, self.identity, self.references if self.recipe.climbs("forget") else (),
                steps=ascent.steps, learning_rate=ascent.learning_rate, clip=self.spec.clip,
                parametrisation=parametrisation_of(ascent, self.spec.samples), acceleration=Acceleration.of(self.device),
            )  # fmt: skip
            made.append(stimuli.cpu().numpy())
            on_progress(min(len(start), i + size))
        return np.concatenate(made)

    def _candidates(self, prior: Prior, count: int, rng: np.random.Generator, on_progress: OnProgress) -> tuple[Values, Values]:
        """Stimuli ``(count, channels, samples)`` and the beliefs ``(count, classes)`` that were wanted of them."""
        start, classes = self._starts(prior, count, rng)
        if self.recipe.belief.source == "boundary":
            start, classes = paired(start, classes)
        wanted = wanted_beliefs(self.recipe.belief, self.teacher, start, classes, self.spec.classes, rng)
        return self.climb(start, wanted, on_progress), wanted

    def _starts(self, prior: Prior, count: int, rng: np.random.Generator) -> Draws:
        """Draws of the prior; from a pool, where the recipe asks for one, those that identify patients the least."""
        if self.expected is None:
            return prior.sample(count, rng)
        start, classes = prior.sample(self.recipe.inhibition.pool * count, rng)
        rows = least_identifying(start, predict(self.teacher, start), self.identity, self.expected, count)
        return start[rows], classes[rows]

    def _accepted(self, prior: Prior, count: int, rng: np.random.Generator, on_progress: OnProgress) -> Values:
        """As many candidates as the recipe's acceptance lets through."""
        rule = self.recipe.acceptance
        if rule.rule == "all" and not rule.duplicates:
            return self._candidates(prior, count, rng, on_progress)[0]
        selection = Selection(rule, count, self.quantiles)
        for _ in range(rule.attempts):
            values, wanted = self._candidates(prior, count, rng, _unwatched)
            embedded = embed(self.teacher, values) if rule.duplicates else None
            selection.offer(values, predict(self.teacher, values), wanted.argmax(1), embedded, rng)
            on_progress(selection.size)
            if selection.full():
                return selection.values()
        if selection.settle():
            return selection.values()
        raise ConfigError(
            f"recipe '{self.recipe.name}': {selection.size} of {count} stimuli were accepted among {rule.attempts * count} candidates; "
            "raise attempts or slack in [acceptance], or ask for less (threshold_low, bins, duplicates)"
        )
