"""CSV recordings: times or a rate, labels, persons, units."""

import numpy as np
import pytest

from stimset.errors import RecordError
from stimset.records import EventSeries, SampledSignal, open_records

HEADER = "time_s,ecg [mV],resp,label\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def rows(n=40, rate=4.0, separator=","):
    return "".join(separator.join((f"{i / rate}", f"{i}.5", "", "W" if i < n // 2 else "R")) + "\n" for i in range(n))


def test_times_units_missing_cells_and_runs_of_labels(tmp_path):
    write(tmp_path / "r.csv", HEADER + rows())
    (record,) = open_records(tmp_path)
    ecg, resp = record.signals
    assert isinstance(ecg, SampledSignal)
    assert (ecg.name, ecg.unit, ecg.rate_hz) == ("ecg", "mV", 4.0)
    assert ecg.values[3] == 3.5
    assert np.isnan(resp.values).all()
    assert [(a.onset_s, a.duration_s, a.text) for a in record.annotations] == [(0, 5, "W"), (5, 5, "R")]
    assert record.duration_s == 10.0


def test_a_rate_an_epoch_and_a_person_before_the_header(tmp_path):
    text = "# rate_hz: 4\n# epoch_s: 2.5\n# person: anna\n# unit.ecg: mV\necg\tlabel\n" + "".join(
        f"{i}\tW\n" for i in range(40)
    )
    write(tmp_path / "r.csv", text)
    (record,) = open_records(tmp_path)
    assert (record.person, record.signals[0].unit, record.signals[0].rate_hz) == ("anna", "mV", 4.0)
    assert [a.onset_s for a in record.annotations] == [0, 2.5, 5, 7.5]


def test_irregular_times_make_events(tmp_path):
    at = np.cumsum(np.random.default_rng(0).uniform(0.6, 1.2, 50))
    text = "t,RR (ms),stage,patient\n" + "".join(
        f"{t},{800 + i},{'A' if t > 20 else 'N'},ben\n" for i, t in enumerate(at)
    )
    write(tmp_path / "r.csv", text)
    (record,) = open_records(tmp_path)
    (rr,) = record.signals
    assert isinstance(rr, EventSeries)
    assert (rr.name, rr.unit, record.person) == ("RR", "ms", "ben")
    np.testing.assert_allclose(rr.times_s, at)
    first, second = record.annotations
    assert (first.text, second.text) == ("N", "A")
    assert second.onset_s == at[at > 20][0]
    assert first.onset_s + first.duration_s == pytest.approx(second.onset_s)


def test_semicolons_with_a_decimal_comma(tmp_path):
    write(tmp_path / "r.csv", "t;x\n0,0;1,5\n0,5;2,5\n1,0;3,5\n")
    (record,) = open_records(tmp_path)
    assert record.signals[0].values.tolist() == [1.5, 2.5, 3.5]
    assert record.signals[0].rate_hz == 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no header line"),
        (HEADER, "no rows"),
        ("ecg,label\n1,W\n2,W\n", "no sampling rate"),
        ("t,ecg\n0,1\n1,two\n", "column 'ecg' holds no numbers"),
        ("t,ecg\n0,1\n1\n", "row 2 has 1 cells, the header 2"),
        ("t,ecg\n1,1\n0,1\n", "times must be numbers that increase"),
        ("t,label\n1,1\n0,1\n", "no signal column"),
        ("t,a,A\n1,1,1\n", "two columns have the same name"),
        ("t,ecg,person\n0,1,anna\n1,1,ben\n", "names 2 persons"),
        ("# rate_hz: -3\necg\n1\n2\n", "rate_hz must be one positive number"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, says):
    write(tmp_path / "r.csv", text)
    with pytest.raises(RecordError) as caught:
        list(open_records(tmp_path))
    assert says in str(caught.value)
    assert "r.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_is_no_csv(tmp_path):
    (tmp_path / "r.csv").write_bytes(bytes(range(256)))
    with pytest.raises(RecordError, match="not a text file"):
        list(open_records(tmp_path))
