"""Students of a real, verified release: training, ONNX, what lies on disk, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import tiny_release
from consumer.export import export
from consumer.students.student import Student
from consumer.students.training import train_student
from stimset.errors import ConfigError, ContentMismatch, FormatError, StimsetError
from stimset.learning import families
from stimset.release import StimulusArrays
from stimset.verifying import VerifiedRelease, verify
from stimset.windows import SignalSpec, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms"), SignalSpec("spo2", unit="%")),
    rate_hz=1.0,
    epoch_s=45.0,
    labels=("wake", "light", "deep"),
    annotations={"W": "wake", "L": "light", "D": "deep"},
    meaning="Sleep stage, by a simulation.",
)
QUICK = {"epochs": 2, "steps_at_least": 0}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> VerifiedRelease:
    made = tiny_release.make(tmp_path_factory.mktemp("custodian"), shards=(170, 130), spec=SPEC)
    return verify(made.folder, made.root)


@pytest.fixture(scope="module")
def student(release: VerifiedRelease) -> Student:
    return train_student(release, "random_forest", 4, parameters={"trees": 20})


def values_like(spec: WindowSpec, n: int, seed: int = 1) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(size=(n, *spec.shape)), -5, 5).astype(np.float32)


# Exporting these takes seconds each; lstm and cnn stand for them.
SLOW = ("gru", "transformer", "tcn")
EVERY = [pytest.param(f.name, marks=pytest.mark.slow if f.name in SLOW else ()) for f in families.families()]


@pytest.mark.parametrize("name", EVERY)
def test_every_family_becomes_onnx_that_answers_the_same(name: str, release: VerifiedRelease, tmp_path: Path) -> None:
    parameters = QUICK if families.family(name).needs_torch else {}
    trained = train_student(release, name, 1, parameters=parameters)
    trained = Student.load(trained.save(tmp_path))  # what is exported is what was kept
    report = export(trained, tmp_path / "student.onnx")
    assert report.max_difference < 1e-4 and report.stimuli == 30 and report.window_ms > 0
    data = report.path.read_bytes()
    assert report.bytes == len(data)
    model = onnx.load_from_string(data)
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["stimset.family"] == name and properties["stimset.release"] == release.id
    assert WindowSpec.from_document(json.loads(properties["stimset.window_spec"])) == SPEC
    assert json.loads(properties["stimset.labels"]) == list(SPEC.labels)
    assert properties["stimset.simulated"] == "true"
    for path in (Path.cwd(), Path(__file__).parent, Path(sys.prefix)):
        assert str(path).encode() not in data, "the exporter's notes hold paths of this machine"
    for n in (1, 7, 600):  # the batch is free
        answers = trained.predict_proba(values_like(SPEC, n))
        assert answers.shape == (n, 3) and np.allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_only_a_verified_release_trains(release: VerifiedRelease) -> None:
    stimuli = release.stimuli()

    class Pretender:
        id, spec, predicate, statement = release.id, release.spec, release.predicate, release.statement
        root_fingerprint = release.root_fingerprint

        def stimuli(self) -> StimulusArrays:
            return stimuli

    for other in (Pretender(), stimuli, release.folder, None):
        with pytest.raises(TypeError, match="VerifiedRelease"):
            train_student(other, "knn", 1)  # type: ignore[arg-type]


def test_a_student_knows_its_lineage(student: Student, release: VerifiedRelease) -> None:
    assert student.name == f"{release.id}-random_forest-4"
    assert student.lineage.root_fingerprint == release.root_fingerprint and student.lineage.simulated
    assert len(student.lineage.statement_sha256) == 64
    assert student.training["stimuli"] == 270 and student.training["heldOut"] == 30
    assert student.parameters == {"trees": 20}


def test_the_same_seed_gives_the_same_bytes(student: Student, release: VerifiedRelease) -> None:
    assert train_student(release, "random_forest", 4, parameters={"trees": 20}).model == student.model
    assert train_student(release, "random_forest", 5, parameters={"trees": 20}).model != student.model


def test_saved_and_loaded(student: Student, tmp_path: Path) -> None:
    folder = student.save(tmp_path)
    student.save(tmp_path)  # replaces
    assert sorted(p.name for p in folder.iterdir()) == ["probe.safetensors", "student.json", "student.onnx"]
    loaded = Student.load(folder)
    values = values_like(SPEC, 20)
    assert np.array_equal(loaded.predict_proba(values), student.predict_proba(values))
    assert loaded.to_document() == student.to_document() and loaded.lineage == student.lineage
    assert export(loaded, tmp_path / "a" / "b.onnx").max_difference < 1e-4


def test_a_changed_student_is_refused(student: Student, tmp_path: Path) -> None:
    folder = student.save(tmp_path)
    for name in ("student.onnx", "probe.safetensors"):
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        with pytest.raises(ContentMismatch, match=name):
            Student.load(folder)
        (folder / name).write_bytes(original)
    (folder / "student.json").write_text("{}")
    with pytest.raises(FormatError, match="not a student's folder"):
        Student.load(folder)
    (folder / "student.json").unlink()
    with pytest.raises(ConfigError, match="consumer train"):
        Student.load(folder)


def test_export_refuses_a_model_that_answers_differently(student: Student, tmp_path: Path) -> None:
    wrong = StimulusArrays(student.probe.values, student.probe.probabilities[:, ::-1].copy())
    liar = Student(**{**_fields(student), "probe": wrong})
    with pytest.raises(StimsetError, match="differs from the trained model"):
        export(liar, tmp_path / "x.onnx")
    renamed = Student(**{**_fields(student), "family": "knn"})
    with pytest.raises(StimsetError, match=r"stimset\.family"):
        export(renamed, tmp_path / "x.onnx")
    broken = Student(**{**_fields(student), "model": b"no model"})
    with pytest.raises(StimsetError, match="not a valid ONNX file"):
        export(broken, tmp_path / "x.onnx")
    with pytest.raises(StimsetError, match="can't load the model"):
        broken.predict_proba(values_like(SPEC, 1))
    assert not (tmp_path / "x.onnx").exists()


def _fields(student: Student) -> dict[str, object]:
    return {name: getattr(student, name) for name in Student.__dataclass_fields__}


def test_windows_of_another_shape_are_refused(student: Student) -> None:
    for windows in (values_like(SPEC, 2)[:, :1], values_like(SPEC, 2).astype(np.float64)):
        with pytest.raises(FormatError, match="expects float32 windows"):
            student.predict_proba(windows)
    assert student.predict_proba(values_like(SPEC, 0)).shape == (0, 3)


def test_too_few_stimuli(tmp_path: Path) -> None:
    made = tiny_release.make(tmp_path)
    with pytest.raises(FormatError, match="5 stimuli; at least 20"):
        train_student(verify(made.folder, made.root), "knn", 1)


def test_long_windows_stay_small() -> None:
    """The transform is an operator, not a matrix: a window of 3,000 samples must not cost 70 MB."""
    from consumer.students import graphs

    values = np.random.default_rng(0).normal(size=(60, 2, 3000)).astype(np.float32)
    estimator = families.build("decision_tree", 2, 3000, 2).fit(values, np.arange(60) % 2)
    assert len(graphs.with_metadata(graphs.of_features(estimator), {})) < 4_000_000


def test_students_without_networks_never_load_torch(student: Student, tmp_path: Path) -> None:
    folder = student.save(tmp_path)
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from consumer.students.student import Student; from consumer.export import export\n"
        "import consumer.benchmark, consumer.report, consumer.students.graphs, consumer.students.training\n"
        f"s = Student.load(Path({str(folder)!r})); s.predict_proba(s.probe.values)\n"
        f"export(s, Path({str(tmp_path / 'o.onnx')!r}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
