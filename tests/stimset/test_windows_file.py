"""Windows on disk: what is written comes back, and nothing else is read."""

import dataclasses
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from stimset.errors import FormatError
from stimset.records import simulate
from stimset.records.apnea_ecg import SPEC_60S
from stimset.serde import load_windows, save_windows
from stimset.windowing import make_windows


@pytest.fixture(scope="module")
def windows():
    return make_windows(simulate(2, 8, seed=3), SPEC_60S)


def test_round_trip(windows, tmp_path):
    path = tmp_path / "cohort" / "windows.safetensors"
    save_windows(path, windows)
    again = load_windows(path)
    assert again.spec == windows.spec
    assert (again.record_names, again.person_names) == (windows.record_names, windows.person_names)
    for name in ("values", "labels", "record", "person", "start_s", "coverage"):
        np.testing.assert_array_equal(getattr(again, name), getattr(windows, name))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_every_truncation_is_a_format_error(windows, tmp_path):
    path = tmp_path / "w.safetensors"
    save_windows(path, windows)
    data = path.read_bytes()
    for size in (0, 7, 8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(FormatError, match=r"w\.safetensors"):
            load_windows(path)
    with pytest.raises(FormatError):
        load_windows(tmp_path / "absent")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("values", np.nan, "not finite"),
        ("values", 99.0, "outside"),
        ("labels", 2, "label"),
        ("record", -1, "no record"),
        ("person", 9, "no person"),
        ("start_s", np.inf, "start"),
        ("coverage", 1.5, "coverage"),
    ],
)
def test_values_out_of_bounds_are_refused_both_ways(windows, tmp_path, field, value, says):
    broken = getattr(windows, field).copy()
    broken.flat[0] = value
    with pytest.raises(FormatError, match=says):
        save_windows(tmp_path / "w", dataclasses.replace(windows, **{field: broken}))
    save_windows(tmp_path / "good", windows)
    from safetensors import safe_open

    with safe_open(tmp_path / "good", framework="numpy") as file:
        arrays, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    save_file({**arrays, field: broken}, tmp_path / "bad", metadata)
    with pytest.raises(FormatError, match=says):
        load_windows(tmp_path / "bad")


def test_other_safetensors_are_refused(windows, tmp_path):
    save_file({"values": np.zeros(3, dtype=np.float32)}, tmp_path / "other")
    with pytest.raises(FormatError, match="not a file of windows"):
        load_windows(tmp_path / "other")
