"""WFDB records written by the wfdb package, read back; and broken ones."""

import numpy as np
import pytest
import wfdb

from stimset.errors import RecordError
from stimset.records import EventSeries, open_records
from stimset.records.wfdb import rr_series


def write_signals(folder, name="r1", seconds=40, rate=50):
    t = np.arange(seconds * rate) / rate
    signals = np.stack([np.sin(t), np.cos(t)], axis=1)
    wfdb.wrsamp(
        name,
        fs=rate,
        units=["mV", "NU"],
        sig_name=["ECG", "resp"],
        p_signal=signals,
        fmt=["16", "16"],
        write_dir=str(folder),
    )
    return signals


def write_notes(folder, extension, samples, symbols, notes=None, name="r1", rate=50):
    wfdb.wrann(
        name, extension, np.asarray(samples), symbol=list(symbols), aux_note=notes, fs=rate, write_dir=str(folder)
    )


def test_signals_beats_and_minutes(tmp_path):
    signals = write_signals(tmp_path)
    beats = np.cumsum([45, 50, 40] * 10)
    write_notes(tmp_path, "qrs", beats, "N" * 30)
    write_notes(tmp_path, "apn", [0, 1000], "NA")
    (record,) = open_records(tmp_path)
    assert (record.name, record.person, record.duration_s) == ("r1", "r1", 40.0)
    ecg, resp, rr = record.signals
    assert (ecg.name, ecg.unit, ecg.rate_hz, resp.unit) == ("ECG", "mV", 50.0, "NU")
    np.testing.assert_allclose(ecg.values, signals[:, 0], atol=1e-3)
    assert isinstance(rr, EventSeries)
    assert (rr.name, rr.unit) == ("RR", "ms")
    np.testing.assert_allclose(rr.values, np.diff(beats) / 50 * 1000)
    np.testing.assert_allclose(rr.times_s, beats[1:] / 50)
    assert [(a.onset_s, a.duration_s, a.text) for a in record.annotations] == [(0, 0, "N"), (20, 0, "A")]


def test_implausible_intervals_are_dropped():
    steps = np.full(60, 0.8)
    steps[10], steps[20], steps[30] = 0.25, 2.5, 1.1  # too short, too long, 37 % off its neighbours
    beats = np.concatenate([[0], np.cumsum(steps)])
    rr = rr_series(beats)
    kept = np.delete(np.arange(60), [10, 20, 30])
    np.testing.assert_allclose(rr.times_s, beats[1:][kept])
    np.testing.assert_allclose(rr.values, 800)
    assert rr_series(np.array([1.0])).values.size == 0


def test_a_header_with_beats_and_labels_alone_is_a_record(tmp_path):
    write_signals(tmp_path)
    write_notes(tmp_path, "qrs", np.arange(1, 50) * 40, "N" * 49)
    (tmp_path / "r1.dat").unlink()
    (record,) = open_records(tmp_path)
    assert [s.name for s in record.signals] == ["RR"]
    (tmp_path / "r1.qrs").unlink()
    with pytest.raises(RecordError, match=r"neither a signal file nor beat annotations"):
        open_records(tmp_path / "r1.hea")[0]


def test_labels_in_a_folder_of_their_own(tmp_path):
    data, labels = tmp_path / "data", tmp_path / "labels"
    data.mkdir()
    labels.mkdir()
    write_signals(data)
    write_notes(labels, "apn", [0, 1000], "AN")
    assert open_records(data)[0].annotations == ()
    assert [a.text for a in open_records(data, labels=labels)[0].annotations] == ["A", "N"]
    with pytest.raises(RecordError, match="no such folder of labels"):
        open_records(data, labels=tmp_path / "nowhere")


def test_sleep_stages_and_rhythms_by_their_notes(tmp_path):
    write_signals(tmp_path)
    write_notes(tmp_path, "st", [50, 500, 1000], '"""', ["W", "1", "R"])
    assert [(a.onset_s, a.text) for a in open_records(tmp_path)[0].annotations] == [(1, "W"), (10, "1"), (20, "R")]
    (tmp_path / "r1.st").unlink()
    write_notes(tmp_path, "atr", [5, 40, 80, 500, 560], "+NN+N", ["(N", "", "", "(AFIB", ""])
    record = open_records(tmp_path)[0]
    assert [(a.onset_s, round(a.duration_s, 6), a.text) for a in record.annotations] == [
        (0.1, 9.9, "(N"),
        (10, 30, "(AFIB"),
    ]
    assert [s.name for s in record.signals] == ["ECG", "resp", "RR"]


@pytest.mark.parametrize("kind", ["dat", "qrs", "hea"])
def test_truncated_files_are_refused_by_name(tmp_path, kind):
    write_signals(tmp_path)
    write_notes(tmp_path, "qrs", np.arange(1, 50) * 40, "N" * 49)
    path = tmp_path / f"r1.{kind}"
    path.write_bytes(path.read_bytes()[: 5 if kind == "hea" else 31])
    with pytest.raises(RecordError, match=r"r1\.") as caught:
        open_records(tmp_path)[0]
    assert "\n" not in str(caught.value)


def test_copies_of_apnea_ecg_recordings_and_bare_headers_are_left_out(tmp_path):
    for name in ("a01", "a01r", "a01er", "b01"):
        write_signals(tmp_path, name)
    (tmp_path / "b01.dat").unlink()
    assert open_records(tmp_path).names == ("a01",)
