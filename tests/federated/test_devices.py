"""Devices that record the same heart differently: against what each of their faults must do by itself."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from devices import CASE_MIX, DEVICES, Device, apnea_share, nights

from stimset.records import open_records, simulate
from stimset.records.simulated import SPEC
from stimset.windowing import make_windows


@pytest.fixture(scope="module")
def truth():
    (record,) = simulate(1, 60, 3, 7)
    return record


def recorded(device, truth, seed=0):
    return device.record(truth, np.random.default_rng(seed)).signals[0]


def test_a_perfect_device_writes_the_truth(truth):
    series = recorded(Device(), truth)
    assert np.allclose(series.values, truth.signals[0].values) and np.array_equal(series.times_s, truth.signals[0].times_s)


def test_each_fault_does_what_it_says(truth):
    rr = truth.signals[0].values
    assert np.allclose(recorded(Device(gain=1.03, offset_ms=-7.0), truth).values, 1.03 * rr - 7.0)
    steps = recorded(Device(step_ms=7.8125), truth).values / 7.8125
    assert np.allclose(steps, np.round(steps)) and np.abs(7.8125 * steps - rr).max() <= 7.8125 / 2 + 1e-9
    noise = recorded(Device(noise_ms=6.0), truth).values - rr
    assert np.std(noise) == pytest.approx(6.0 * np.sqrt(2), rel=0.1)  # an interval has two ends
    assert np.corrcoef(noise[:-1], noise[1:])[0, 1] == pytest.approx(-0.5, abs=0.08)  # and shares each with a neighbour
    wander = recorded(Device(jitter=0.02), truth).values / rr - 1
    assert 0.008 < np.std(wander) < 0.03 and np.corrcoef(wander[:-1], wander[1:])[0, 1] > 0.9


def test_a_missed_beat_joins_two_intervals(truth):
    series = recorded(Device(missed=0.05), truth)
    rr = truth.signals[0].values
    assert len(series.values) / len(rr) == pytest.approx(0.95, abs=0.02)
    assert series.values.sum() == pytest.approx(rr[: np.flatnonzero(truth.signals[0].times_s == series.times_s[-1])[0] + 1].sum())
    lasting = np.diff(series.times_s) * 1000
    assert np.corrcoef(lasting, series.values[1:])[0, 1] > 0.95


def test_what_a_window_spec_takes_away_and_what_it_leaves(truth):
    """A constant clock error is gone after normalisation; noise is not."""
    plain, shifted, noisy = (
        make_windows([device.record(truth, np.random.default_rng(1))], SPEC).values
        for device in (Device(), Device(gain=1.04, offset_ms=-20.0), DEVICES["south"])
    )
    assert np.abs(plain - shifted).max() < 1e-3
    assert np.abs(plain - noisy).mean() > 0.05


def test_each_hospital_sees_its_own_patients():
    for hospital, (low, high) in CASE_MIX.items():
        seen = list(nights(hospital, 3, 60, 100, 1))
        shares = [sum(a.text == "A" for a in night.annotations) / len(night.annotations) for night in seen]
        assert all(low <= share <= high for share in shares)
        assert shares == pytest.approx([apnea_share(night) for night in seen])
    again = next(nights("west", 1, 60, 100, 1))
    assert np.array_equal(again.signals[0].values, seen[0].signals[0].values)  # whoever asks


def test_the_script_writes_what_both_sides_read(tmp_path):
    script = Path(__file__).parents[2] / "deploy" / "federated" / "devices.py"
    for device, first in (("north", 0), ("west", 2000)):
        sizes = ("--persons", "2", "--minutes", "30", "--first-person", str(first))
        command = [sys.executable, script, tmp_path / device, "--device", device, *sizes]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    names = [record.person for device in ("north", "west") for record in open_records(tmp_path / device)]
    assert len(set(names)) == 4 and all(name.startswith("simulated-") for name in names)
