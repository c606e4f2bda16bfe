"""One student of several hospitals' releases: what must agree, what is held out, who is named, and many students side by side."""

from __future__ import annotations

import base64
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from consumer import pipeline
from consumer.cli import app
from consumer.export import export
from consumer.lineage import accompany, lineage_file, verify_student
from consumer.students import together as union
from consumer.students.consensus import agreed
from consumer.students.fleet import Order, train_fleet
from consumer.students.student import Lineage, Student
from consumer.students.training import HELD_OUT, judge, name_of, train_student, trained_before
from consumer.submit import report_file
from hospitals import Hospitals
from stimset.errors import ConfigError, ContentMismatch, FormatError, UnknownSigner
from stimset.learning import families
from stimset.windows import SignalSpec, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms"),), rate_hz=0.5, epoch_s=60.0, labels=("normal", "apnea"), annotations={"N": "normal"}
)
OTHER = replace(SPEC, rate_hz=1.0, meaning="by another judge")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return Hospitals.make(tmp_path_factory.mktemp("hospitals"), {"north": SPEC, "south": SPEC, "other": OTHER})


def run(*arguments: object) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {"text": result.stderr}


def test_the_union_names_all_of_them_in_one_order(world: Hospitals) -> None:
    north, south = world.verified("north"), world.verified("south")
    student = train_student(south, "logistic_regression", 1, beside=[north])
    assert student.name == "north-nights-0001+south-nights-0001-logistic_regression-1"
    assert train_student(north, "logistic_regression", 1, beside=[south]).model == student.model
    first, second = student.lineage.origins
    assert (first.custodian, second.custodian) == ("Hospital North", "Hospital South")
    assert [first.root_fingerprint, second.root_fingerprint] == [north.root_fingerprint, south.root_fingerprint]
    properties = {p.key: p.value for p in onnx.load_from_string(student.model).metadata_props}
    assert properties["stimset.release"] == "north-nights-0001+south-nights-0001"
    assert properties["stimset.statement_sha256"].split("+") == [first.statement_sha256, second.statement_sha256]
    assert properties["stimset.custodian"] == "Hospital North + Hospital South"


def test_it_is_kept_and_found_again(world: Hospitals, tmp_path: Path) -> None:
    north, south = world.verified("north"), world.verified("south")
    student = train_student(north, "decision_tree", 3, beside=[south])
    loaded = Student.load(student.save(tmp_path))
    assert loaded.lineage == student.lineage and len(loaded.lineage.origins) == 2
    assert trained_before(tmp_path, south, "decision_tree", 3, beside=[north]) is not None
    assert trained_before(tmp_path, north, "decision_tree", 3) is None
    assert Lineage.from_document(json.loads(json.dumps(student.lineage.to_document()))) == student.lineage


def test_each_hospital_gives_its_share_to_both_sides(world: Hospitals) -> None:
    """Against a count by hand: what one hospital's stimuli alone would give, from each."""
    north, south = world.verified("north"), world.verified("south")
    halves = union.halves_of(union.together(north, [south]), 5, HELD_OUT)
    learned, held = (union.joined([each[side] for each in halves]) for side in (0, 1))
    alone = [release.stimuli().split(HELD_OUT, 5) for release in (north, south)]
    assert np.array_equal(held.values, np.concatenate([h.values for _, h in alone]))
    assert len(learned) + len(held) == 280 and len(held) == 28
    assert np.isfinite(judge(north, "logistic_regression", 1, {}, beside=[south]))


def test_a_unions_student_learns_the_mean_of_what_all_releases_say(world: Hospitals) -> None:
    releases = union.together(world.verified("north"), [world.verified("south")])
    halves = union.halves_of(releases, 5, HELD_OUT)
    taught = []

    def teach(own):
        taught.append(own[0])
        certain = np.eye(own[0].probabilities.shape[1])[len(taught) - 1]
        return lambda values: np.tile(certain, (len(values), 1))

    found = agreed(halves, teach)
    assert all(np.array_equal(a.values, b[0].values) for a, b in zip(taught, halves, strict=True))
    for position, other in ((0, 1), (1, 0)):
        for before, after in zip(halves[position], found[position], strict=True):
            expected = (before.probabilities + np.eye(before.probabilities.shape[1])[other]) / 2
            assert np.array_equal(after.values, before.values)
            assert np.allclose(after.probabilities, expected, atol=1e-6)


def test_only_a_unions_student_says_that_it_learned_a_consensus(world: Hospitals) -> None:
    north, south, told = world.verified("north"), world.verified("south"), []
    student = train_student(north, "decision_tree", 3, beside=[south], on_progress=told.append)
    assert student.training["labels"] == "consensus"
    assert told == sorted(told) and told[-1] == 1.0
    assert "labels" not in train_student(north, "decision_tree", 3).training


def test_specs_that_differ_are_named_field_by_field(world: Hospitals) -> None:
    with pytest.raises(ConfigError, match=r"rateHz \(0.5 / 1.0\).*meaning") as refused:
        train_student(world.verified("north"), "knn", 1, beside=[world.verified("other")])
    assert "\n" not in str(refused.value) and "labels" not in str(refused.value)
    for name in ("north", "other"):
        world.held(name)
    code, said = run("train", "north-nights-0001", "other-nights-0001", "-f", "knn", "--home", world.consumer.root)
    assert code == ConfigError.exit_code and "window specs differ" in str(said["text"])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"labels": ("apnea", "normal")}, r"labels.0 \(normal / apnea\); labels.1 \(apnea / normal\)"),
        ({"signals": (SignalSpec("rr", unit="s"),)}, r"signals.0.unit \(ms / s\)"),
        ({"annotations": {"N": "normal", "A": "apnea"}}, r"annotations.A \(missing / apnea\)"),
        ({"signals": (SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),)}, r"signals.0.valid"),
    ],
)
def test_the_very_part_that_differs_is_named(changed: dict[str, object], named: str) -> None:
    spec = SimpleNamespace(spec=SPEC), SimpleNamespace(spec=replace(SPEC, **changed))
    assert re.search(named, "; ".join(union.differing(*spec)))  # type: ignore[arg-type]
    assert union.differing(spec[0], spec[0]) == []  # type: ignore[arg-type]


def test_twice_the_same_or_something_unverified(world: Hospitals) -> None:
    north = world.verified("north")
    with pytest.raises(ConfigError, match="twice"):
        train_student(north, "knn", 1, beside=[north])
    with pytest.raises(TypeError, match="VerifiedRelease"):
        train_student(north, "knn", 1, beside=[world.held("south")])  # type: ignore[list-item]


def test_a_hospital_with_too_few_is_named(world: Hospitals, tmp_path: Path) -> None:
    few = Hospitals.make(tmp_path, {"tiny": SPEC}, shards=(10,))
    with pytest.raises(FormatError, match="tiny-nights-0001 has 10 stimuli"):
        train_student(world.verified("north"), "knn", 1, beside=[few.verified("tiny")])


def test_many_releases_still_make_a_name_for_a_folder(world: Hospitals) -> None:
    releases = [world.verified("north")] * 12  # only their labels are looked at
    name = name_of(union.called(releases), "gradient_boosting", 100, True, {"apnea": 0.2})
    assert name.startswith("union-of-12-") and len(name) < 255
    assert union.called(releases[:11]) != union.called(releases)


def test_side_by_side_as_one_after_another(world: Hospitals, tmp_path: Path) -> None:
    world.held("north"), world.held("south")
    options = ("train", "north-nights-0001", "south-nights-0001", "--home", world.consumer.root, "--format", "json")
    wanted = ("-f", "decision_tree", "-f", "logistic_regression", "--seeds", 2)
    code, made = run(*options, *wanted, "--jobs", 2)
    assert code == 0, made
    assert [r["custodian"] for r in made["releases"]] == ["Hospital North", "Hospital South"]  # type: ignore[union-attr]
    names = [s["student"] for s in made["students"]]  # type: ignore[union-attr]
    assert names == [f"north-nights-0001+south-nights-0001-{f}-{s}" for f in ("decision_tree", "logistic_regression") for s in (1, 2)]
    north, south = world.verified("north"), world.verified("south")
    for name in names:
        kept = Student.load(world.consumer.students / name)
        assert kept.model == train_student(north, kept.family, kept.seed, beside=[south]).model
    before = {name: (world.consumer.students / name / "student.json").stat().st_mtime_ns for name in names}
    time.sleep(0.01)
    code, again = run(*options, "-f", "decision_tree", "-f", "knn", "--seeds", 2, "--jobs", 2, "--resume")
    assert code == 0 and len(again["students"]) == 4  # type: ignore[arg-type]
    after = {name: (world.consumer.students / name / "student.json").stat().st_mtime_ns for name in names}
    assert before == after


def test_a_failure_keeps_what_was_finished_and_says_what_it_was(world: Hospitals) -> None:
    north = world.verified("north")
    orders = [Order("svm", 7), Order("svm", 8, {"unheard": 1})]
    with pytest.raises(ConfigError, match="unheard"):
        train_fleet(world.consumer, [north], orders, resume=False, jobs=2, own=None, on_step=lambda done, note: None)
    assert (world.consumer.students / "north-nights-0001-svm-7" / "student.json").is_file()
    with pytest.raises(ConfigError, match="jobs"):
        pipeline.train(world.consumer, north, ["knn"], jobs=0)


def test_a_process_beside_verifies_for_itself(world: Hospitals, tmp_path: Path) -> None:
    """What changed on the disk after the parent verified it trains nobody."""
    from consumer.students.fleet import Workplace
    from consumer.trust import statement_digest

    north, south = world.verified("north"), world.verified("south")
    digest = statement_digest(north.statement)
    swapped = Workplace(world.consumer.root, ((south.folder, digest),))
    with pytest.raises(ContentMismatch, match="changed"):
        swapped.train(Order("knn", 1))
    damaged = world.releases["north"].copy(tmp_path / "damaged")
    shard = next(damaged.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(ContentMismatch):
        Workplace(world.consumer.root, ((damaged, digest),)).train(Order("knn", 1))


def test_own_families_are_known_beside(world: Hospitals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_REGISTRY", dict(families._REGISTRY))
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from sklearn.linear_model import LogisticRegression\nimport consumer\n"
        "consumer.register_estimator('mine', LogisticRegression())\n"
    )
    world.held("south")
    code, made = run(
        "train", "south-nights-0001", "--own", mine, "-f", "mine", "--seeds", 2, "--jobs", 2, "--home", world.consumer.root,
        "--format", "json",
    )  # fmt: skip
    assert code == 0 and len(made["students"]) == 2, made  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(world: Hospitals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("exported") / "union.onnx"
    student = train_student(world.verified("north"), "logistic_regression", 1, beside=[world.verified("south")])
    export(student, file)
    accompany(world.consumer, student, file)
    return file


def test_the_chain_leads_to_each_hospitals_root(world: Hospitals, exported: Path) -> None:
    roots = [(name, world.releases[name].root) for name in ("south", "north")]
    found = verify_student(exported, roots)
    assert [(o.trusted_as, o.statement.predicate.release_id) for o in found.origins] == [
        ("north", "north-nights-0001"), ("south", "south-nights-0001"),
    ]  # fmt: skip
    code, said = run("verify", exported, "--home", world.consumer.root, "--format", "json")
    assert code == 0 and [o["custodian"] for o in said["origins"]] == ["Hospital North", "Hospital South"]  # type: ignore[union-attr]
    with pytest.raises(UnknownSigner):
        verify_student(exported, roots[:1])  # one root vouches for its own half alone


def test_no_hospital_can_be_left_out_or_put_in(world: Hospitals, exported: Path, tmp_path: Path) -> None:
    """The envelopes must be those that the ONNX file names, all of them, in its order."""
    roots = [(name, world.releases[name].root) for name in world.releases]
    signed = json.loads(lineage_file(exported).read_text())
    north, south = signed["predicate"]["envelope"]
    other = base64.b64encode((world.held("other") / "provenance.dsse.json").read_bytes()).decode()
    file = Path(shutil.copy(exported, tmp_path))
    for envelopes in ([south, north], [north, north], north, [north, south, south], [north, other], [north], [north, 7], []):
        signed["predicate"]["envelope"] = envelopes
        lineage_file(file).write_text(json.dumps(signed))
        with pytest.raises((ContentMismatch, FormatError)):
            verify_student(file, roots)


def test_reports_of_several_hospitals_do_not_replace_each_other():
    model = Path("models") / "cnn.onnx"
    assert report_file(model, None) == Path("models") / "cnn.onnx.evaluation.json"
    assert len({report_file(model, name) for name in (None, "north", "south")}) == 3
