"""The arithmetic of the race: pairs of blocks, the first of which only warms up."""

from __future__ import annotations

import pytest
from bench_excite import Clock, pair_ratios, row


def test_the_first_block_does_not_count():
    clock = Clock([(10, 100.0), (10, 2.0), (10, 5.0)])
    assert clock.rates() == [5.0, 2.0]


def test_ratios_are_taken_block_by_block():
    ours = Clock([(100, 1.0), (100, 1.0), (100, 2.0), (100, 1.0)])
    paper = Clock([(10, 9.0), (10, 1.0), (10, 2.0), (10, 4.0)])
    assert pair_ratios(ours, paper) == pytest.approx([10.0, 10.0, 40.0])


def test_a_row():
    made = row("spectral", Clock([(10, 1.0), (10, 2.0), (10, 1.0), (10, 4.0)]), {"cnn": None}, 30)
    assert (made["per_second"], made["slowest"], made["fastest"], made["blocks"]) == (5.0, 2.5, 10.0, 3)
    assert made["kappa"] == {"cnn": None}


def test_the_setup_is_spread_over_the_set():
    clock = Clock([(10, 9.0), (100, 1.0), (100, 1.0)], setup=10.0)
    assert clock.rate_of(1000) == pytest.approx(50)
    assert clock.rate_of(10**9) == pytest.approx(100, rel=1e-3)
