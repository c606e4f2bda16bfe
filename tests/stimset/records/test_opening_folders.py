"""Finding recordings, choosing among them, and guessing what they have in common."""

import numpy as np
import pytest

from stimset.errors import RecordError
from stimset.records import Annotation, EventSeries, Record, SampledSignal, guess_spec, open_records, read_persons


def write(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        np.savez(folder / f"{name}.npz", signals=np.ones((2, 100)), fs=10, labels=[0, 1])


def test_records_are_listed_without_being_read_and_sliced(tmp_path):
    write(tmp_path, "b", "a")
    (tmp_path / "c.csv").write_text("broken")
    records = open_records(tmp_path)
    assert records.names == ("a", "b", "c")
    assert [r.name for r in records[:2]] == ["a", "b"]
    with pytest.raises(RecordError, match=r"c\.csv"):
        records[2]


def test_only_takes_names_and_patterns(tmp_path):
    write(tmp_path, "a01", "a02", "x01")
    assert open_records(tmp_path, only=["a*"]).names == ("a01", "a02")
    assert open_records(tmp_path, only=["x01", "a02"]).names == ("a02", "x01")
    with pytest.raises(RecordError, match="none of the 3 recordings is called q"):
        open_records(tmp_path, only=["q"])


def test_subfolders_count_where_the_folder_holds_nothing(tmp_path):
    write(tmp_path / "p1", "night1")
    write(tmp_path / "p2", "night2")
    assert open_records(tmp_path).names == ("night1", "night2")
    write(tmp_path / "p3", "night1")
    with pytest.raises(RecordError, match="two recordings are called 'night1'"):
        open_records(tmp_path)


def test_nothing_to_read(tmp_path):
    with pytest.raises(RecordError, match=r"looked for \.hea, \.edf, \.npz, \.csv"):
        open_records(tmp_path)
    with pytest.raises(RecordError, match="does not exist"):
        open_records(tmp_path / "absent")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(RecordError, match="known formats are"):
        open_records(tmp_path / "x.txt")


def test_persons_tables(tmp_path):
    assert read_persons(tmp_path) == {}
    (tmp_path / "records.csv").write_text("record,age,subject\na,3,7\nb,4,8\n")
    assert read_persons(tmp_path) == {"a": "7", "b": "8"}
    (tmp_path / "persons.csv").write_text("Recording,Patient\na.edf,P1\n")
    assert read_persons(tmp_path) == {"a": "P1"}
    (tmp_path / "persons.csv").write_text("record,age\na,3\n")
    with pytest.raises(RecordError, match="'record' and 'person'"):
        read_persons(tmp_path)


def test_apnea_ecg_persons_from_the_published_table(tmp_path):
    line = "{}\t490\t20\t470\t9\t12.5\t57.1\t69.6\t51\tM\t175\t{}\t\t\n"
    text = "Record\tLength\n\tminutes\n\n" + line.format("a01", 102) + line.format("a14", 102) + line.format("a02", 120)
    (tmp_path / "additional-information.txt").write_text(text)
    persons = read_persons(tmp_path)
    assert set(persons) == {"a01", "a14", "a02"}
    assert persons["a01"] == persons["a14"] != persons["a02"]


def make(names=("ecg",), texts=("0", "1"), rate=100.0, spacing=30.0, duration=30.0, unit=""):
    n = int(rate * spacing * len(texts))
    notes = tuple(Annotation(i * spacing, duration, t) for i, t in enumerate(texts))
    return Record("r", "p", tuple(SampledSignal(x, unit, rate, np.ones(n)) for x in names), notes, n / rate, "r.npz")


def test_guess_takes_common_signals_and_ordered_labels():
    spec = guess_spec([make(("ECG", "resp", "x")), make(("resp", "ecg"), texts=("10", "2", "-1", "?"))])
    assert [s.name for s in spec.signals] == ["ECG", "resp"]
    assert spec.labels == ("0", "1", "2", "10")
    assert spec.epoch_s == 30.0


@pytest.mark.parametrize(
    ("rate", "epoch", "samples"),
    [(100.0, 30.0, 500), (50.0, 5.0, 250), (256.0, 30.0, 512), (1.0, 30.0, 30), (333.0, 4.0, 444)]
)  # fmt: skip
def test_guess_finds_a_rate_of_at_most_512_samples(rate, epoch, samples):
    spec = guess_spec([make(rate=rate, spacing=epoch, duration=epoch)])
    assert spec.samples == samples


def test_guess_from_points_in_time_and_from_events():
    notes = tuple(Annotation(60.0 * i, 0.0, t) for i, t in enumerate("NANN"))
    rr = EventSeries("RR", "ms", np.arange(1.0, 240.0), np.full(239, 900.0))
    spec = guess_spec([Record("r", "p", (rr,), notes, 240.0)])
    assert (spec.epoch_s, spec.rate_hz, spec.shape) == (60.0, 2.0, (1, 120))
    assert spec.signals[0].valid == (300.0, 2000.0)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([], "no signal in common"),
        ([make(("a",)), make(("b",))], "no signal in common"),
        ([make(texts=("0", "0"))], "1 class of label"),
        ([make(unit="mV"), make(unit="V")], "comes in the units V, mV"),
    ],
)
def test_what_cannot_be_guessed(records, says):
    with pytest.raises(RecordError, match=says):
        guess_spec(records)
