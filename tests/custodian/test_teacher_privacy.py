"""The proofs' premises, held against independent arithmetic: sensitivity, clipping, noise, accounting."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from custodian.teacher import dp_sgd, pate
from custodian.teacher.accounting import PrivacyTarget, mechanism_within, noisy, secret_choice
from custodian.teacher.public import public_draws
from custodian.teacher.regimes import REGIMES
from custodian.teacher.training import train_teacher
from small_cohort import SPEC, cohort
from stimset.errors import ConfigError
from stimset.learning.networks import GROUP_NORM, NETWORKS, build_network


def gaussian_delta(epsilon, noise):
    """Balle and Wang (2018), theorem 8, written down anew: delta of one Gaussian answer of sensitivity 1."""
    normal = NormalDist().cdf
    return normal(0.5 / noise - epsilon * noise) - math.exp(epsilon) * normal(-0.5 / noise - epsilon * noise)


@pytest.mark.parametrize(("epsilon", "delta", "steps"), [(8.0, 1e-4, 1), (8.0, 1e-4, 2000), (1.0, 1e-5, 120)])
def test_noise_is_the_least_that_keeps_the_target(epsilon, delta, steps):
    draw = mechanism_within(PrivacyTarget(epsilon, delta), steps=steps)
    # Answers of the same noise are one Gaussian answer in `steps` dimensions, and its loss depends on the length alone.
    together = draw.noise / math.sqrt(steps)
    assert gaussian_delta(epsilon, together) == pytest.approx(delta, rel=1e-3)
    assert (draw.kind, draw.count, draw.sampling) == ("gaussian", steps, 1.0)


def test_sampling_persons_needs_less_noise_and_keeps_the_target():
    target = PrivacyTarget(4.0, 1e-3)
    whole, sampled = mechanism_within(target, steps=40), mechanism_within(target, steps=40, rate=0.25)
    assert 0.2 * whole.noise < sampled.noise < whole.noise
    assert 3.5 < sampled.epsilon <= 4.0
    from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.rdp import RdpAccountant

    event: DpEvent = SelfComposedDpEvent(PoissonSampledDpEvent(0.25, GaussianDpEvent(sampled.noise)), 40)
    # Another accountant bounds the same loss from above, less tightly.
    second = RdpAccountant(orders=list(range(2, 64))).compose(event).get_epsilon(1e-3)
    assert sampled.epsilon <= second < 1.6 * sampled.epsilon


@given(scale=st.floats(1e-3, 1e3), persons=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_no_person_moves_the_sum_by_more_than_the_clip(scale, persons, seed):
    g = torch.Generator().manual_seed(seed)
    gradients = [scale * torch.randn(30, generator=g) for _ in range(persons)]
    whole = dp_sgd.sum_of_clipped(gradients, 30, dp_sgd.CLIP)
    for i in range(persons):
        without = dp_sgd.sum_of_clipped(gradients[:i] + gradients[i + 1 :], 30, dp_sgd.CLIP)
        assert float((whole - without).norm()) <= dp_sgd.CLIP * (1 + 1e-9)


def test_clipping_leaves_small_gradients_alone_and_drops_what_is_not_finite():
    small, broken = torch.full((4,), 0.1), torch.tensor([1.0, float("nan"), 0.0, 0.0])
    torch.testing.assert_close(dp_sgd.sum_of_clipped([small, broken], 4, 1.0), small.double())
    assert not dp_sgd.sum_of_clipped([], 4, 1.0).any()


@given(classes=st.integers(2, 8), seed=st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_a_group_moves_the_count_of_votes_by_its_sensitivity_at_most(classes, seed):
    rng = np.random.default_rng(seed)
    before, after = np.eye(classes)[rng.integers(classes, size=(2, pate.QUERIES))]
    each = np.linalg.norm(before - after, axis=1)
    assert each.max() <= pate.SENSITIVITY + 1e-12
    # All answers at once: the root of their number, as composing them one by one says.
    assert np.linalg.norm(before - after) <= pate.SENSITIVITY * math.sqrt(pate.QUERIES) + 1e-9


def test_the_noise_has_its_deviation_and_is_gaussian():
    drawn = noisy(np.full(40_000, 7.0), 2.5) - 7.0
    assert drawn.std() == pytest.approx(2.5, rel=0.03)
    assert drawn.mean() == pytest.approx(0, abs=0.06)
    for quantile in (0.05, 0.25, 0.75, 0.95):
        assert np.quantile(drawn, quantile) == pytest.approx(2.5 * NormalDist().inv_cdf(quantile), abs=0.08)
    assert not np.array_equal(noisy(np.zeros(5), 1.0), noisy(np.zeros(5), 1.0))
    assert secret_choice(20_000, 0.3).mean() == pytest.approx(0.3, abs=0.02)
    assert secret_choice(50, 1.0).all()


def test_dp_sgd_trains_networks_whose_windows_do_not_meet():
    plan = replace(REGIMES["dp-sgd"].plan, epochs=3)
    teacher = train_teacher(cohort(), architecture="cnn+spectral_mlp", regime="dp-sgd", plan=plan)
    assert teacher.architecture == f"cnn{GROUP_NORM}+spectral_mlp{GROUP_NORM}"
    assert teacher.facts["steps"] == 3
    assert teacher.facts["rate"] == 1.0
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in teacher.network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_group_normalised_networks_answer_each_window_by_itself(name):
    network = build_network(name + GROUP_NORM, 2, 40, 3, seed=0).train()
    for layer in network.modules():
        if hasattr(layer, "dropout") and isinstance(layer.dropout, float):
            layer.dropout = 0.0
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    windows = torch.randn(6, 2, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(windows)[:2], network(windows[:2]), atol=1e-5, rtol=1e-4)


def test_nobody_moves_the_gradients_of_others():
    plan = replace(REGIMES["dp-sgd"].plan, batch=16)
    windows = cohort().training
    first, second = (int(p) for p in cohort().training_person_indices[:2])
    network = build_network("cnn" + GROUP_NORM, *SPEC.shape, SPEC.classes, seed=0).train()
    before = [dp_sgd.gradient_of(network, windows, p, plan, (0, 5)) for p in (first, second)]
    without = windows.select(windows.person != first)
    torch.testing.assert_close(dp_sgd.gradient_of(network, without, second, plan, (0, 5)), before[1], rtol=0, atol=0)
    assert not torch.equal(dp_sgd.gradient_of(network, windows, second, plan, (0, 6)), before[1])
    # Whoever has no windows adds nothing at all.
    size = len(before[0])
    absent = dp_sgd.gradient_of(network, without, first, plan, (0, 5))
    assert not dp_sgd.sum_of_clipped([absent], size, dp_sgd.CLIP).any()


def test_group_count_grows_with_the_cohort_to_its_bound():
    assert [pate.group_count(n) for n in (4, 20, 512)] == [2, 5, pate.MOST_GROUPS]


@given(seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_public_draws_are_finite_varied_and_within_the_clip(seed):
    draws = public_draws(SPEC, 50, np.random.default_rng(seed))
    assert draws.shape == (50, *SPEC.shape)
    assert draws.dtype == np.float32
    assert np.isfinite(draws).all()
    assert np.abs(draws).max() <= SPEC.clip
    assert draws.std(-1).min() > 1e-3
    assert np.ptp(draws.std(-1)) > 0.3


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.0, 1e-4), (-1.0, 1e-4), (float("inf"), 1e-4), (1.0, 0.0), (1.0, 1.0)]
)
def test_an_impossible_target_is_refused(epsilon, delta):
    with pytest.raises(ConfigError, match="epsilon"):
        PrivacyTarget(epsilon, delta)


@pytest.mark.slow
def test_with_enough_persons_a_private_teacher_learns():
    many = cohort(150, 30)
    teacher = train_teacher(many, architecture="spectral_mlp", regime="dp-sgd", seed=0)
    assert teacher.facts["rate"] < 1
    assert teacher.facts["validationKappa"] > 0.5
