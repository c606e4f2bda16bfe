"""EDF+ written by edfio, read back; and broken ones."""

import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal, Patient

from stimset.errors import RecordError
from stimset.records import guess_spec, open_records
from stimset.windowing import make_windows

STAGES = ["W", "N1", "N2", "N2", "R", "W"]


def signals(seconds=180):
    rng = np.random.default_rng(0)
    return [
        EdfSignal(rng.normal(size=100 * seconds), 100, label="EEG Fpz-Cz", physical_dimension="uV"),
        EdfSignal(rng.uniform(90, 99, seconds), 1, label="SpO2", physical_dimension="%"),
    ]


def stages(every=30):
    return [EdfAnnotation(every * i, every, f"Sleep stage {s}") for i, s in enumerate(STAGES)]


def write(path, *, parts=None, notes=None, patient=None):
    Edf(signals() if parts is None else parts, annotations=notes, patient=patient).write(path)


def test_signals_rates_stages_and_person(tmp_path):
    write(tmp_path / "n1.edf", notes=[*stages(), EdfAnnotation(3, None, "Lights off")], patient=Patient(code="P7"))
    (record,) = open_records(tmp_path)
    assert (record.name, record.person, record.duration_s) == ("n1", "P7", 180.0)
    assert [(s.name, s.unit, s.rate_hz, len(s.values)) for s in record.signals] == [
        ("EEG Fpz-Cz", "uV", 100.0, 18000),
        ("SpO2", "%", 1.0, 180),
    ]
    np.testing.assert_allclose(record.signals[0].values, signals()[0].data, atol=1e-3)
    spec = guess_spec([record])
    assert (spec.epoch_s, spec.channels) == (30.0, 2)
    assert spec.labels == ("Sleep stage N1", "Sleep stage N2", "Sleep stage R", "Sleep stage W")
    made = make_windows([record], spec)
    assert [spec.labels[i][12:] for i in made.labels] == STAGES
    assert spec.samples <= 512


def test_a_longer_stage_gives_several_epochs(tmp_path):
    write(tmp_path / "n1.edf", notes=[EdfAnnotation(0, 60, "Sleep stage W"), EdfAnnotation(60, 30, "Sleep stage R")])
    made = make_windows(open_records(tmp_path), guess_spec(open_records(tmp_path)))
    assert made.start_s.tolist() == [0, 30, 60]


def test_the_anonymous_code_x_is_no_person(tmp_path):
    write(tmp_path / "n1.edf")
    assert open_records(tmp_path)[0].person == "n1"


def test_a_hypnogram_beside_the_recording_or_in_a_folder(tmp_path):
    data, labels = tmp_path / "data", tmp_path / "labels"
    data.mkdir()
    labels.mkdir()
    write(data / "SC4001E0-PSG.edf")
    write(data / "SC4011E0-PSG.edf")
    write(data / "SC4001EC-Hypnogram.edf", parts=[], notes=stages())
    records = open_records(data)
    assert records.names == ("SC4001E0-PSG", "SC4011E0-PSG")
    assert [len(r.annotations) for r in records] == [6, 0]
    assert len(open_records(data / "SC4001E0-PSG.edf")[0].annotations) == 6
    write(labels / "SC4011E0-PSG.edf", parts=[], notes=stages()[:2])
    assert [len(r.annotations) for r in open_records(data, labels=labels)] == [6, 2]


@pytest.mark.parametrize("size", [10, 256, 700, 5000, -1])
def test_truncated_files_are_refused_by_name(tmp_path, size):
    path = tmp_path / "n1.edf"
    write(path, notes=stages())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordError, match=r"n1\.edf") as caught:
        open_records(path)[0]
    assert "\n" not in str(caught.value)


def test_something_else_called_edf_is_refused(tmp_path):
    (tmp_path / "n1.edf").write_bytes(b"hello " * 1000)
    with pytest.raises(RecordError, match="no complete EDF header"):
        open_records(tmp_path)
