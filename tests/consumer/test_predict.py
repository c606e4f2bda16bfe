"""An exported model on recordings: the same windows as a benchmark's, tables that can be read back, a picture, and a command."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import wire_world
from consumer.cli import app
from consumer.export import export
from consumer.predict import Model, file_name, picture, predict, write_picture, write_table
from consumer.students.training import train_student
from stimset.errors import ConfigError, FormatError, RecordError
from stimset.metrics import cohen_kappa
from stimset.records import Record, SampledSignal, open_records, simulate, write_npz
from stimset.records.base import Annotation
from stimset.verifying import verify
from stimset.windowing import make_windows
from stimset.windows import SignalSpec, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),),
    rate_hz=0.5,
    epoch_s=60.0,
    before_s=60.0,
    labels=("normal", "apnea"),
    annotations={"N": "normal", "A": "apnea"},
    meaning="Apnea within the minute, by a simulation.",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> wire_world.World:
    made = wire_world.World.make(tmp_path_factory.mktemp("world"), shards=(160,), spec=SPEC)
    shutil.copytree(made.release.folder, made.consumer.releases / made.release.folder.name)
    for record in simulate(persons=2, minutes=40, seed=5):
        write_npz(record, made.root / "nights")
    return made


@pytest.fixture(scope="module")
def file(world: wire_world.World) -> Path:
    release = verify(world.release.folder, world.trusted_root)
    student = train_student(release, "random_forest", 1, parameters={"trees": 10})
    student.save(world.consumer.students)
    return export(student, world.root / "forest.onnx").path


@pytest.fixture(scope="module")
def nights(world: wire_world.World) -> list[Record]:
    return list(open_records(world.root / "nights"))


def test_epochs_are_those_of_a_benchmark(file: Path, nights: list[Record]) -> None:
    model = Model.load(file)
    assert model.family == "random_forest" and model.spec == SPEC and model.simulated
    for record in nights:
        windows, night = make_windows([record], SPEC), predict(model, record)
        rows = np.searchsorted(night.start_s, windows.start_s - 1e-6)
        assert np.allclose(night.start_s[rows], windows.start_s)
        assert np.array_equal(night.probabilities[rows], model.predict_proba(windows.values))
        assert np.array_equal(night.labelled[rows], windows.labels)
        assert night.kappa == cohen_kappa(windows.labels, night.decided[rows], 2)


def test_labels_are_not_needed(file: Path, nights: list[Record]) -> None:
    model, record = Model.load(file), nights[0]
    bare = predict(model, dataclasses.replace(record, annotations=()))
    assert np.array_equal(bare.probabilities, predict(model, record).probabilities)
    assert bare.kappa is None and (bare.labelled == -1).all()
    others = dataclasses.replace(record, annotations=(Annotation(0.0, 60.0, "lights off"),))
    assert predict(model, others).kappa is None


def test_epochs_follow_the_recordings_own_labels(file: Path, nights: list[Record]) -> None:
    record = nights[0]
    moved = dataclasses.replace(record, annotations=tuple(dataclasses.replace(a, onset_s=a.onset_s + 17) for a in record.annotations))
    night = predict(Model.load(file), moved)
    assert night.start_s[0] == 17 and (night.labelled >= 0).sum() >= len(night.labelled) - 1


def test_an_epoch_without_data_gets_no_label(file: Path) -> None:
    values = np.full(4 * 60 * 10, 800.0) + np.random.default_rng(0).normal(size=2400) * 20
    values[4 * 60 * 3 : 4 * 60 * 5] = np.nan  # minutes 3 and 4
    record = Record("night", "p", (SampledSignal("rr", "ms", 4.0, values),), (), 600.0)
    night = predict(Model.load(file), record)
    assert len(night.decided) == 10 and (night.decided[3:5] == -1).all() and (night.decided[[0, 1, 2, 6, 7]] >= 0).all()
    summary = night.summary()
    assert summary["without_data"] == 2 and sum(summary["counts"].values()) == 8 and summary["hours"] == pytest.approx(8 / 60, abs=1e-4)
    assert summary["per_hour"] == pytest.approx(summary["counts"]["apnea"] / (8 / 60), abs=1e-3)
    assert night.rows()[3]["label"] is None and picture(night) is not None


def test_tables_can_be_read_back(file: Path, nights: list[Record], tmp_path: Path) -> None:
    night = predict(Model.load(file), nights[0])
    write_table(night, tmp_path / "n.csv")
    rows = list(csv.DictReader((tmp_path / "n.csv").read_text().splitlines()))
    assert [r["label"] for r in rows] == [SPEC.labels[k] for k in night.decided]
    assert np.allclose([float(r["p_apnea"]) for r in rows], night.probabilities[:, 1], atol=1e-6)
    assert float(rows[1]["start_s"]) == 60 and float(rows[1]["end_s"]) == 120
    write_table(night, tmp_path / "n.json")
    document = json.loads((tmp_path / "n.json").read_text())
    assert document["rows"][0]["label"] == rows[0]["label"] and document["simulated"] is True
    with pytest.raises(ConfigError, match=r"\.csv or \.json"):
        write_table(night, tmp_path / "n.xlsx")


def test_pictures(file: Path, nights: list[Record], tmp_path: Path) -> None:
    night = predict(Model.load(file), nights[0])
    write_picture(night, tmp_path / "n.svg")
    first = (tmp_path / "n.svg").read_bytes()
    write_picture(night, tmp_path / "n.svg")
    assert b"<svg" in first and (tmp_path / "n.svg").read_bytes() == first, "the same night must give the same bytes"
    write_picture(night, tmp_path / "n.png")
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")
    titles = [axes.get_title(loc="left") for axes in picture(night).axes]
    assert "SIMULATED" in titles[0]
    with pytest.raises(ConfigError, match=r"\.svg or \.png"):
        write_picture(night, tmp_path / "n.pdf")


def test_what_is_no_model_of_ours_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="consumer export"):
        Model.load(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(FormatError, match="can't load the model"):
        Model.load(tmp_path / "text.onnx")
    model = onnx.load(file)
    kept = {p.key: p.value for p in model.metadata_props}
    for change, message in (
        ({"stimset.window_spec": "{}"}, "fields"),
        ({"stimset.window_spec": "nonsense"}, "no model of ours"),
        ({"stimset.family": None}, "stimset.family"),
        (
            {"stimset.window_spec": json.dumps(dataclasses.replace(SPEC, before_s=0.0).to_document())},
            "don't fit its window spec",
        ),
    ):
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {k: v for k, v in (kept | change).items() if v is not None})
        onnx.save(model, tmp_path / "changed.onnx")
        with pytest.raises(FormatError, match=message):
            Model.load(tmp_path / "changed.onnx")


def test_recordings_that_do_not_fit_are_refused(file: Path, nights: list[Record]) -> None:
    model = Model.load(file)
    with pytest.raises(RecordError, match="no signal 'rr'"):
        predict(model, Record("x", "p", (SampledSignal("ecg", "mV", 4.0, np.zeros(2400)),), (), 600.0))
    with pytest.raises(RecordError, match="too short"):
        predict(model, Record("x", "p", (SampledSignal("rr", "ms", 4.0, np.full(80, 800.0)),), (), 20.0))


def run(*arguments: object) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {"text": result.output + result.stderr}


def test_the_command(world: wire_world.World, file: Path, tmp_path: Path) -> None:
    code, made = run("predict", file, world.root / "nights", "--out", tmp_path, "--format", "json")
    assert code == 0, made
    assert [Path(r["table_file"]).suffix for r in made["recordings"]] == [".csv", ".csv"]
    assert all(Path(r["picture_file"]).is_file() and r["simulated_recording"] for r in made["recordings"])
    one = next((world.root / "nights").glob("*.npz"))
    code, made = run("predict", file, one, "--out", tmp_path / "b", "--table", "json", "--picture", "none", "--format", "json")
    assert code == 0 and [p.suffix for p in (tmp_path / "b").iterdir()] == [".json"]
    code, made = run("predict", file, one)
    assert code == 0 and "SIMULATED" in made["text"] and "apnea" in made["text"]
    code, made = run("predict", file, tmp_path / "none.edf")
    assert code == 14 and "does not exist" in made["text"]


def test_all_students_in_one_table(world: wire_world.World, file: Path, tmp_path: Path) -> None:
    home = world.consumer.root
    assert run("benchmark", world.root / "nights", "--home", home, "--out", tmp_path, "--draws", 20)[0] == 0
    options = ("--home", home, "--benchmark", tmp_path / "benchmark.json", "--format", "json")
    code, made = run("export", "--all", "--out", tmp_path / "models", *options)
    assert code == 0, made
    row = made["students"][0]
    measured = json.loads((tmp_path / "benchmark.json").read_text())["results"][0]
    assert row["kappa"] == measured["metrics"]["kappa"] and row["max_difference"] < 1e-4 and row["window_ms"] > 0
    assert (tmp_path / "models" / f"{row['student']}.onnx").stat().st_size == row["bytes"]
    assert run("export", "--all", "--out", tmp_path / "models", "--home", home)[0] == 0
    for arguments, code, hint in (
        (("export", "--out", "x"), 3, "or --all"),
        (("export", "--all", "--out", "x", "--benchmark", tmp_path / "none.json"), 3, "consumer benchmark"),
        (("export", "--all", "--out", "x", "--benchmark", file), 4, "not the JSON of a benchmark"),
    ):
        found, answer = run(*arguments, "--home", home)
        assert found == code and hint in str(answer["text"]), (arguments, answer)


def test_names_of_recordings_become_names_of_files() -> None:
    assert file_name("a/b c:01") == "a_b_c_01" and file_name("../x") == "_x" and file_name("..") == "recording"
