"""The benchmark against students whose answers are known, and the command line from a release to an exported model."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

import wire_world
from consumer.benchmark import BenchmarkReport, benchmark
from consumer.cli import app
from consumer.config import Home
from consumer.report import html
from consumer.students import graphs
from consumer.students.student import Lineage, Student
from stimset.errors import ConfigError, FormatError
from stimset.metrics import score
from stimset.records import simulate, write_npz
from stimset.release import StimulusArrays
from stimset.windows import SignalSpec, Windows, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),),
    rate_hz=0.5,
    epoch_s=60.0,
    labels=("normal", "apnea"),
    annotations={"N": "normal", "A": "apnea"},
    meaning="Apnea within the minute, by a simulation.",
)


def threshold_student(name: str, slope: float, spec: WindowSpec = SPEC, simulated: bool = True) -> Student:
    """A real ONNX student: the probability of the last label rises with the first sample; made by hand."""
    g = graphs.Graph()
    first = g("Slice", graphs.INPUT, g.whole(0, 0), g.whole(1, 1), g.whole(1, 2))
    flat = g("Mul", g("Reshape", first, g.whole(-1, 1)), g.constant(slope, np.float32))
    zeros = g("Mul", flat, g.constant(0, np.float32))
    g("Softmax", g("Concat", *[zeros] * (spec.classes - 1), flat, axis=1), axis=1, output=graphs.OUTPUT)
    model = graphs.with_metadata(g.model(*spec.shape, spec.classes), {"stimset.family": "knn"})
    lineage = Lineage("tiny-0001", "Test Hospital", "ab" * 32, "cd" * 32, simulated)
    nothing = StimulusArrays(np.zeros((1, *spec.shape), np.float32), np.full((1, spec.classes), 0.5, np.float32))
    return Student(name, "knn", 1, {}, lineage, spec, {}, model, nothing)


def windows(spec: WindowSpec = SPEC, n: int = 240, persons: int = 6, seed: int = 0) -> Windows:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, *spec.shape)).astype(np.float32)
    labels = np.clip(np.floor(values[:, 0, 0] + rng.normal(size=n) * 0.5 + spec.classes / 2), 0, spec.classes - 1)
    record = np.arange(n) % (2 * persons)
    return Windows(
        spec, values, labels.astype(np.int64), record.astype(np.int64), (record // 2).astype(np.int64), np.arange(n,
        dtype=float), np.ones(n, np.float32), tuple(f"r{i}" for i in range(2 * persons)), tuple(f"p{i}" for i in range(persons)),
    )  # fmt: skip


def test_scores_are_those_of_the_answers() -> None:
    data = windows()
    good, bad = threshold_student("good", 3.0), threshold_student("bad", -3.0)
    report = benchmark([bad, good], data, draws=200)
    assert [r.student for r in report.results] == ["good", "bad"]
    for result, student in zip(report.results, (good, bad), strict=True):
        assert result.metrics == score(student.predict_proba(data.values), data.labels)
        low, high = result.intervals["kappa"]
        assert low <= result.metrics["kappa"] <= high
        assert np.sum(result.confusion) == 240
        false, true = result.roc["apnea"]
        assert np.trapezoid(true, false) == pytest.approx(result.metrics["auroc"], abs=0.01)
    assert (report.windows, report.records, report.persons, report.clustered_by) == (240, 12, 6, "persons")
    assert report.to_document()["simulated"] is True
    json.dumps(report.to_document(), allow_nan=False)


def test_one_person_is_resampled_by_recordings() -> None:
    data = dataclasses.replace(windows(), person=np.zeros(240, np.int64))
    report = benchmark([threshold_student("a", 1.0)], data, draws=50)
    assert report.clustered_by == "recordings" and "over resampled recordings" in report.reading[1]
    assert report.results[0].intervals["kappa"] is not None


def test_one_class_only_leaves_dashes_not_numbers() -> None:
    data = dataclasses.replace(windows(), labels=np.zeros(240, np.int64))
    report = benchmark([threshold_student("a", 1.0)], data, draws=50)
    assert report.results[0].metrics["auroc"] is None
    assert "–" in html(report) and "not defined" not in report.reading[0]


def test_what_does_not_fit_is_refused() -> None:
    other = dataclasses.replace(SPEC, clip=4.0)
    with pytest.raises(ConfigError, match="another window spec"):
        benchmark([threshold_student("a", 1.0), threshold_student("b", 1.0, other)], windows())
    with pytest.raises(ConfigError, match="at least one student"):
        benchmark([], windows())
    with pytest.raises(FormatError, match="there is none"):
        benchmark([threshold_student("a", 1.0)], windows().select(np.zeros(240, bool)))


class Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [(name, value or "") for name, value in attrs if name in ("src", "href")] + [("tag", tag)]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_page_fetches_nothing_and_escapes_names(classes: int) -> None:
    spec = dataclasses.replace(SPEC, labels=tuple(f"<b>{i}</b>" for i in range(classes)), annotations={})
    report = benchmark([threshold_student("x<script>", 2.0, spec)], windows(spec), draws=50, data="<i>night</i>")
    page = html(report)
    parser = Sources()
    parser.feed(page)
    assert all(value.startswith("data:image/svg+xml;base64,") for name, value in parser.found if name != "tag")
    tags = {value for name, value in parser.found if name == "tag"}
    assert not tags & {"script", "link", "i", "b" if classes > 9 else "iframe"}
    assert sum(name == "src" for name, _ in parser.found) == (4 if classes == 2 else 3)
    assert "SIMULATED" in " ".join(parser.text)
    assert html(report) == page, "the same report must give the same bytes"


def test_nothing_says_simulated_when_nothing_is() -> None:
    report = benchmark([threshold_student("a", 1.0, simulated=False)], windows(), draws=50)
    assert not report.simulated and "SIMULATED" not in html(report)
    assert isinstance(report, BenchmarkReport)


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str, Path]:
    """A consumer's home that trusts a custodian and holds its release, and a folder of the partner's own recordings."""
    root = tmp_path_factory.mktemp("world")
    world = wire_world.World.make(root, shards=(160,), spec=SPEC)
    release = world.release.folder
    shutil.copytree(release, world.consumer.releases / release.name)
    for record in simulate(persons=3, minutes=40, seed=5):
        write_npz(record, root / "nights")
    return world.consumer, release.name, root / "nights"


def run(*arguments: object) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    output = result.stdout
    return result.exit_code, json.loads(output) if output.startswith("{") else {"text": output + result.stderr}


def test_train_benchmark_export(partner: tuple[Home, str, Path], tmp_path: Path) -> None:
    home, release, nights = partner
    code, trained = run(
        "train",
        release,
        "-f",
        "logistic_regression",
        "-f",
        "decision_tree",
        "--seeds",
        2,
        "--home",
        home.root,
        "--format",
        "json",
    )
    assert code == 0, trained
    assert [s["student"] for s in trained["students"]] == [
        f"{release}-{f}-{s}" for f in ("logistic_regression", "decision_tree") for s in (1, 2)
    ]
    out = tmp_path / "bench"
    code, measured = run("benchmark", nights, "--out", out, "--draws", 50, "--home", home.root, "--format", "json")
    assert code == 0, measured
    assert len(measured["results"]) == 4 and measured["simulated"] and measured["simulated_data"]
    assert json.loads((out / "benchmark.json").read_text())["results"] == measured["results"]
    page = (out / "report.html").read_text()
    assert "SIMULATED" in page and not re.search(r'(src|href)="(?!data:)', page)
    code, exported = run(
        "export", f"{release}-decision_tree-2", "--out", tmp_path / "m.onnx", "--home", home.root, "--format", "json"
    )
    assert code == 0 and exported["export"]["max_difference"] < 1e-4
    assert (tmp_path / "m.onnx").read_bytes() == (
        home.students / f"{release}-decision_tree-2" / "student.onnx"
    ).read_bytes()
    code, shown = run("benchmark", nights, "-s", f"{release}-decision_tree-1", "--draws", 20, "--home", home.root)
    assert code == 0 and "SIMULATED" in shown["text"] and "Kappa is agreement beyond chance" in shown["text"]


def test_a_release_is_verified_each_time(partner: tuple[Home, str, Path], tmp_path: Path) -> None:
    home, release, _ = partner
    damaged = tmp_path / release
    shutil.copytree(home.releases / release, damaged)
    shard = next(damaged.glob("*.safetensors"))
    shard.chmod(0o644)
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    code, _ = run("train", damaged, "-f", "knn", "--home", home.root)
    assert code == 6
    assert not (home.students / f"{release}-knn-1").exists()


def test_wrong_commands_say_what_to_do(partner: tuple[Home, str, Path]) -> None:
    home, release, nights = partner
    for arguments, code, hint in (
        (("train", release), 3, "--all"),
        (("train", release, "-f", "vgg"), 3, "known are"),
        (("train", "no-such-0001", "-f", "knn"), 3, "consumer pull"),
        (("benchmark", nights, "-s", "nobody"), 3, "consumer train"),
        (("benchmark", nights / "nothing", "-s", "nobody"), 3, "consumer train"),
        (("export", "nobody", "--out", "x.onnx"), 3, "consumer train"),
    ):
        found, answer = run(*arguments, "--home", home.root)
        assert found == code and hint in str(answer["text"]), (arguments, answer)
    code, answer = run("train", "-", "--family", "list", "--format", "json")
    assert code == 0 and {"cnn", "svm"} <= {f["family"] for f in answer["families"]}


def test_without_torch_the_remedy_is_told(partner: tuple[Home, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    home, release, _ = partner
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest)
    )
    code, answer = run("train", release, "-f", "cnn", "--home", home.root)
    assert code == 3 and "pip install 'stimset-consumer[torch]'" in str(answer["text"])


def test_the_handmade_graph_is_a_graph() -> None:
    model = threshold_student("a", 1.0).model
    assert helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]) and len(model) < 5000
