"""A shard keeps what the rule wants, until it is full."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.excitation.acceptance import Selection, quotas
from custodian.excitation.sections import Acceptance

RNG = np.random.default_rng


def candidates(n, seed=0, classes=2):
    rng = RNG(seed)
    belief = rng.dirichlet([0.7] * classes, n)
    return rng.standard_normal((n, 1, 8)).astype(np.float32), belief, rng.integers(classes, size=n)


def offered(selection, *parts, embedded=None, seed=1):
    selection.offer(*parts, embedded, RNG(seed))
    return selection


def test_the_threshold_is_drawn_for_each_as_published():
    values, belief, wanted = candidates(4000)
    selection = offered(Selection(Acceptance("threshold", 0.5, 0.9), 4000), values, belief, wanted)
    sure = belief[np.arange(4000), wanted]
    expected = np.clip((sure - 0.5) / 0.4, 0, 1).sum()
    assert selection.size == pytest.approx(expected, rel=0.06)
    assert not selection.full()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(1, 500))
def test_quotas_are_whole_and_follow_the_shares(weights, count):
    shares = (np.array(weights) + 1e-3) / np.sum(np.array(weights) + 1e-3)
    found = quotas(shares, count)
    assert found.sum() == count
    assert (np.abs(found - shares * count) < 1 + 1e-9).all()


def test_quantiles_are_matched():
    quantiles = (np.array([0.25, 0.75]), np.array([[0.6, 0.8], [0.7, 0.9]]))
    selection = Selection(Acceptance("quantiles", bins=3), 120, quantiles)
    values, belief, wanted = candidates(3000)
    offered(selection, values, belief, wanted)
    assert selection.full()
    row = {v.tobytes(): b for v, b in zip(values, belief, strict=True)}
    kept = np.array([row[v.tobytes()] for v in selection.values()])
    likeliest, certainty = kept.argmax(1), kept.max(1)
    for k, (share, edges) in enumerate(zip(*quantiles, strict=True)):
        counts = np.histogram(certainty[likeliest == k], [0, *edges, 1])[0]
        np.testing.assert_allclose(counts, share * 120 / 3, atol=1)


def test_what_is_missing_is_filled_within_the_slack_and_not_beyond():
    quantiles = (np.array([0.9, 0.1]), np.zeros((2, 0)))
    values, _, wanted = candidates(200)
    belief = np.tile([0.2, 0.8], (200, 1))
    belief[:85] = [0.8, 0.2]

    def left(slack):
        selection = offered(Selection(Acceptance("quantiles", bins=1, slack=slack), 100, quantiles), values, belief, wanted)
        assert selection.size == 95
        return selection.settle(), selection.size

    assert left(0.05) == (True, 100)
    assert left(0.04) == (False, 95)


def test_near_neighbours_are_left_out_across_offers():
    rng = RNG(0)
    embedded = rng.standard_normal((60, 5)).astype(np.float32)
    twice = np.repeat(embedded, 2, 0) + 1e-3 * rng.standard_normal((120, 5)).astype(np.float32)
    values, belief, wanted = candidates(120)
    selection = offered(Selection(Acceptance(duplicates=0.02), 500), values, belief, wanted, embedded=twice)
    assert selection.size == 60
    np.testing.assert_array_equal(selection.values(), values[::2])
    offered(selection, values, belief, wanted, embedded=twice)
    assert selection.size == 60, "what was there before counts too"


def test_a_full_shard_takes_no_more():
    values, belief, wanted = candidates(50)
    selection = offered(Selection(Acceptance(), 30), values, belief, wanted)
    assert selection.full()
    np.testing.assert_array_equal(selection.values(), values[:30])
