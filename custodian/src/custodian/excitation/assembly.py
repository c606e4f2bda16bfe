"""From a recipe's words to the parts that excitation runs: its prior, its objective, and what it reads of patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from custodian.budget.account import Account
from custodian.cohort import Cohort
from custodian.excitation import readings
from custodian.excitation.acceleration import Acceleration
from custodian.excitation.acceptance import Quantiles
from custodian.excitation.aggregates import Floats, Reader
from custodian.excitation.folding import folded
from custodian.excitation.objectives import (
    Objective,
    agree,
    band_powers,
    disagree,
    excite_belief,
    keep_correlation,
    keep_moments,
    keep_spectrum,
    match_features,
    match_texture,
    spread,
    stay_near,
    stay_small,
    stay_smooth,
)
from custodian.excitation.priors import Draws, build_prior
from custodian.excitation.recipe import Recipe
from custodian.excitation.sections import BATCH_NORM
from custodian.excitation.shard import Excitation
from custodian.excitation.taps import embedding_taps, member_taps
from custodian.inhibition import expected_persons, forget, inhibit
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.errors import ConfigError

# Streams of randomness that no shard's number reaches: what is read of patients must be the same in every shard.
PRIOR_STREAM, DRAWS_STREAM = 2**31, 2**31 + 1
MEASURED_DRAWS = 2000


def excitation_of(
    cohort: Cohort, teacher: TrainedNetwork, identity: Sequence[TrainedNetwork], references: Sequence[TrainedNetwork], recipe: Recipe, *,
    seed: int, batch: int, device: str, account: Account | None = None, kept: Mapping[str, Floats] | None = None,
) -> Excitation:  # fmt: skip
    """The job of which every shard is made, the same wherever it is assembled.

    Args:
        cohort: whose averages prior and objectives may read.
        teacher: whose neurons are excited.
        identity: networks that inhibition works against (`custodian.excitation.preparation`).
        references: teachers without some of the persons, likewise.
        recipe: how.
        seed: of everything.
        batch: stimuli at once.
        device: a torch device.
        account: pays for what is read with noise.
        kept: sums that another assembly of this job read (`Excitation.kept`), which are then not read again.

    Raises:
        ConfigError: the recipe asks for what the teacher does not have, or for noise without an account.
        PolicyDenied: the budget does not allow what is read.
    """
    frozen = teacher.network.eval().requires_grad_(False).to(device) if recipe.taps_teacher else _frozen(teacher, device)
    reader = Reader(recipe.privacy, account, kept, readings=max(1, recipe.readings))
    assembly = Assembly(cohort, recipe, frozen, reader, seed)
    prior, objective, quantiles = assembly.prior, assembly.objective(), assembly.quantiles()
    aggregates = (*reader.aggregates, *assembly.aggregates)
    others = [_frozen(n, device) for n in identity], [_frozen(n, device) for n in references]
    Acceleration.of(device).compiled([*others[0], *others[1], *([] if recipe.taps_teacher or objective.taps else [frozen])])
    return Excitation(
        recipe, cohort.spec, frozen, *others, prior, objective,
        assembly.expected(), quantiles, aggregates, reader.kept, seed, batch, device,
    )  # fmt: skip


class Assembly:
    """Builds the parts that look at the cohort or into the teacher, and notes what they take from patients without a reader.

    Attributes:
        prior: what the ascent starts from; None for the generator, which starts from its own noise.
        aggregates: so far, besides the reader's.
    """

    def __init__(self, cohort: Cohort, recipe: Recipe, teacher: nn.Module, reader: Reader, seed: int) -> None:
        self.cohort, self.recipe, self.teacher, self.reader = cohort, recipe, teacher, reader
        self._seed = seed
        self.aggregates: list[readings.Entry] = []
        rng = np.random.default_rng([seed, PRIOR_STREAM])
        self.prior = None if recipe.method == "generator" else build_prior(recipe.prior, cohort.training, rng, reader)

    def objective(self) -> Objective:
        """The weighted sum of drives that the recipe asks for; empty where nothing is climbed."""
        recipe, weights = self.recipe, self.recipe.objective
        group, members, kept = recipe.ascent.group, member_taps(self.teacher), recipe.spectrum
        if recipe.climbs("agreement", "disagreement") and not members:
            raise ConfigError(
                f"recipe '{recipe.name}': agreement needs a teacher of several members; train one with --architecture cnn+tcn, for example"
            )
        drives: dict[str, Callable[[], Objective]] = {
            "belief": lambda: excite_belief(weights.belief, temperature=recipe.belief.temperature),
            "near": lambda: stay_near(weights.near),
            "spectrum": lambda: keep_spectrum(weights.spectrum, kept.bands, self._class_spectra(), tapered=kept.tapered),
            "moments": lambda: keep_moments(weights.moments),
            "correlation": lambda: keep_correlation(weights.correlation),
            "texture": lambda: match_texture(weights.texture, self._grams()),
            "features": lambda: match_features(weights.features, self._moments(), group=group),
            "diversity": lambda: spread(weights.diversity, embedding_taps(self.teacher), group=group),
            "agreement": lambda: agree(weights.agreement, members),
            "disagreement": lambda: disagree(weights.disagreement, members),
            "variation": lambda: stay_smooth(weights.variation),
            "energy": lambda: stay_small(weights.energy),
            "identity": lambda: inhibit(weights.identity, self._persons()),
            "forget": lambda: forget(weights.forget),
        }
        parts = [build() for name, build in drives.items() if recipe.climbs(name)]
        return sum(parts, Objective(()))

    def quantiles(self) -> Quantiles | None:
        """How sure the teacher is of the validation persons' windows, where the acceptance matches it."""
        if self.recipe.method == "generator" or self.recipe.acceptance.rule != "quantiles":
            return None
        return readings.certainty_quantiles(self.reader, self.teacher, self.cohort.validation, self.recipe.acceptance.bins)

    def expected(self) -> NDArray[np.float32] | None:
        """What a belief alone says of the person, where draws are chosen from a pool."""
        if not self.recipe.uses_inhibition or self.recipe.inhibition.pool == 1:
            return None
        return expected_persons(self.cohort, self.recipe.inhibition.toward)

    def _moments(self) -> readings.Moments:
        moments: readings.Moments = {}
        if BATCH_NORM in self.recipe.features.layers:
            running, entry = readings.running_moments(self.teacher)
            moments |= running
            self.aggregates.append(entry)
        if layers := self.recipe.measured_layers:
            moments |= readings.layer_moments(self.reader, self.teacher, self.cohort.training, layers, self._draws()[0])
        return moments

    def _grams(self) -> NDArray[np.float32]:
        return readings.lagged_grams(self.reader, self.cohort.training, self.recipe.texture.lags)

    def _persons(self) -> NDArray[np.float32]:
        expected = expected_persons(self.cohort, self.recipe.inhibition.toward)
        if self.recipe.inhibition.toward == "base-rate":
            self.aggregates.append(readings.declared_shares(expected))
        return expected

    def _class_spectra(self) -> NDArray[np.float32] | None:
        """``(classes, channels, bands)``: mean log power of the prior's draws, which reads nothing of patients that the prior did not."""
        if self.recipe.spectrum.of == "own":
            return None
        draws, classes = self._draws()
        power = band_powers(torch.from_numpy(draws), self.recipe.spectrum.bands, tapered=self.recipe.spectrum.tapered).numpy()
        found = [power[classes == k] for k in range(self.cohort.spec.classes)]
        return np.stack([(of_class if len(of_class) else power).mean(0) for of_class in found])

    def _draws(self) -> Draws:
        """Draws of the prior, in which scales and spectra are measured without a look at patients."""
        if self.prior is None:
            raise ConfigError(f"recipe '{self.recipe.name}' has no prior whose draws could be measured")
        return self.prior.sample(MEASURED_DRAWS, np.random.default_rng([self._seed, DRAWS_STREAM]))


def _looked_into(recipe: Recipe) -> bool:
    """Whether somebody puts hooks on the teacher's layers."""
    return recipe.taps_teacher or bool(recipe.acceptance.duplicates)


def _frozen(trained: TrainedNetwork, device: str) -> nn.Module:
    return folded(trained.network).to(device)
