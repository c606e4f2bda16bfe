"""Calibration, prevalence, search and families of a user's own, from a real release to the ONNX file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

import wire_world
from consumer.cli import app
from consumer.export import export
from consumer.students import search as searching
from consumer.students.adjusting import Adjustment, prevalence_weights, temperature
from consumer.students.search import search
from consumer.students.training import train_student, trained_before
from stimset.errors import ConfigError, FormatError, StimsetError
from stimset.learning import families
from stimset.verifying import VerifiedRelease, verify
from stimset.windows import SignalSpec, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms"),), rate_hz=0.5, epoch_s=60.0, labels=("normal", "apnea"), annotations={"N": "normal"}
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> wire_world.World:
    made = wire_world.World.make(tmp_path_factory.mktemp("world"), shards=(160,), spec=SPEC)
    shutil.copytree(made.release.folder, made.consumer.releases / made.release.folder.name)
    return made


@pytest.fixture(scope="module")
def release(world: wire_world.World) -> VerifiedRelease:
    return verify(world.release.folder, world.trusted_root)


def run(*arguments: object) -> tuple[int, dict[str, object]]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, json.loads(result.stdout) if result.stdout.startswith("{") else {"text": result.stderr}


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(true: float) -> None:
    wanted = np.random.default_rng(0).dirichlet(np.full(3, 3.0), 4000)
    student = wanted**true / (wanted**true).sum(axis=1, keepdims=True)  # too certain where above 1
    assert temperature(student, wanted) == pytest.approx(true, rel=0.01)
    assert np.allclose(Adjustment(true, (1.0, 1.0, 1.0))(student), wanted, atol=1e-3)


def test_another_prevalence_is_bayes_rule() -> None:
    rng = np.random.default_rng(1)
    prior, wanted = np.array([0.5, 0.3, 0.2]), {"c": 0.6}
    likelihood = rng.uniform(size=(50, 3))
    posterior = likelihood * prior / (likelihood @ prior)[:, None]
    weights = prevalence_weights(prior, wanted, ("a", "b", "c"))
    shares = np.array([0.25, 0.15, 0.6])  # a and b keep their proportions
    assert np.allclose(Adjustment(1.0, weights)(posterior), likelihood * shares / (likelihood @ shares)[:, None])


@pytest.mark.parametrize(
    "wanted", [{"x": 0.2}, {"a": 1.2}, {"a": 0.0}, {"a": 0.6, "b": 0.6}, {"a": 0.2, "b": 0.2, "c": 0.2}, {"a": float("nan")}]
)
def test_shares_that_cannot_be_are_refused(wanted: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="prevalence"):
        prevalence_weights(np.full(3, 1 / 3), wanted, ("a", "b", "c"))


@pytest.mark.parametrize("family", ["decision_tree", "mlp"])
def test_adjusted_students_leave_as_onnx(family: str, release: VerifiedRelease, tmp_path: Path) -> None:
    parameters = {"epochs": 3, "steps_at_least": 0} if family == "mlp" else {"min_leaf": 3}
    plain = train_student(release, family, 1, parameters=parameters)
    made = train_student(release, family, 1, parameters=parameters, calibrate=True, prevalence={"apnea": 0.1})
    assert made.name == f"{plain.name}-calibrated-shifted"
    assert made.training["prevalence"] == {"apnea": 0.1} and 0.1 <= made.training["temperature"] <= 10
    assert made.training["crossEntropy"] <= plain.training["crossEntropy"] + 1e-9
    assert export(made, tmp_path / "m.onnx").max_difference < 1e-4
    values = release.stimuli().values
    before, after = plain.predict_proba(values), made.predict_proba(values)
    assert after[:, 1].mean() < before[:, 1].mean() - 0.1
    weights = prevalence_weights(np.array(made.training["prior"]), {"apnea": 0.1}, SPEC.labels)
    assert np.allclose(Adjustment(made.training["temperature"], weights)(before), after, atol=1e-4)
    properties = {p.key: p.value for p in onnx.load_from_string(made.model).metadata_props}
    assert json.loads(properties["stimset.adjustment"])["temperature"] == made.training["temperature"]


def test_a_search_goes_on_where_it_stopped(release: VerifiedRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, told = tmp_path / "searches" / "knn.jsonl", []
    real, calls = families.build, []

    def breaks_off(*args: object, **params: object) -> object:
        calls.append(params)
        if len(calls) == 5:  # one for the defaults, then the fourth trial
            raise KeyboardInterrupt
        return real(*args, **params)

    monkeypatch.setattr(families, "build", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        search(release, "knn", trials=6, journal=journal)
    monkeypatch.setattr(families, "build", real)
    found = search(release, "knn", trials=6, journal=journal, on_trial=lambda done, best: told.append((done, best)))
    assert (found.trials, found.new) == (6, 3) and [done for done, _ in told] == [4, 5, 6]
    assert calls[1]["neighbours"] == 50, "the defaults come first"
    assert found.cross_entropy <= found.default_cross_entropy
    assert 5 <= found.parameters["neighbours"] <= 200
    again = search(release, "knn", trials=6, journal=journal)
    assert again.new == 0 and again.parameters == found.parameters
    assert all(line.startswith("{") for line in journal.read_text().splitlines())


def test_every_family_says_what_there_is_to_search() -> None:
    for family in families.families():
        if family.name == "naive_bayes":
            with pytest.raises(ConfigError, match="no parameters to search"):
                searching.space(family)
        else:
            known = families.build(family.name, 1, 40, 2).get_params()
            assert set(searching.space(family)) <= set(known)


def test_what_is_no_journal_is_left_alone(release: VerifiedRelease, tmp_path: Path) -> None:
    journal = tmp_path / "notes.jsonl"
    journal.write_text("my notes\n")
    with pytest.raises(FormatError, match="move it away"):
        search(release, "knn", trials=1, journal=journal)
    with pytest.raises(TypeError, match="VerifiedRelease"):
        search(release.stimuli(), "knn", trials=1, journal=journal)  # type: ignore[arg-type]


def test_training_goes_on_with_what_is_missing(world: wire_world.World, release: VerifiedRelease) -> None:
    home, name = world.consumer, f"{release.id}-decision_tree-{{}}"

    def times() -> dict[str, int]:
        found = home.students.glob("*decision_tree-*/student.json")
        return {p.parent.name: p.stat().st_mtime_ns for p in found if p.parent.name.rpartition("-")[2].isdigit()}

    options = ("--home", home.root, "--format", "json", "-f", "decision_tree")
    assert run("train", release.id, *options)[0] == 0
    before = times()
    code, made = run("train", release.id, *options, "--seeds", 2, "--resume")
    assert code == 0 and [s["student"] for s in made["students"]] == [name.format(1), name.format(2)]
    assert {k: v for k, v in times().items() if k in before} == before and name.format(2) in times()
    assert trained_before(home.students, release, "decision_tree", 1, {"min_leaf": 7}) is None
    assert trained_before(home.students, release, "decision_tree", 1, None, False, {"apnea": 0.2}) is None
    model = home.students / name.format(2) / "student.onnx"
    model.write_bytes(model.read_bytes() + b"x")  # damaged: trained anew
    assert trained_before(home.students, release, "decision_tree", 2) is None
    assert run("train", release.id, *options, "--seeds", 2, "--resume")[0] == 0
    assert trained_before(home.students, release, "decision_tree", 2) is not None


@pytest.mark.parametrize(
    "model",
    [
        LinearDiscriminantAnalysis(),
        make_pipeline(PCA(5), LogisticRegression()),
        RandomForestClassifier(10),
        Ridge(),
        ExtraTreesRegressor(10),
    ],
)
def test_an_estimator_of_your_own_leaves_as_onnx(
    model: object, release: VerifiedRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "_REGISTRY", dict(families._REGISTRY))
    families.register_estimator("mine", model)
    assert export(train_student(release, "mine", 1), tmp_path / "m.onnx").max_difference < 1e-4


def test_what_cannot_become_onnx_is_named(release: VerifiedRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unheard(Ridge):
        pass

    monkeypatch.setattr(families, "_REGISTRY", dict(families._REGISTRY))
    families.register_estimator("unheard", Unheard())
    with pytest.raises(StimsetError, match="Unheard can't be turned into ONNX"):
        train_student(release, "unheard", 1)


def test_the_command_line(world: wire_world.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_REGISTRY", dict(families._REGISTRY))
    own = tmp_path / "own.py"
    own.write_text(
        "import consumer\nfrom sklearn.discriminant_analysis import LinearDiscriminantAnalysis\n"
        "consumer.register_estimator('discriminant', LinearDiscriminantAnalysis(), 'my own')\n"
    )
    release, home = world.release.folder.name, world.consumer.root
    code, made = run(
        "train", release, "--own", own, "-f", "discriminant", "--calibrate", "--prevalence", "apnea=0.2", "--home", home,
        "--format", "json",
    )  # fmt: skip
    assert code == 0, made
    assert [s["student"] for s in made["students"]] == [f"{release}-discriminant-1-calibrated-shifted"]
    code, made = run("train", release, "-f", "decision_tree", "--search", 3, "--home", home, "--format", "json")
    assert code == 0 and made["searches"]["decision_tree"]["new"] == 3
    code, made = run("train", release, "-f", "decision_tree", "--search", 4, "--home", home, "--format", "json")
    assert made["searches"]["decision_tree"]["new"] == 1 and made["searches"]["decision_tree"]["trials"] == 4


def test_wrong_options_say_what_to_do(world: wire_world.World, tmp_path: Path) -> None:
    release, home = world.release.folder.name, world.consumer.root
    (tmp_path / "bad.py").write_text("1 / 0\n")
    for options, hint in (
        (("--prevalence", "apnea"), "LABEL=SHARE"),
        (("--prevalence", "sleep=0.2"), "known are normal, apnea"),
        (("--own", tmp_path / "none.py"), "no such Python file"),
        (("--own", tmp_path / "bad.py"), "ZeroDivisionError"),
    ):
        code, answer = run("train", release, "-f", "decision_tree", *options, "--home", home)
        assert code == 3 and hint in str(answer["text"]), (options, answer)
    code, answer = run("train", release, "-f", "naive_bayes", "--search", 2, "--home", home)
    assert code == 3 and "no parameters to search" in str(answer["text"])
