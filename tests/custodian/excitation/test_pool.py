"""Choosing among draws before the ascent."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from custodian.excitation.pool import claimed, least_identifying, strata


class Names(nn.Module):
    """Recognises person 1 by the mean of a window, the more surely the larger it is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        strength = self.scale * x.mean((1, 2))
        return torch.stack([torch.zeros_like(strength), strength], 1)


def draws(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 1, 8)).astype(np.float32) + rng.normal(size=(count, 1, 1)).astype(np.float32)
    return values, rng.dirichlet([1, 1, 1], count)


def test_what_is_chosen_claims_less_than_what_is_left() -> None:
    values, belief = draws(400)
    expected = np.full((3, 2), 0.5, np.float32)
    rows = least_identifying(values, belief, [Names().eval()], expected, 100)
    assert len(rows) == 100 == len(set(rows.tolist()))
    claim = claimed(values, belief, [Names().eval()], expected)
    assert claim[rows].mean() < 0.3 * claim.mean()
    for part in strata(belief):  # within each stratum: the least
        kept = np.isin(part, rows)
        assert abs(kept.sum() - len(part) / 4) <= 4


def test_the_beliefs_keep_their_distribution() -> None:
    values, belief = draws(2000, seed=1)
    rows = least_identifying(values, belief, [Names().eval()], np.full((3, 2), 0.5, np.float32), 500)
    before, after = (np.bincount(b.argmax(1), minlength=3) / len(b) for b in (belief, belief[rows]))
    assert np.abs(before - after).max() < 0.03
    assert abs(belief.max(1).mean() - belief[rows].max(1).mean()) < 0.02


def test_the_claim_is_the_divergence_from_the_base_rate() -> None:
    values, belief = draws(5, seed=2)
    expected = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], np.float32)
    answer = torch.softmax(Names()(torch.from_numpy(values)), 1).detach().numpy()
    goal = belief @ expected
    assert np.allclose(claimed(values, belief, [Names().eval()], expected), (answer * np.log(answer / goal)).sum(1), atol=1e-5)
