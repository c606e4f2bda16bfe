"""The spectral view against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.learning.features import FLOOR, Spectral, describe


def test_against_plain_loops() -> None:
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(3, 2, 150)).astype(np.float32)
    constants = Spectral.of(150)
    bands, lags = constants.bands.shape[1], constants.lags.shape[1] - 1
    found = describe(windows, "spectral").reshape(3, 2, -1)
    distances = np.unique(np.round(np.geomspace(1, 37, 24))).astype(int)
    assert found.shape[2] == bands + lags + 5 and lags == len(distances)
    for i in range(3):
        for c in range(2):
            x = windows[i, c].astype(np.float64)
            z = x - x.mean()
            power = (z**2).mean() + FLOOR
            assert found[i, c, bands] == pytest.approx(np.log(power))
            for place, lag in enumerate(distances):
                assert found[i, c, bands + 1 + place] == pytest.approx((z[lag:] * z[:-lag]).sum() / 150 / power)
            rough = np.log((np.diff(x) ** 2).mean() + FLOOR)
            moments = [x.mean(), rough, (z**3).mean() / power**1.5, (z**4).mean() / power**2]
            assert found[i, c, -4:] == pytest.approx(moments)


def test_a_sine_lights_its_own_band() -> None:
    t = np.arange(200) / 200
    waves = np.stack([np.sin(2 * np.pi * k * t) for k in (1, 3, 6, 40)])[:, None].astype(np.float32)
    bands = describe(waves, "spectral")[:, : Spectral.of(200).bands.shape[1]]
    assert bands.argmax(axis=1)[:3].tolist() == [0, 2, 5]
    assert bands.argmax(axis=1)[3] > 8


def test_a_shift_in_time_changes_little() -> None:
    t = np.arange(300) / 300
    shifted = np.stack([np.sin(2 * np.pi * 12 * (t + s)) for s in (0, 0.013, 0.3)])[:, None].astype(np.float32)
    features = describe(shifted, "spectral")
    assert np.abs(features - features[0]).max() < 0.15


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 400), st.integers(1, 3), st.integers(0, 5))
def test_any_length_gives_finite_features_of_constant_number(samples: int, channels: int, n: int) -> None:
    windows = np.random.default_rng(0).normal(size=(n, channels, samples)).astype(np.float32)
    found = describe(windows, "spectral")
    constants = Spectral.of(samples)
    assert found.shape == (n, channels * (constants.bands.shape[1] + constants.lags.shape[1] + 4))
    assert np.isfinite(found).all()
    assert np.isfinite(describe(np.zeros((1, channels, samples), np.float32), "spectral")).all()
    assert (constants.bands.sum(axis=0) > 0).all()
