"""Windows against an independent oracle, and every reason to refuse a recording."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.errors import FormatError, RecordError
from stimset.records import Annotation, EventSeries, Record, SampledSignal
from stimset.windowing import Line, check_usable, labelled_epochs, make_windows
from stimset.windows import SignalSpec, WindowSpec


def spec(**changes):
    base = {
        "signals": (SignalSpec("ecg"),),
        "rate_hz": 1.0,
        "epoch_s": 10.0,
        "labels": ("a", "b"),
        "annotations": {"A": "a", "B": "b"},
    }
    return WindowSpec(**{**base, "normalisation": "none", "clip": 1000.0, **changes})


def record(signals, texts="ABAB", *, name="r1", person="p1", epoch_s=10.0, duration_s=None):
    notes = tuple(Annotation(i * epoch_s, epoch_s, t) for i, t in enumerate(texts) if t != " ")
    signals = signals if isinstance(signals, tuple) else (signals,)
    return Record(name, person, signals, notes, duration_s or len(texts) * epoch_s, f"{name}.npz")


def ecg(values, rate_hz=4.0, unit="", name="ecg"):
    return SampledSignal(name, unit, rate_hz, np.asarray(values, dtype=np.float64))


def oracle_mean(times, values, edges):
    """Mean of np.interp between edges by the trapezoid rule over all knots: exact for a piecewise-linear line."""
    out = []
    for a, b in itertools.pairwise(edges):
        at = np.unique(np.concatenate([[a, b], times[(times > a) & (times < b)]]))
        out.append(np.trapezoid(np.interp(at, times, values), at) / (b - a))
    return np.array(out)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_line_agrees_with_the_trapezoid_oracle(data):
    n = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    times = np.cumsum(rng.uniform(0.01, 5.0, n)) - rng.uniform(0, 50)
    values = rng.normal(size=n) * 10 ** rng.uniform(-3, 3) + rng.normal() * 1000
    edges = np.sort(rng.uniform(times[0] - 20, times[-1] + 20, 30))
    edges = edges[np.append(True, np.diff(edges) > 1e-3)]
    line = Line(times, values, max_gap_s=3.0, reach_s=0.0)
    np.testing.assert_allclose(line.means(edges), oracle_mean(times, values, edges), rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("kind", ["sampled", "events"])
def test_windows_agree_with_the_oracle_with_context(kind):
    rng = np.random.default_rng(1)
    if kind == "sampled":
        signal = ecg(rng.normal(size=160))
        times = (np.arange(160) + 0.5) / 4
    else:
        times = np.sort(rng.uniform(0, 40, 90))
        signal = EventSeries("ecg", "", times, rng.normal(size=90))
    made = make_windows([record(signal)], spec(rate_hz=0.8, before_s=7.5, after_s=5.0))
    assert made.values.shape == (4, 1, 18)
    for row, start in enumerate(made.start_s):
        edges = start - 7.5 + np.arange(19) / 0.8
        np.testing.assert_allclose(made.values[row, 0], oracle_mean(times, signal.values, edges), atol=1e-5)


def test_beyond_the_ends_the_value_is_held():
    made = make_windows([record(ecg(np.linspace(0, 1, 160)))], spec(before_s=20.0))
    np.testing.assert_allclose(made.values[0, 0, :20], 0.0, atol=1e-7)


def test_what_is_faster_than_the_output_averages_out():
    t = (np.arange(4000) + 0.5) / 100
    made = make_windows([record(ecg(np.sin(2 * np.pi * 10 * t), rate_hz=100.0))], spec())
    assert np.abs(made.values).max() < 0.01  # sampling it once a second would fold it to full height


def test_coverage_counts_gaps_and_drops_windows():
    values = np.ones(160)
    values[40:66] = np.nan  # 6.5 s of the second epoch
    made = make_windows([record(ecg(values))], spec())
    assert made.start_s.tolist() == [0.0, 20.0, 30.0]
    kept = make_windows([record(ecg(values))], spec(min_coverage=0.2))
    assert kept.coverage[1] == pytest.approx(0.35, abs=0.06)
    assert np.isfinite(kept.values).all()


def test_short_holes_are_bridged_and_values_outside_the_range_are_missing():
    values = np.ones(160)
    values[[10, 11]] = 5000.0
    made = make_windows([record(ecg(values))], spec(signals=(SignalSpec("ecg", valid=(-10, 10)),)))
    assert made.coverage.min() == 1.0
    assert made.values.max() == 1.0


def test_the_smallest_coverage_over_the_signals_counts():
    holed = np.ones(160)
    holed[:40] = np.nan
    two = (ecg(np.ones(160)), ecg(holed, name="resp"))
    made = make_windows([record(two)], spec(signals=(SignalSpec("ecg"), SignalSpec("resp"))))
    assert made.start_s.tolist() == [10.0, 20.0, 30.0]


def test_signals_of_different_rates_share_one_window():
    two = (ecg(np.arange(160.0)), ecg(np.arange(20.0), rate_hz=0.5, name="SpO2"))
    made = make_windows([record(two)], spec(signals=(SignalSpec("ecg"), SignalSpec("sat", aliases=("spo2",)))))
    # Both are straight lines: each output sample is the line's value in its middle.
    np.testing.assert_allclose(made.values[1, 0], (np.arange(10, 20) + 0.5) * 4 - 0.5, rtol=1e-6)
    np.testing.assert_allclose(made.values[1, 1], (np.arange(10, 20) + 0.5) / 2 - 0.5, rtol=1e-6)


def test_normalisation_is_per_record_and_robust():
    rng = np.random.default_rng(0)
    values = 800 + 50 * rng.normal(size=4000)
    values[7] = 1e6
    one, other = record(ecg(values), "AB" * 50, name="r1"), record(ecg(values * 3), "AB" * 50, name="r2", person="p2")
    made = make_windows([one, other], spec(normalisation="record-robust", rate_hz=4.0, clip=5.0))
    np.testing.assert_allclose(made.values[made.record == 0], made.values[made.record == 1], atol=1e-4)
    assert np.abs(made.values).max() == 5.0
    assert 0.8 < made.values.std() < 1.2
    centred = make_windows([one], spec(normalisation="record-centre", clip=1e5))
    assert abs(np.median(centred.values)) < 5


def test_a_constant_signal_becomes_zeros():
    made = make_windows([record(ecg(np.full(160, 7.0)))], spec(normalisation="record-robust"))
    assert not made.values.any()


def test_annotations_label_epochs():
    notes = (Annotation(0, 60, "A"), Annotation(60, 0, "B"), Annotation(90, 35, "A"), Annotation(150, 30, "lights off"))
    night = Record("n", "p", (ecg(np.ones(800)),), notes, 200.0)
    starts, labels = labelled_epochs(night, spec(epoch_s=30.0))
    assert starts.tolist() == [0.0, 30.0, 60.0, 90.0]
    assert labels.tolist() == [0, 0, 1, 0]


def test_names_and_numbers_of_records_and_persons():
    made = make_windows(
        [record(ecg(np.ones(160)), name=n, person=p) for n, p in [("r1", "anna"), ("r2", "ben"), ("r3", "anna")]],
        spec(),
    )
    assert made.record_names == ("r1", "r2", "r3")
    assert made.person_names == ("anna", "ben")
    assert made.person.tolist() == [0] * 4 + [1] * 4 + [0] * 4
    seen = []
    make_windows([record(ecg(np.ones(160)))], spec(), on_record=lambda n, name: seen.append((n, name)))
    assert seen == [(1, "r1")]


@pytest.mark.parametrize(
    ("broken", "changes", "says"),
    [
        (record(ecg(np.full(160, np.nan))), {}, "no valid value"),
        (record(ecg(np.ones(160), name="emg")), {}, "no signal 'ecg'; the recording has emg"),
        (record(ecg(np.ones(160), unit="V")), {"signals": (SignalSpec("ecg", unit="mV"),)}, "is in V, the windows"),
        (record(ecg(np.ones(160)), "    "), {}, "no labels"),
        (record(ecg(np.ones(160)), "XYXY"), {}, "no labels: its annotations are X, Y, the windows know A, B"),
        (record(ecg(np.ones(160))), {"epoch_s": 50.0}, "last at most 10 s, an epoch lasts 50 s"),
        (record(ecg(np.ones(160))), {"rate_hz": 50.0}, "sampled at 4 Hz, too slow for windows at 50 Hz"),
        (record(ecg(np.ones(16)), "AB" * 20, duration_s=4.0), {}, "its rate is wrong"),
    ],
)  # fmt: skip
def test_a_bad_recording_is_refused_in_one_line_that_names_it(broken, changes, says):
    with pytest.raises(RecordError) as caught:
        make_windows([broken], spec(**changes))
    message = str(caught.value)
    assert says in message
    assert message.startswith("r1.npz: ")
    assert "\n" not in message


def test_contradicting_annotations_are_refused_and_repeated_ones_count_once():
    one = record(ecg(np.ones(160)))
    twice = Record("n", "p", one.signals, (*one.annotations, Annotation(10.0, 10.0, "B")), 40.0)
    assert len(make_windows([twice], spec())) == 4
    wrong = Record("n", "p", one.signals, (*one.annotations, Annotation(10.0, 10.0, "A")), 40.0)
    with pytest.raises(RecordError, match="labelled both 'a' and 'b'"):
        make_windows([wrong], spec())


def test_nothing_and_twins_are_refused():
    with pytest.raises(RecordError, match="no records"):
        make_windows([], spec())
    with pytest.raises(RecordError, match="two records are called"):
        make_windows([record(ecg(np.ones(160)))] * 2, spec())


def test_one_class_or_one_person_is_refused():
    with pytest.raises(FormatError, match="all 4 windows are labelled 'a'"):
        check_usable(make_windows([record(ecg(np.ones(160)), "AAAA")], spec()))
    with pytest.raises(FormatError, match="from 1 person"):
        check_usable(make_windows([record(ecg(np.ones(160)))], spec()))
    check_usable(make_windows([record(ecg(np.ones(160)), name=n, person=n) for n in "xy"], spec()))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(RecordError, match="impossible"):
        ecg(np.ones(4), rate_hz=rate)
