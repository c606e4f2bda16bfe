"""Priors reproduce the statistics that they say they read, and nothing of any window."""

from dataclasses import replace

import numpy as np
import pytest

from custodian.excitation.priors import NoisePrior, SpectralPrior, SplicedPrior, build_prior
from custodian.excitation.recipe import Start
from custodian.excitation.statistics import (
    MIN_PERSONS_PER_PROTOTYPE,
    log_energies,
    prototypes,
)
from small_cohort import SPEC, cohort


def spectrum(values):
    return (np.abs(np.fft.rfft(values - values.mean(-1, keepdims=True), axis=-1)) ** 2).mean(0)


def measured(windows):
    return SpectralPrior.measure(windows, Start("class-spectral", segments=4), np.random.default_rng(0))


def test_noise_has_the_power_law_it_promises():
    for exponent in (0.0, 1.0, 2.0):
        values, classes = NoisePrior(SPEC, exponent).sample(4000, np.random.default_rng(0))
        assert values.shape == (4000, *SPEC.shape)
        assert set(classes) == {0, 1, 2}
        power = spectrum(values)[0, 1:30]
        slope = np.polyfit(np.log(np.arange(1, 30)), np.log(power), 1)[0]
        assert slope == pytest.approx(-exponent, abs=0.15)


def test_class_spectral_noise_follows_each_class_and_the_channels_move_together():
    training = cohort(per_person=150).training
    prior = measured(training)
    values, classes = prior.sample(6000, np.random.default_rng(1))
    for k in range(3):
        true, made = training.values[training.labels == k], values[classes == k]
        log_ratio = np.log(spectrum(made)[:, 1:] / spectrum(true)[:, 1:])
        assert np.abs(log_ratio).mean() < 0.45
        together = np.mean([np.corrcoef(w)[0, 1] for w in made])
        assert together == pytest.approx(np.mean([np.corrcoef(w)[0, 1] for w in true]), abs=0.12)
    np.testing.assert_allclose(np.bincount(classes) / 6000, training.class_counts() / len(training), atol=0.03)


def test_a_draw_is_no_window_of_a_patient():
    training = cohort().training
    values, _ = measured(training).sample(300, np.random.default_rng(1))
    flat, true = values.reshape(300, -1), training.values.reshape(len(training), -1)
    nearest = np.sqrt(((flat[:, None, :] - true[None]) ** 2).mean(-1)).min(1)
    assert nearest.min() > 0.2


def test_prototypes_belong_to_several_persons():
    training = cohort().training
    values = training.values.astype(float)
    groups = list(prototypes(values, training.person, 6, np.random.default_rng(0)))
    assert sorted(np.concatenate(groups)) == list(range(len(values)))
    assert 1 < len(groups) <= 7
    assert all(len(set(training.person[g])) >= MIN_PERSONS_PER_PROTOTYPE for g in groups)
    alone = list(prototypes(values, np.zeros(len(values), int), 6, np.random.default_rng(0)))
    assert len(alone) == 1, "where one person is all there is, no prototype speaks of less than the class"


def test_draws_get_louder_and_quieter_as_windows_do():
    rng = np.random.default_rng(0)
    windows = cohort(per_person=150).training
    ramp = np.linspace(0.2, 1.8, SPEC.samples, dtype=np.float32)
    louder = replace(windows, values=np.clip(windows.values * ramp, -5, 5))
    flat, shaped = (
        SpectralPrior.measure(louder, Start("class-spectral", segments=n), rng).sample(2000, rng)[0] for n in (0, 6)
    )
    slope = lambda x: np.diff(log_energies(x.astype(float), 6).mean((0, 1))[[0, -1]])[0]  # noqa: E731
    assert abs(slope(flat)) < 0.3
    assert slope(shaped) == pytest.approx(slope(louder.values), rel=0.25)


def test_a_spliced_draw_is_one_draw_before_the_moment_and_another_after_it():
    class Flat:
        spec, aggregates = SPEC, ()

        def sample(self, count, rng):
            k = rng.integers(3, size=count)
            return np.broadcast_to(k[:, None, None], (count, *SPEC.shape)).astype(np.float32), k

    values, classes = SplicedPrior(Flat(), 1.0).sample(500, np.random.default_rng(0))
    assert np.mean(np.round(values[:, 0, 30]) == classes) > 0.98  # a crossfade may stand in the very middle
    changed = values[:, 0, 0] != values[:, 0, -1]
    assert 0.3 < changed.mean() < 0.9
    unspliced, _ = SplicedPrior(Flat(), 0.0).sample(50, np.random.default_rng(0))
    assert (unspliced[:, 0, 0] == unspliced[:, 0, -1]).all()


def test_every_aggregate_is_declared():
    training = cohort().training
    for kind, reads in (("white", 0), ("coloured", 0), ("spectral", 1), ("class-spectral", 1)):
        prior = build_prior(Start(kind, splices=0.5), training, np.random.default_rng(0))
        assert len(prior.aggregates) == reads
        for entry in prior.aggregates:
            assert set(entry) == {"name", "numbers", "bound", "epsilon", "delta"}
            assert entry["numbers"] > 0
