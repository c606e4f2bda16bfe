"""Every documented form of NPZ, written by numpy alone, gives the same recordings."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stimset.errors import FormatError, RecordError
from stimset.records import EventSeries, guess_spec, open_records, simulate, write_npz
from stimset.windowing import check_usable, make_windows

RATE, EPOCH, EPOCHS = 20.0, 5.0, 12


def cohort(count=10, channels=3, classes=3, seed=0):
    """Signals (channels, samples), integer labels and a person for each recording."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        labels = rng.integers(0, classes, EPOCHS)
        labels[:classes] = np.arange(classes)
        signals = rng.normal(size=(channels, int(RATE * EPOCH * EPOCHS))) * (1 + np.repeat(labels, int(RATE * EPOCH)))
        out.append((signals.astype(np.float32), labels, f"p{i}"))
    return out


def check(records, made, *, names=None, labels_text=str):
    assert len(records) == len(made)
    if names:
        assert records.names == tuple(names)
    for record, (signals, labels, person) in zip(records, made, strict=True):
        np.testing.assert_allclose(np.stack([s.values for s in record.signals]), signals)
        assert {s.rate_hz for s in record.signals} == {RATE}
        assert [a.text for a in record.annotations] == [labels_text(x) for x in labels]
        assert [a.onset_s for a in record.annotations] == [EPOCH * i for i in range(EPOCHS)]
        assert record.person == person


@pytest.mark.parametrize(
    "keys",
    [
        ("signals", "rate_hz", "labels", "epoch_s", "person"),
        ("X", "fs", "y", "epoch_length_s", "patient"),
        ("data", "Sampling-Rate", "stages", "epoch", "subject_id"),
        ("signal", "sampling_hz", "label", "window_s", "Person ID"),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_one_file_per_recording(tmp_path, keys, transposed):
    made = cohort()
    for i, (signals, labels, person) in enumerate(made):
        values = (signals.T if transposed else signals, RATE, labels, EPOCH, person)
        np.savez(tmp_path / f"r{i}.npz", **dict(zip(keys, values, strict=True)))
    records = open_records(tmp_path)
    check(records, made, names=[f"r{i}" for i in range(10)])
    assert [s.name for s in records[0].signals] == ["channel1", "channel2", "channel3"]


def test_an_unseen_data_set_goes_all_the_way_to_windows(tmp_path):
    for i, (signals, labels, _) in enumerate(cohort(channels=4)):
        np.savez(tmp_path / f"r{i}.npz", signals=signals, labels=labels, fs=RATE, person_id=i)
    spec = guess_spec(open_records(tmp_path))
    assert spec.labels == ("0", "1", "2")
    assert (spec.epoch_s, spec.rate_hz, spec.shape) == (EPOCH, RATE, (4, 100))
    assert "guessed" in spec.meaning
    made = make_windows(open_records(tmp_path), spec)
    check_usable(made)
    assert len(made) == 120
    assert len(made.person_names) == 10
    assert (np.bincount(made.labels) > 0).all()


def test_many_recordings_by_suffix_prefix_and_bare_names(tmp_path):
    made = cohort(4)
    common = {"fs": RATE, "epoch_s": EPOCH, "channels": ["eeg", "emg", "eog"]}
    forms = {
        "suffix": {
            f"{k}_r{i}": v for i, m in enumerate(made) for k, v in zip(("signals", "labels", "person"), m, strict=True)
        },
        "prefix": {
            f"r{i}_{k}": v
            for i, m in enumerate(made)
            for k, v in zip(("signals", "labels", "person_id"), m, strict=True)
        },
        "slash": {f"r{i}/{k}": v for i, m in enumerate(made) for k, v in zip(("X", "y", "subject"), m, strict=True)},
        "bare": {
            k: v
            for i, m in enumerate(made)
            for k, v in ((f"r{i}", m[0]), (f"labels_r{i}", m[1]), (f"person_r{i}", m[2]))
        },
        "persons": {k: v for i, m in enumerate(made) for k, v in ((f"signals_r{i}", m[0]), (f"labels_r{i}", m[1]))}
        | {"persons": [m[2] for m in made]},
    }
    for name, arrays in forms.items():
        path = tmp_path / f"{name}.npz"
        np.savez(path, **arrays, **common)
        records = open_records(path)
        check(records, made, names=["r0", "r1", "r2", "r3"])
        assert [s.name for s in records[0].signals] == ["eeg", "emg", "eog"]


def test_stacked_recordings(tmp_path):
    made = cohort(4)
    signals, labels, persons = (np.stack([m[k] for m in made]) for k in range(3))
    for name, cube in {"rcs": signals, "rsc": signals.transpose(0, 2, 1)}.items():
        np.savez(tmp_path / f"{name}.npz", signals=cube, labels=labels, persons=persons, fs=RATE, epoch_s=EPOCH)
        check(open_records(tmp_path / f"{name}.npz"), made, names=[f"{name}-{i}" for i in range(1, 5)])
    np.savez(tmp_path / "named.npz", X=signals, y=labels, patients=persons, fs=RATE, records=["d", "c", "b", "a"])
    assert open_records(tmp_path / "named.npz").names == ("a", "b", "c", "d")
    one = [(m[0][:1], m[1], m[2]) for m in made]
    np.savez(tmp_path / "flat.npz", x=signals[:, 0], y=labels, persons=persons, fs=RATE)
    check(open_records(tmp_path / "flat.npz"), one)


def test_windows_that_were_cut_already_are_joined_by_person(tmp_path):
    made = cohort(4)
    cut = np.concatenate([m[0].reshape(3, EPOCHS, -1).transpose(1, 0, 2) for m in made])
    labels, persons = np.concatenate([m[1] for m in made]), np.repeat([m[2] for m in made], EPOCHS)
    np.savez(tmp_path / "cut.npz", X=cut, y=labels, subject=persons, fs=RATE)
    check(open_records(tmp_path / "cut.npz"), made, names=[m[2] for m in made])


def test_channels_under_their_own_names(tmp_path):
    (signals, labels, person), *_ = cohort(1)
    np.savez(tmp_path / "r.npz", eeg=signals[0], emg=signals[1], labels=labels, fs=RATE, person=person)
    (record,) = open_records(tmp_path)
    assert [s.name for s in record.signals] == ["eeg", "emg"]
    assert len(record.annotations) == EPOCHS


def test_names_of_labels_units_missing_values_and_rate_from_the_epochs(tmp_path):
    (signals, labels, _), *_ = cohort(1)
    holed = signals.copy()
    holed[0, 5] = np.inf
    np.savez(
        tmp_path / "r.npz", signals=holed, labels=labels, epoch_s=EPOCH,
        label_names=["wake", "light", "deep"], units=["uV", "mV", ""],
    )  # fmt: skip
    (record,) = open_records(tmp_path)
    assert record.signals[0].rate_hz == RATE
    assert np.isnan(record.signals[0].values[5])
    assert [s.unit for s in record.signals] == ["uV", "mV", ""]
    assert {a.text for a in record.annotations} == {"wake", "light", "deep"}
    assert record.person == "r"


def test_persons_from_a_table_win_and_must_be_complete(tmp_path):
    for i, (signals, labels, _) in enumerate(cohort(3)):
        np.savez(tmp_path / f"r{i}.npz", signals=signals, labels=labels, fs=RATE)
    (tmp_path / "persons.csv").write_text("record,person\nr0.npz,anna\nr1,ben\nr2,anna\n")
    assert [r.person for r in open_records(tmp_path)] == ["anna", "ben", "anna"]
    (tmp_path / "persons.csv").write_text("record;subject\nr0;anna\nr1;ben\n")
    with pytest.raises(RecordError, match="does not say whose recording 'r2'"):
        list(open_records(tmp_path))
    (tmp_path / "persons.csv").write_text("record,person\nr0,anna\nr0,ben\n")
    with pytest.raises(RecordError, match="two persons"):
        open_records(tmp_path)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": np.zeros(5)}, "no signals; accepted are signals, signal, x"),
        ({"signals": np.ones((2, 100))}, "no sampling rate; accepted are rate_hz, rate, fs"),
        ({"signals": np.ones((2, 100)), "fs": 0.0}, "rate_hz must be one positive number"),
        ({"signals": np.ones((2, 100)), "fs": "fast"}, "rate_hz must be one positive number"),
        ({"signals": np.ones((2, 100)), "fs": 10, "labels": [0, 1, 0]}, "don't divide 100 samples"),
        (
            {"signals": np.ones((2, 100)), "fs": 10, "labels": [0, 1], "epoch_s": 30},
            "the labels last 60 s, the signals 10 s",
        ),
        (
            {"signals": np.ones((2, 1000)), "fs": 10, "labels": [0, 1], "epoch_s": 10},
            "the labels last 20 s, the signals 100 s",
        ),
        ({"signals": np.ones((2, 100)), "fs": 10, "channels": ["a", "b", "c"]}, "3 channel names"),
        ({"signals": np.array(["a", "b"]), "fs": 10}, "signals must be numbers"),
        ({"signals": np.ones((2, 3, 100)), "fs": 10, "persons": ["a"]}, "one entry for each of the 2 recordings"),
        ({"signals": np.ones((2, 3, 4, 5)), "fs": 10}, "one to three dimensions"),
        ({"signals": np.ones((2, 100)), "fs": 10, "labels": [0, 9], "label_names": ["a", "b"]}, "no index into"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(tmp_path, arrays, says):
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(RecordError) as caught:
        list(open_records(tmp_path))
    message = str(caught.value)
    assert says in message
    assert "r.npz" in message
    assert "found: " in message
    assert "\n" not in message


def test_python_objects_are_refused_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.savez(tmp_path / "r.npz", signals=np.array([Trap(), None], dtype=object), fs=10)
    with pytest.raises(RecordError, match="never unpickled; save each recording as an array of its own"):
        open_records(tmp_path)
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999), flip=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_damaged_files_give_a_record_or_a_format_error(tmp_path, cut, flip, bit):
    path = tmp_path / "r.npz"
    (signals, labels, _), *_ = cohort(1)
    np.savez_compressed(path, signals=signals[:, :200], labels=labels, fs=RATE)
    data = bytearray(path.read_bytes())
    data[int(flip * len(data))] ^= 1 << bit
    for damaged in (data, data[: int(cut * len(data))]):
        path.write_bytes(damaged)
        try:
            list(open_records(path))
        except FormatError as error:
            assert "\n" not in str(error)


def test_writing_and_reading_back(tmp_path):
    for record in simulate(2, 5, seed=1):
        write_npz(record, tmp_path)
        again = open_records(tmp_path / f"{record.name}.npz")[0]
        assert isinstance(again.signals[0], EventSeries)
        np.testing.assert_array_equal(again.signals[0].times_s, record.signals[0].times_s)
        np.testing.assert_array_equal(again.signals[0].values, record.signals[0].values)
        assert again.annotations == record.annotations
        assert (again.name, again.person, again.signals[0].name, again.signals[0].unit) == (
            record.name,
            record.person,
            "RR",
            "ms",
        )
