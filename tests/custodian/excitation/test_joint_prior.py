"""The prior whose draws have descriptions of their own."""

from dataclasses import replace

import numpy as np
import pytest

from custodian.excitation.aggregates import Reader
from custodian.excitation.description import Description
from custodian.excitation.joint import JointMoments, JointPrior
from custodian.excitation.priors import build_prior
from custodian.excitation.recipe import Start
from custodian.excitation.sections import Privacy
from small_cohort import SPEC, cohort

START = Start("class-joint", segments=4)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("segments", [0, 4])
def test_realised_windows_have_the_numbers_that_were_wanted(segments, coarse):
    description = Description(SPEC, segments, coarse)
    wanted = description.of(cohort().training.values[:200])
    assert wanted.shape == (200, SPEC.channels, description.numbers)
    coherence = description.coherence(np.tile(np.eye(SPEC.channels, dtype=complex), (description.bands, 1, 1)))
    found = description.of(description.realise(wanted, coherence, np.random.default_rng(0)).astype(np.float32))
    assert np.abs(found - wanted)[..., :2].max() < 1e-3  # level and energy: exactly
    assert np.abs(found - wanted)[..., 2:].mean() < 0.25
    assert np.corrcoef(found[..., 2], wanted[..., 2])[0, 0] > 0.9


def test_what_is_read_is_mean_and_covariance_of_the_descriptions():
    training = cohort(per_person=150).training
    moments = JointMoments(Description(SPEC, 4))
    described = moments.description.of(training.values).reshape(len(training), -1)
    distribution, _ = moments.distribution(moments.features(training.values).mean(0))
    inside = np.abs(described - np.tile(moments.description.usual, SPEC.channels)).max(0) < 6  # nothing was held
    assert inside.sum() > 0.5 * len(inside)
    np.testing.assert_allclose(distribution.mean[inside], described.mean(0)[inside], atol=1e-6)
    covariance = np.cov(described.T, bias=True)
    np.testing.assert_allclose(distribution.cov[np.ix_(inside, inside)], covariance[np.ix_(inside, inside)], atol=1e-4)


def test_draws_differ_as_the_windows_of_their_class_do():
    training = cohort(per_person=150).training
    prior = JointPrior.measure(training, START)
    values, classes = prior.sample(4000, np.random.default_rng(1))
    for k in range(3):
        true, made = (prior.description.of(v) for v in (training.values[training.labels == k], values[classes == k]))
        assert np.abs(true.mean(0) - made.mean(0)).mean() < 0.15
        assert np.abs(true.std(0) - made.std(0)).mean() < 0.25
        together = np.mean([np.corrcoef(w)[0, 1] for w in values[classes == k]])
        assert together == pytest.approx(np.mean([np.corrcoef(w)[0, 1] for w in training.values[training.labels == k]]), abs=0.2)
    np.testing.assert_allclose(np.bincount(classes) / 4000, training.class_counts() / len(training), atol=0.05)


def test_no_draw_is_a_window_of_a_patient():
    training = cohort().training
    values, _ = build_prior(replace(START, splices=0.3), training, np.random.default_rng(0)).sample(300, np.random.default_rng(1))
    flat, true = values.reshape(300, -1), training.values.reshape(len(training), -1)
    assert np.sqrt(((flat[:, None, :] - true[None]) ** 2).mean(-1)).min() > 0.2


def test_hardly_anybody_is_scaled_down():
    training = cohort().training
    norms = np.linalg.norm(JointMoments(Description(SPEC, 4)).features(training.values), axis=1)
    assert norms.max() < 1


@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_whatever_noise_leaves_is_a_distribution(size):
    moments = JointMoments(Description(SPEC, 4, coarse=True))
    clean = moments.features(cohort().training.values).mean(0)
    noisy = clean + size * np.random.default_rng(2).standard_normal(len(clean))
    distribution, coherence = moments.distribution(noisy)
    assert np.isfinite(coherence).all()
    assert np.linalg.eigvalsh(distribution.cov).min() >= -1e-9
    drawn = distribution.sample(50, np.random.default_rng(3)).reshape(50, SPEC.channels, -1)
    assert np.isfinite(moments.description.realise(drawn, coherence, np.random.default_rng(4))).all()


@pytest.mark.parametrize("lost", [0, 2])
def test_a_class_of_which_nothing_is_left_costs_no_draw(lost):
    prior = build_prior(START, cohort().training, np.random.default_rng(0))
    parts = tuple((k, 0.0 if k == lost else share, *rest) for k, share, *rest in prior.parts)
    values, classes = replace(prior, parts=parts).sample(40, np.random.default_rng(1))
    assert np.isfinite(values).all()
    assert lost not in classes


def test_the_provenance_says_what_was_read():
    reader = Reader(Privacy())
    prior = build_prior(START, cohort().training, np.random.default_rng(0), reader)
    (entry,) = prior.aggregates
    size = SPEC.channels * prior.description.numbers
    assert entry["numbers"] == 3 * (1 + size + size * (size + 1) // 2 + 2 * prior.description.bands * SPEC.channels**2)
    assert "covariance" in entry["name"]
