"""From a recipe's words to the parts that excitation runs: its objective and its prior."""

from __future__ import annotations

import numpy as np

from custodian.cohort import Cohort
from custodian.excitation.objectives import Objective, excite_belief, stay_near
from custodian.excitation.priors import Prior, build_prior
from custodian.excitation.recipe import Recipe
from custodian.inhibition import expected_persons, inhibit


def objective_of(cohort: Cohort, recipe: Recipe) -> Objective:
    """The weighted sum of drives that a recipe asks for."""
    weights, parts = recipe.objective, []
    if weights.belief:
        parts.append(excite_belief(weights.belief))
    if weights.near:
        parts.append(stay_near(weights.near))
    if recipe.uses_inhibition:
        parts.append(inhibit(weights.identity, expected_persons(cohort, recipe.inhibition.toward)))
    return sum(parts, Objective(()))


def prior_of(cohort: Cohort, recipe: Recipe, seed: int) -> Prior | None:
    """What the ascent starts from; None for the generator, which starts from its own noise."""
    if recipe.method == "generator":
        return None
    # Statistics are drawn from a stream of their own, which no shard's number reaches.
    return build_prior(recipe.prior, cohort.training, np.random.default_rng([seed, 2**31]))
