"""The real Apnea-ECG records, where they are at hand: beside the repository, in shared/data."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stimset.records import apnea_ecg, open_records
from stimset.windowing import make_windows

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
real = pytest.mark.skipif(
    not (DATA / "apnea-ecg").is_dir(), reason="the Apnea-ECG records are not at hand (../shared/data)"
)
TRIAL = ["a01", "a05", "b02", "c07", "c10", "x03", "x27"]


@real
def test_the_whole_set_is_found_with_its_persons_and_split():
    records = open_records(DATA / "apnea-ecg")
    assert len(records) == 70
    assert open_records(DATA / "apnea-ecg", only=apnea_ecg.RELEASED).names == apnea_ecg.RELEASED_RECORDS
    assert open_records(DATA / "apnea-ecg", only=apnea_ecg.TEST).names == apnea_ecg.TEST_RECORDS
    from stimset.records.persons import read_persons

    listed, published = read_persons(DATA / "apnea-ecg"), read_persons(DATA / "apnea-ecg" / "wfdb")
    assert len(set(published.values())) == 32
    # Both ways of telling who is who agree.
    pairs = {(listed[name], published[name]) for name in published}
    assert len(pairs) == 32


@real
def test_rr_windows_agree_with_an_independent_derivation():
    made = make_windows(open_records(DATA / "apnea-ecg", only=TRIAL), apnea_ecg.SPEC_60S)
    with np.load(DATA / "apnea-ecg" / "rr_windows.npz", allow_pickle=False) as z:
        names = z["record_names"][z["record_index"]]
        row = {(str(n), int(m)): i for i, (n, m) in enumerate(zip(names, z["minute"], strict=True))}
        at = [row[made.record_names[r], round(s / 60)] for r, s in zip(made.record, made.start_s, strict=True)]
        wanted, labels, coverage = z["rr_ms"][at].astype(float), z["label"][at], z["coverage"][at]
        minutes = sum(int((names == n).sum()) for n in TRIAL)
    np.testing.assert_array_equal(made.labels, labels)
    lively = wanted.std(axis=1) > 0
    pairs = zip(made.values[lively, 0], wanted[lively], strict=True)
    correlation = np.array([np.corrcoef(a, b)[0, 1] for a, b in pairs])
    assert np.median(correlation) > 0.99
    assert np.median(np.abs(made.coverage - coverage)) < 0.02
    assert 0.9 * minutes < len(made) <= minutes


@real
def test_the_derived_records_and_a_flat_folder_open_too():
    record = open_records(DATA / "apnea-ecg" / "wfdb-rr", only=["x01"])[0]
    assert (record.signals[0].name, record.signals[0].unit, record.signals[0].rate_hz) == ("RR", "ms", 2.0)
    made = make_windows([record], apnea_ecg.SPEC_5MIN)
    assert made.values.shape[1:] == (1, 150)
    flat = open_records(DATA / "apnea-ecg" / "wfdb", only=["a01", "x01"])
    assert [len(r.annotations) for r in flat] == [489, 523]


@real
def test_one_patient_three_channels_without_labels():
    (record,) = open_records(DATA / "santa-fe-b")
    assert [s.name for s in record.signals] == ["heart_rate", "chest_volume", "blood_oxygen"]
    assert (record.signals[0].rate_hz, record.duration_s, record.annotations) == (2.0, 17000.0, ())


def test_the_download_says_clearly_that_there_is_no_network(tmp_path):
    code = (
        "from pathlib import Path\nfrom stimset.errors import TransportError\nfrom stimset.records import apnea_ecg\n"
        f"try:\n    apnea_ecg.download(Path({str(tmp_path)!r}))\nexcept TransportError as e:\n    print(e)\n"
    )
    nowhere = "http://127.0.0.1:9"
    environment = {
        **os.environ,
        "HTTPS_PROXY": nowhere,
        "HTTP_PROXY": nowhere,
        "https_proxy": nowhere,
        "http_proxy": nowhere,
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.startswith("the Apnea-ECG database can't be fetched from physionet.org"), done.stderr
    assert done.stdout.count("\n") == 1
    assert not any(p.is_file() for p in tmp_path.rglob("*"))
    assert len(apnea_ecg.needed_files()) == 35 * 3 + 35 * 2 + 1
