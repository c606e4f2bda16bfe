"""What is read of patients besides the prior, against averages taken apart from it."""

import numpy as np
import pytest
import torch

from custodian.excitation import readings
from custodian.excitation.aggregates import Reader
from custodian.excitation.sections import Privacy
from custodian.excitation.taps import Tap, look
from small_cohort import cohort
from small_teacher import teacher
from stimset.errors import ConfigError


def reader(epsilon=None):
    return Reader(Privacy(epsilon, 1e-5 if epsilon else None, norm=100.0))


def over_persons(windows, values, rows=slice(None)):
    """Mean over persons of each person's mean: all persons of the small cohort have equally many windows."""
    person = windows.person[rows]
    return np.mean([values[person == p].mean(0) for p in np.unique(person)], axis=0)


def test_moments_of_a_layer_are_those_of_the_windows():
    windows, network, layer = cohort().training, teacher().network, "members.0.blocks.0"
    draws = np.random.default_rng(0).standard_normal((200, *windows.spec.shape)).astype(np.float32)
    read = reader()
    (tap, (mean, variance)), = readings.layer_moments(read, network, windows, [layer], draws).items()  # fmt: skip
    assert tap == Tap(layer)
    values = torch.cat([found[0] for found in look(network, [tap], windows.values)]).numpy()
    expected = over_persons(windows, values.mean(2))
    np.testing.assert_allclose(mean, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(variance, over_persons(windows, np.square(values).mean(2)) - expected**2, rtol=1e-2, atol=1e-3)
    entry, = read.aggregates  # fmt: skip
    assert layer in entry["name"]
    assert entry["numbers"] == 1 + 2 * len(mean)


def test_features_of_a_window_have_a_norm_of_about_one():
    windows, network = cohort().training, teacher().network
    seen = {}

    class Recorder(Reader):
        def read(self, name, person, group, groups, features, *, words=""):
            seen[name] = np.linalg.norm(features(np.arange(100)), axis=1)
            return super().read(name, person, group, groups, features, words=words)

    draws = windows.values[:100] + 0.3
    readings.layer_moments(Recorder(Privacy()), network, windows, ["members.0.blocks.0", "members.0.blocks.1"], draws)
    readings.lagged_grams(Recorder(Privacy()), windows, 8)
    readings.certainty_quantiles(Recorder(Privacy()), network, windows, 4)
    assert set(seen) == {readings.LAYERS, readings.TEXTURE, readings.CERTAINTY}
    for norms in seen.values():
        assert 0.1 < np.median(norms) < 1.5


def test_grams_of_a_class_are_the_mean_of_its_windows():
    windows = cohort().training
    grams = readings.lagged_grams(reader(), windows, 3)
    assert grams.shape == (3, 2, 2, 4)
    rows = windows.labels == 1
    centred = windows.values[rows] - windows.values[rows].mean(-1, keepdims=True)
    np.testing.assert_allclose(grams[1, 0, 1, 0], np.mean(centred[:, 0] * centred[:, 1]), rtol=0.1)
    np.testing.assert_allclose(grams[1, 0, 0, 2], np.sum(centred[:, 0, :-2] * centred[:, 0, 2:]) / rows.sum() / 60, rtol=0.1)


def test_certainty_is_read_as_it_is_distributed():
    windows, network = cohort().validation, teacher().network
    shares, edges = readings.certainty_quantiles(reader(), network, windows, 2)
    belief = teacher().predict(windows.values)
    np.testing.assert_allclose(shares, np.bincount(belief.argmax(1), minlength=3) / len(belief), atol=1e-6)
    assert edges.shape == (3, 1)
    grid = readings.certainty_grid(3)
    for k in range(3):
        median = np.median(belief.max(1)[belief.argmax(1) == k])
        assert abs(np.searchsorted(grid, edges[k, 0]) - np.searchsorted(grid, median)) <= 1, "as exact as a cell is wide"


def test_noise_needs_an_account():
    with pytest.raises(ConfigError, match="ledger"):
        readings.lagged_grams(reader(epsilon=1.0), cohort().training, 3)


def test_running_statistics_are_declared_and_not_read_anew():
    moments, entry = readings.running_moments(teacher().network)
    assert entry["numbers"] == sum(mean.numel() + variance.numel() for mean, variance in moments.values())
    assert set(entry) == {"name", "numbers", "bound", "epsilon", "delta"}
