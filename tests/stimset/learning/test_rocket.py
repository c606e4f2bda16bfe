"""The random convolution features against their definition, and what the family learns."""

from __future__ import annotations

import numpy as np
import pytest

from stimset.learning import families
from stimset.learning.rocket import TAPS, banks, dilations, kernels


def test_the_kernels_are_minirockets() -> None:
    found = kernels()
    assert found.shape == (84, TAPS) and len({tuple(k) for k in found.tolist()}) == 84
    assert (np.sort(found, axis=1) == [-1] * 6 + [2] * 3).all()


@pytest.mark.parametrize("samples", [2, 9, 17, 150, 3000])
def test_a_kernel_fits_into_the_window(samples: int) -> None:
    found = dilations(samples)
    assert found[0] == 1 and len(found) <= 5 and (found[-1] * (TAPS - 1) < samples or found == [1])


@pytest.mark.parametrize(("channels", "samples"), [(1, 40), (3, 21), (2, 5)])
def test_features_are_shares_above_a_ramp(channels: int, samples: int) -> None:
    values = np.random.default_rng(0).normal(size=(6, channels, samples)).astype(np.float32)
    for bank in banks(values, 2, np.random.default_rng(1)):
        found = bank.describe(values)
        assert found.shape == (6, 168) and found.min() >= 0 and found.max() <= 1
        assert (np.abs(bank.weights).sum(axis=(1, 2)) > 0).all(), "a kernel looks at no channel"
        for kernel in (0, 41, 83):
            answer = np.zeros((6, samples))
            for channel in range(channels):
                for tap in range(TAPS):  # the definition, sample by sample
                    shift = (tap - TAPS // 2) * bank.dilation
                    for t in range(samples):
                        if 0 <= t + shift < samples:
                            answer[:, t] += bank.weights[kernel, channel, tap] * values[:, channel, t + shift]
            for bias in range(2):
                ramp = (answer - bank.thresholds[bias, kernel]) * bank.slope[kernel] + 0.5
                assert np.allclose(found[:, bias * 84 + kernel], np.clip(ramp, 0, 1).mean(axis=1), atol=1e-5)


def test_it_learns_soft_labels() -> None:
    rng = np.random.default_rng(0)
    strength, phase = rng.uniform(0, 1, 900), rng.uniform(0, 6.3, (900, 1))
    values = 2 * strength[:, None] * np.sin(0.6 * np.arange(40) + phase) + 0.5 * rng.normal(size=(900, 40))
    chances = np.stack([1 - strength, strength], axis=1)
    model = families.build("rocket", 1, 40, 2, seed=1).fit(values[:600], chances[:600])
    assert np.abs(model.predict_proba(values[600:]) - chances[600:]).mean() < 0.12


def test_resnet_is_another_name_of_the_deep_network() -> None:
    assert families.family("resnet") is families.family("deep_cnn")
