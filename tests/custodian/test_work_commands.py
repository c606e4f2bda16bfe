"""ingest, train, excite, audit on the command line: what is wrong ends in one line and the documented code, and loses nothing."""

import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from custodian.cli import app
from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, SETTINGS_FILE, Home, write_secret

RUN = CliRunner()


@pytest.fixture
def home(tmp_path):
    made = Home.at(tmp_path / "hospital")
    made.create()
    made.settings_file.write_text('name = "Test"\n')
    for name in (PSEUDONYM_KEY_FILE, GATE_KEY_FILE):
        write_secret(made.keys / name, os.urandom(32))
    return made


def run(home, *arguments):
    return RUN.invoke(app, [*map(str, arguments), "--home", str(home.root)])


def write_npz(folder, persons=6, nan=False, only_class=None, rate=4.0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for p in range(persons):
        labels = rng.integers(2, size=20) if only_class is None else np.full(20, only_class)
        x = np.concatenate([np.sin(np.arange(40) * (0.3 + label)) for label in labels])
        x = np.full_like(x, np.nan) if nan else x + 0.3 * rng.standard_normal(x.shape)
        np.savez(folder / f"r{p}.npz", signals=x[None], labels=labels, rate_hz=rate, epoch_s=40 / 4, person=f"Ann {p}")
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        (["ingest"], 3, "name either a folder"),
        (["ingest", "nowhere"], 14, "does not exist"),
        (["ingest", "nowhere", "--simulated", "3"], 3, "name either a folder"),
        (["ingest", "--simulated", "4", "--preset", "ecg"], 3, "no preset 'ecg'"),
        (["ingest", ".", "--download", "mitdb"], 3, "can't be downloaded"),
        (["ingest", "--simulated", "2"], 4, "at least 3"),
        (["train"], 3, "custodian ingest"),
        (["excite"], 3, "custodian ingest"),
        (["excite", "--recipe", "magic"], 3, "no recipe 'magic'"),
        (["audit", "--set", "absent"], 3, "custodian ingest"),
        (["audit", "--policy", "absent.toml"], 3, "absent.toml"),
        (["train", "--device", "tpu"], 3, "custodian ingest"),
    ],
)
def test_what_is_wrong_has_one_line_and_its_code(home, arguments, code, cause):
    result = run(home, *arguments)
    assert result.exit_code == code, result.output
    line = [text for text in result.stderr.splitlines() if text.startswith("error:")]
    assert len(line) == 1
    assert cause in line[0]
    assert "Traceback" not in result.output


def test_no_home_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("CUSTODIAN_HOME", raising=False)
    assert "give --home" in RUN.invoke(app, ["train"]).stderr
    assert SETTINGS_FILE in RUN.invoke(app, ["train", "--home", str(tmp_path)]).stderr


@pytest.mark.parametrize(
    ("options", "cause"),
    [({"nan": True}, "r0"), ({"only_class": 1}, "class"), ({"persons": 1}, "person"), ({"rate": 400.0}, "r0")],
)
def test_recordings_that_can_not_be_used_name_file_or_cause(home, tmp_path, options, cause):
    result = run(home, "ingest", write_npz(tmp_path / "data", **options))
    assert result.exit_code in (4, 14)
    assert cause in result.stderr
    assert "Ann" not in result.stderr
    assert not (home.cohort / "cohort.json").exists()


def test_a_truncated_file_does_not_replace_the_cohort(home, tmp_path):
    data = write_npz(tmp_path / "data")
    assert run(home, "ingest", data).exit_code == 0
    before = (home.cohort / "windows.safetensors").read_bytes()
    damaged = data / "r3.npz"
    damaged.write_bytes(damaged.read_bytes()[:200])
    result = run(home, "ingest", data)
    assert result.exit_code == 14
    assert "r3" in result.stderr
    assert (home.cohort / "windows.safetensors").read_bytes() == before


def test_a_night_kept_twice_is_warned_of_by_recording_and_never_by_person(home, tmp_path):
    data = write_npz(tmp_path / "data")
    once = run(home, "ingest", data, "--format", "json")
    assert json.loads(once.stdout)["doubles"] == []
    with np.load(data / "r4.npz") as night:
        np.savez(data / "r9.npz", **{**night, "person": "Ann 9"})
    twice = run(home, "ingest", data, "--format", "json")
    assert twice.exit_code == 0
    assert json.loads(twice.stdout)["doubles"] == [["r4", "r9"]]
    assert "'r4' and 'r9'" in " ".join(twice.stderr.split())
    assert "Ann" not in twice.output


def test_a_dry_run_prints_a_spec_that_ingest_takes(home, tmp_path):
    data = write_npz(tmp_path / "data")
    dry = run(home, "ingest", data, "--dry-run")
    assert dry.exit_code == 0, dry.output
    spec = json.loads(dry.stdout)
    assert not home.cohort.exists()
    spec["clip"] = 3.0
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    made = run(home, "ingest", data, "--spec", tmp_path / "spec.json", "--format", "json")
    document = json.loads(made.stdout)
    assert document["persons"] == 6
    assert document["window_spec"]["clip"] == 3.0
    assert not document["simulated"]
    (tmp_path / "spec.json").write_text('{"clip": 3}')
    assert run(home, "ingest", data, "--spec", tmp_path / "spec.json").exit_code == 4


def test_a_new_cohort_asks_for_a_new_teacher(home, tmp_path):
    assert run(home, "ingest", write_npz(tmp_path / "a")).exit_code == 0
    trained = run(home, "train", "--architecture", "spectral_mlp", "--epochs", "1", "--format", "json")
    assert trained.exit_code == 0, trained.output
    assert json.loads(trained.stdout)["architecture"] == "spectral_mlp"
    assert run(home, "excite", "--recipe", "prior", "--count", "30").exit_code == 0
    assert run(home, "audit", "--set", "../../etc").exit_code == 3
    assert run(home, "ingest", write_npz(tmp_path / "b", persons=7)).exit_code == 0
    stale = run(home, "excite", "--recipe", "prior", "--count", "30", "--set", "other")
    assert stale.exit_code == 3
    assert "cohort has changed" in stale.stderr
