"""What draws cost and how they compose, against formulas and integrals of our own."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from custodian.budget.mechanisms import Mechanism, calibrated, composed, gaussian, laplace, naive, stated, unbounded
from stimset.errors import ConfigError


def delta_of_gaussian(noise, epsilon):
    """Balle and Wang 2018, theorem 8, written out."""
    mu = 1 / noise
    return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)


@given(st.floats(0.05, 50), st.floats(1e-8, 0.1))
@settings(max_examples=60, deadline=None)
def test_calibrated_noise_is_the_least_that_keeps_the_guarantee(epsilon, delta):
    noise = calibrated(epsilon, delta).noise
    assert delta_of_gaussian(noise, epsilon) <= delta * 1.0001
    assert delta_of_gaussian(noise * 0.99, epsilon) > delta


def test_gaussians_compose_as_one_and_far_below_the_sum():
    draws = [calibrated(1.0, 1e-5)] * 10 + [gaussian(4.0, 1e-5, count=3)]
    together = 1 / math.sqrt(sum(m.count / m.noise**2 for m in draws))
    epsilon = composed(draws, 1e-5)
    assert delta_of_gaussian(together, epsilon) == pytest.approx(1e-5, rel=1e-3)
    assert epsilon < 0.6 * naive(draws)[0]


def test_pure_draws_never_cost_more_than_their_sum():
    assert laplace(2.0, count=4).epsilon == 2.0
    assert composed([laplace(2.0)] * 4, 0.0) <= 2.0
    assert composed([laplace(10.0)] * 100, 1e-5) < 6.0  # the sum is 10


def test_sampling_amplifies():
    sampled = gaussian(1.1, 1e-5, sampling=0.01, count=500)
    assert sampled.epsilon < 0.2 * gaussian(1.1, 1e-5, count=500).epsilon
    # An integral of our own, for one step: the hockey-stick divergence of the mixture from the Gaussian.
    one = gaussian(1.0, 1e-3, sampling=0.2)
    xs = [i / 2000 for i in range(-16000, 20000)]
    divergence = sum(
        max(0.0, 0.8 * norm_pdf(x) + 0.2 * norm_pdf(x - 1) - math.exp(one.epsilon) * norm_pdf(x)) / 2000 for x in xs
    )
    assert divergence == pytest.approx(1e-3, rel=0.02)


def norm_pdf(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def test_a_stated_guarantee_uses_its_delta_up():
    assert composed([stated(0.5, 1e-4)], 1e-3) <= 0.5
    assert composed([stated(0.5, 1e-4)], 1e-5) == math.inf
    mixed = composed([stated(0.5, 1e-6), calibrated(1.0, 1e-6), laplace(4.0)], 1e-4)
    assert 1.0 < mixed < 1.75


def test_what_has_no_noise_has_no_bound():
    assert composed([calibrated(1, 1e-5), unbounded()], 0.1) == math.inf
    assert naive([unbounded()])[0] == math.inf
    assert composed([], 1e-5) == 0.0


def test_a_mechanism_survives_the_ledger():
    for mechanism in (
        calibrated(2, 1e-6),
        gaussian(1.5, 1e-5, sampling=0.1, count=10),
        laplace(3),
        stated(1, 1e-9),
        unbounded(),
    ):
        assert Mechanism.from_document(mechanism.document()) == mechanism
    with pytest.raises(ConfigError, match="update the software"):
        Mechanism.from_document({"kind": "shuffle"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: gaussian(0.0, 1e-5), lambda: gaussian(1.0, 0.0), lambda: gaussian(1.0, 1e-5, sampling=1.5), lambda: laplace(-1),
        lambda: stated(-1), lambda: stated(1, 1), lambda: calibrated(0, 1e-5), lambda: calibrated(math.inf, 1e-5),
        lambda: gaussian(1.0, 1e-5, count=0), lambda: gaussian(math.nan, 1e-5),
    ],
)  # fmt: skip
def test_senseless_numbers_are_refused(make):
    with pytest.raises(ConfigError, match="privacy budget"):
        make()
