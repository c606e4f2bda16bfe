"""Choosing among a prior's draws before any ascent: those that point at single patients the least.

Draws cost next to nothing beside an ascent, so a recipe may make several times as many as it needs. On Apnea-ECG
(`shared/adr/0005`) a quarter of the draws, chosen so, is as good to students, and a fresh attacker claims a tenth of a nat less of
what inhibition leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from stimset.learning.training import predict

STRATA = 10
"""Draws compete with those of the same likeliest class and about the same certainty only, so that the beliefs keep their distribution."""

Floats = NDArray[np.float64]


def least_identifying(
    values: NDArray[np.float32], belief: Floats, networks: Sequence[nn.Module], expected: NDArray[np.float32], count: int
) -> NDArray[np.int64]:
    """The draws of which identity networks claim to know the least beyond the belief itself.

    Args:
        values: ``(n, channels, samples)``.
        belief: ``(n, classes)`` of the teacher.
        networks: with logits ``(batch, persons)``.
        expected: ``(classes, persons)``: see `custodian.inhibition.expected_persons`.
        count: how many to choose, at most n.

    Returns:
        ``(count,)`` rows in rising order.
    """
    claim = claimed(values, belief, networks, expected)
    chosen = np.zeros(len(values), bool)
    for rows in strata(belief):
        chosen[rows[np.argsort(claim[rows], kind="stable")[: count * len(rows) // len(values)]]] = True
    # Shares of strata are rounded down; what is missing comes from all that are left.
    left = np.flatnonzero(~chosen)
    chosen[left[np.argsort(claim[left], kind="stable")[: count - int(chosen.sum())]]] = True
    return np.flatnonzero(chosen)


def claimed(values: NDArray[np.float32], belief: Floats, networks: Sequence[nn.Module], expected: NDArray[np.float32]) -> Floats:
    """``(n,)``: mean over networks of KL(answer || what the belief alone says of the person), in nats."""
    goal = np.maximum(belief @ expected.astype(np.float64), 1e-6)
    answers = [np.maximum(predict(network, values), 1e-12) for network in networks]
    return np.asarray(np.mean([(a * np.log(a / goal)).sum(1) for a in answers], axis=0))


def strata(belief: Floats) -> list[NDArray[np.int64]]:
    """Rows that compete with each other: of one likeliest class, in equal parts from the least certain to the most."""
    likeliest, certainty = belief.argmax(1), belief.max(1)
    found = []
    for k in range(belief.shape[1]):
        rows = np.flatnonzero(likeliest == k)
        found += [part for part in np.array_split(rows[np.argsort(certainty[rows], kind="stable")], STRATA) if len(part)]
    return found
