"""Each drive's cost against an independent computation in NumPy or SciPy."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from custodian.excitation.objectives import (
    Responses,
    agree,
    disagree,
    excite_belief,
    keep_correlation,
    keep_moments,
    keep_spectrum,
    log_band_power,
    match_features,
    match_texture,
    spread,
    stay_near,
    stay_small,
    stay_smooth,
)
from custodian.excitation.objectives.signals import correlation, lagged_gram, moments
from custodian.excitation.taps import Tap
from custodian.inhibition import forget

BATCH, CHANNELS, SAMPLES, CLASSES = 6, 2, 40, 3
FIRST, SECOND = Tap("members.0"), Tap("members.1")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def responses(batch=BATCH, **changes):
    parts = {
        "stimuli": draw(batch, CHANNELS, SAMPLES, seed=1), "start": draw(batch, CHANNELS, SAMPLES, seed=2),
        "wanted": torch.softmax(draw(batch, CLASSES, seed=3), 1), "logits": draw(batch, CLASSES, seed=4),
        "references": (draw(batch, CLASSES, seed=5), draw(batch, CLASSES, seed=6)),
        "features": {FIRST: draw(batch, CLASSES, seed=7), SECOND: draw(batch, CLASSES, seed=8)},
    }  # fmt: skip
    return Responses(**{**parts, **changes})


def cost(objective, r=None):
    return float(objective(r or responses())[0])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def test_belief_is_compared_at_its_temperature():
    r = responses()
    wanted, answer = r.wanted.numpy(), softmax(r.logits.numpy() / 5)
    assert cost(excite_belief(1.0, temperature=5.0)) == pytest.approx((wanted * np.log(wanted / answer)).sum(1).mean(), rel=1e-4)


def test_agreement_is_the_members_jensen_shannon_divergence():
    r = responses()
    first, second = softmax(r.features[FIRST].numpy()), softmax(r.features[SECOND].numpy())
    expected = np.mean([jensenshannon(p, q) ** 2 for p, q in zip(first, second, strict=True)])
    assert cost(agree(2.0, [FIRST, SECOND])) == pytest.approx(2 * expected, rel=1e-4)
    assert cost(disagree(2.0, [FIRST, SECOND])) == pytest.approx(-2 * expected, rel=1e-4)
    assert (agree(1.0, [FIRST]) + disagree(1.0, [FIRST, SECOND])).taps == (FIRST, SECOND)


def test_forgetting_is_the_distance_from_what_references_believe():
    r = responses()
    common = np.mean([softmax(x.numpy()) for x in r.references], axis=0)
    assert cost(forget(1.0)) == pytest.approx((common * np.log(common / softmax(r.logits.numpy()))).sum(1).mean(), rel=1e-4)


def test_features_are_matched_group_by_group():
    tap = Tap("layer", "input")
    values = draw(7, 4, 9, seed=9)
    mean, variance = draw(4, seed=10), draw(4, seed=11).abs()
    expected = 0.0
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        group = values[rows].numpy()
        distance = np.linalg.norm(group.mean((0, 2)) - mean.numpy()) + np.linalg.norm(group.var((0, 2)) - variance.numpy())
        expected += len(group) / 7 * distance
    objective = match_features(1.0, {tap: (mean, variance)}, group=3)
    assert cost(objective, responses(7, features={tap: values})) == pytest.approx(expected, rel=1e-4)
    assert objective.taps == (tap,)


def test_features_that_match_cost_nothing_and_have_a_finite_gradient():
    tap = Tap("layer")
    values = draw(5, 4, 9).requires_grad_(True)
    rows = values.detach().transpose(0, 1).flatten(1)
    objective = match_features(1.0, {tap: (rows.mean(1), rows.var(1, unbiased=False))}, group=5)
    total, _ = objective(responses(5, features={tap: values}))
    total.backward()
    assert float(total.detach()) < 1e-4
    assert torch.isfinite(values.grad).all()


def test_diversity_holds_the_members_of_a_group_apart_and_nobody_else():
    tap = Tap("head", "input")
    values = draw(5, 8, seed=12)
    unit = values.numpy() / np.linalg.norm(values.numpy(), axis=1, keepdims=True)
    expected = 0.0
    for rows in ([0, 1, 2], [3, 4]):
        for i in rows:
            expected += np.log(np.mean([np.exp(unit[i] @ unit[j] / 0.5) for j in rows if j != i])) / 5
    objective = spread(1.0, [tap], group=3, temperature=0.5)
    assert cost(objective, responses(5, features={tap: values})) == pytest.approx(expected, rel=1e-4)
    alike, apart = torch.ones(4, 8), torch.eye(8)[:4]
    assert cost(objective, responses(4, features={tap: alike})) > cost(objective, responses(4, features={tap: apart}))
    assert cost(objective, responses(1, features={tap: alike[:1]})) == 0.0


def test_a_spectrum_is_kept_while_phases_are_free():
    r = responses()
    rolled = r.start.roll(7, dims=-1)
    assert cost(keep_spectrum(1.0, 12, tapered=False), responses(stimuli=rolled)) == pytest.approx(0, abs=1e-6)
    assert cost(stay_near(1.0), responses(stimuli=rolled)) > 0.5
    assert cost(keep_spectrum(1.0, 12, tapered=False), responses(stimuli=2 * r.start)) > 0.5
    table = log_band_power(draw(CLASSES, CHANNELS, SAMPLES, seed=13), 12).numpy()
    goal = np.einsum("bk,kcf->bcf", r.wanted.numpy(), table)
    expected = np.square(log_band_power(r.stimuli, 12).numpy() - goal).mean()
    assert cost(keep_spectrum(1.0, 12, table, tapered=False)) == pytest.approx(expected, rel=1e-4)


def test_a_taper_sees_what_leaks_over_the_edges_of_a_window():
    slope = torch.linspace(-2, 2, SAMPLES).expand(BATCH, CHANNELS, SAMPLES)
    jitter = slope + 0.15 * torch.from_numpy(np.random.default_rng(0).standard_normal((BATCH, CHANNELS, SAMPLES)).astype(np.float32))
    r = responses(start=slope, stimuli=jitter)
    plain, both = (cost(keep_spectrum(1.0, 12, tapered=t), r) for t in (False, True))
    assert both > 5 * plain, "the jump from end to beginning has more power in every high band than the jitter"


def test_moments_are_those_that_students_on_features_look_at():
    r = responses()
    assert cost(keep_moments(1.0), responses(stimuli=r.start)) == 0
    assert cost(keep_moments(1.0), responses(stimuli=r.start.flip(-1))) == pytest.approx(0, abs=1e-6)
    for changed in (r.start + 1, 2 * r.start, r.start.sort(dim=-1).values, r.start.abs()):
        assert cost(keep_moments(1.0), responses(stimuli=changed)) > 0.1
    x = r.start.numpy().astype(np.float64)
    level, log_variance, rough, skewness, kurtosis = np.moveaxis(moments(r.start).numpy(), -1, 0)
    np.testing.assert_allclose(level, x.mean(-1), atol=1e-5)
    np.testing.assert_allclose(log_variance, np.log(x.var(-1) + 1e-2), atol=1e-5)
    np.testing.assert_allclose(rough, np.log(np.square(np.diff(x)).mean(-1) + 1e-2), atol=1e-5)
    np.testing.assert_allclose(skewness, scipy.stats.skew(x, -1), atol=0.05)
    np.testing.assert_allclose(2 * kurtosis, scipy.stats.kurtosis(x, -1, fisher=False), atol=0.2)


def test_autocorrelation_is_kept_at_its_lags():
    r = responses()
    assert cost(keep_correlation(1.0), responses(stimuli=r.start)) == 0
    assert cost(keep_correlation(1.0), responses(stimuli=r.start + 3)) == pytest.approx(0, abs=1e-6), "the level is none of its business"
    assert cost(keep_correlation(1.0), responses(stimuli=r.start.sort(dim=-1).values)) > 0.1
    x = r.start.numpy().astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    whole = np.stack([[np.correlate(c, c, "full")[SAMPLES - 1 :] for c in window] for window in centred])
    expected = (whole / SAMPLES / (centred.var(-1, keepdims=True) + 1e-2))[..., [1, 2, 3, 4, 6, 8, 12, 16]]
    np.testing.assert_allclose(correlation(r.start).numpy(), expected, atol=1e-5)
    assert correlation(torch.ones(1, 1, 10)).shape == (1, 1, 4), "lags of more than half a window say little"


def test_band_power_is_the_mean_of_its_frequencies():
    t = np.arange(64)
    wave = np.stack([np.sin(2 * np.pi * 3 * t / 64), np.sin(2 * np.pi * 25 * t / 64)])[None].astype(np.float32)
    power = log_band_power(torch.from_numpy(wave), 6).numpy()[0]
    assert power[0].argmax() < power[1].argmax()
    assert power.shape == (2, 6)
    assert log_band_power(torch.from_numpy(wave), 500).shape[-1] <= 33


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), lags=st.integers(0, 10), channels=st.integers(1, 3))
def test_a_lagged_gram_is_the_channels_correlation(seed, lags, channels):
    x = draw(2, channels, 20, seed=seed)
    found = lagged_gram(x, lags).numpy()
    centred = x.numpy() - x.numpy().mean(-1, keepdims=True)
    for b in range(2):
        for c in range(channels):
            for d in range(channels):
                full = np.correlate(centred[b, d], centred[b, c], "full")[19:] / 20
                np.testing.assert_allclose(found[b, c, d], full[: lags + 1], atol=1e-5)


def test_texture_is_relative_to_the_class_mixed_by_the_wanted_belief():
    r = responses()
    table = lagged_gram(draw(CLASSES, CHANNELS, SAMPLES, seed=14), 5).numpy()
    goal = np.einsum("bk,kcdl->bcdl", r.wanted.numpy(), table)
    distance = np.square(lagged_gram(r.stimuli, 5).numpy() - goal).sum((1, 2, 3)) / np.square(goal).sum((1, 2, 3))
    assert cost(match_texture(1.0, table)) == pytest.approx(distance.mean(), rel=1e-4)


def test_smooth_and_small():
    x = responses().stimuli.numpy()
    assert cost(stay_smooth(1.0)) == pytest.approx(np.abs(np.diff(x)).mean(), rel=1e-5)
    assert cost(stay_small(3.0)) == pytest.approx(3 * np.square(x).mean(), rel=1e-5)
