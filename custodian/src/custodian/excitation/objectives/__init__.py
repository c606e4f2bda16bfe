"""What excitation climbs: objectives are values that add and scale, and the loop knows none of them.

Usage::

    objective = excite_belief(1.0) + 0.5 * stay_near() + inhibit(0.5, shares)    # inhibit: custodian.inhibition
    cost, parts = objective(responses)      # scalar, and each part by name

Every cost is a mean over the batch. Two drives couple stimuli: `match_features` and `spread`; they do so within groups of consecutive
stimuli, whose size stands in the recipe. So a set made in batches of 10 groups equals a set made in batches of one group; and without
those two, one made in batches of any size.
"""

from custodian.excitation.objectives.beliefs import agree, disagree, excite_belief
from custodian.excitation.objectives.core import Drive, Objective, Responses
from custodian.excitation.objectives.features import match_features, spread
from custodian.excitation.objectives.signals import (
    band_powers,
    keep_correlation,
    keep_moments,
    keep_spectrum,
    log_band_power,
    match_texture,
    stay_near,
    stay_small,
    stay_smooth,
)

__all__ = [
    "Drive",
    "Objective",
    "Responses",
    "agree",
    "band_powers",
    "disagree",
    "excite_belief",
    "keep_correlation",
    "keep_moments",
    "keep_spectrum",
    "log_band_power",
    "match_features",
    "match_texture",
    "spread",
    "stay_near",
    "stay_small",
    "stay_smooth",
]
