"""The baselines' own parts, and the whole table in miniature: a set of windows and a model, made, judged and printed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from baselines import page, tables
from baselines.approaches import APPROACHES, Form, environments_of, flower
from baselines.cells import Bed, Shadow, cells
from baselines.fedavg import LOCAL_PLAN, Task, federate, mean, weights_of, with_weights
from baselines.flower import train_by_flower
from baselines.synthesiser import LEAST_DEVIATION, columns_of, windows_of
from bench_baselines import main
from hypothesis import example, given, settings
from hypothesis import strategies as st
from paper.settings import Setting
from typer import Typer
from typer.testing import CliRunner

ENVIRONMENTS = Path(os.environ.get("BASELINES_ENVS") or Path(__file__).parents[2] / "build" / "bench" / "baselines-envs")
TINY = "--jobs 1 --worlds 0 --approaches dp-sgd-8 --families knn --recipe noise --count 100 --per-person 20 --steps 5 --minutes 20"
FORM = Form("noise", 100, 5, 1, 20)
FLOWER = flower(ENVIRONMENTS)


@given(st.integers(1, 3), st.integers(2, 40), st.integers(0, 2**31))
@example(2, 2, 89013)
@settings(max_examples=40, deadline=None)
def test_spectral_columns_make_the_same_windows_again(channels, samples, seed):
    values = np.random.default_rng(seed).normal(0.3, 1.5, (4, channels, samples)).astype(np.float32)
    columns = columns_of(values)
    assert columns.shape == (4, channels * (samples + 1))
    # A window that hardly moves comes back as one that moves by the least deviation.
    assert np.allclose(windows_of(columns, channels, samples, 100.0), values, atol=2 * LEAST_DEVIATION)


def test_synthetic_windows_stay_within_the_clip():
    drawn = np.random.default_rng(0).normal(0, 3, (20, 31))
    assert np.abs(windows_of(drawn, 1, 30, 5.0)).max() <= 5.0


def test_a_constant_window_has_finite_columns():
    assert np.isfinite(columns_of(np.ones((2, 1, 16), np.float32))).all()


def test_the_mean_counts_every_window_once():
    parts = [([np.full(3, 1.0, np.float32)], 10), ([np.full(3, 4.0, np.float32)], 20)]
    assert np.allclose(mean(parts)[0], 3.0)  # (10 * 1 + 20 * 4) / 30


def sites(sizes=(12, 20, 16)):
    rng = np.random.default_rng(3)
    return [(rng.normal(size=(n, 1, 24)).astype(np.float32), rng.integers(0, 2, n)) for n in sizes]


def test_federated_rounds_are_the_mean_of_the_sites_own_training():
    task = Task(1, 24, 2, 1, 5)
    data = sites()
    alone = [task.taught(task.first(), *site, number, 1) for number, site in enumerate(data)]
    by_hand = [np.average(layers, axis=0, weights=[12, 20, 16]) for layers in zip(*alone, strict=True)]
    for layer, expected in zip(weights_of(federate(task, data)), by_hand, strict=True):
        assert np.allclose(layer, expected, atol=1e-6)


def test_weights_go_and_come_back_without_the_counters():
    network = Task(1, 24, 2, 1, 5).network()
    weights = weights_of(network)
    assert all(layer.dtype == np.float32 for layer in weights)
    doubled = with_weights(Task(1, 24, 2, 1, 6).network(), [2 * layer for layer in weights])
    assert all(np.allclose(b, 2 * a) for a, b in zip(weights, weights_of(doubled), strict=True))
    assert LOCAL_PLAN.steps_at_least == 0  # a site with few windows takes few steps, as its weight says


@pytest.mark.slow
@pytest.mark.skipif(not FLOWER.ready, reason="no environment with Flower; make bench BENCH=baselines makes it")
def test_flowers_processes_compute_the_same_network():
    task = Task(1, 24, 2, 2, 5)
    theirs, ours = train_by_flower(FLOWER, task, sites()), federate(task, sites())
    for a, b in zip(weights_of(theirs), weights_of(ours), strict=True):
        assert np.allclose(a, b, atol=1e-4)


@pytest.fixture(scope="module")
def app() -> Typer:
    made = Typer()
    made.command()(main)
    return made


@pytest.mark.slow
def test_a_model_is_made_judged_and_told_in_table_and_page(app, tmp_path):
    options = [*TINY.split(), "--out", str(tmp_path)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "baselines.json").read_text())
    (row,) = document["rows"]
    assert row["approach"] == "dp-sgd-8"
    assert row["lets_out"] == "model"
    assert row["inverted"]
    assert 0 < row["epsilon"] <= 8
    assert row["bytes"] > 1000
    assert set(row["kappa"]["unseen persons"]) == {"cnn"}
    assert row["membership"] is None
    html = (tmp_path / "baselines.html").read_text()
    assert "epsilon 8" in html
    assert "http" not in html.split("<body>")[1]
    again = CliRunner().invoke(app, [*options, "--table-only"])
    assert again.exit_code == 0, again.output
    assert "1 of 1" in (tmp_path / "baselines.html").read_text()


def test_membership_is_told_by_worlds_of_halves_that_complete_each_other(tmp_path):
    bed = Bed(Setting.make("apnea-5min", None, tmp_path, 16, 20), 1, FORM, 4, ENVIRONMENTS)
    assert bed.inside.shape == (4, 16)
    assert (bed.inside == 1).sum(1).tolist() == [8] * 4
    assert not ((bed.inside[0] == 1) & (bed.inside[1] == 1)).any()
    assert bed.membership("copula") is None
    for number in range(4):
        world = Shadow(bed, "copula", number=number)
        world.file.parent.mkdir(parents=True)
        losses = np.where(bed.inside[number] == 1, 0.2, 0.8) + 0.01 * np.arange(16)
        world.file.write_text(json.dumps({"surprise": losses.tolist()}))
    told = bed.membership("copula")
    assert told["auc"] > 0.99
    # Whom the other worlds know from one side only can't be told; who chose the epoch doesn't count.
    assert 16 <= told["pairs"] <= int((bed.inside >= 0).sum())


def test_noise_waits_for_the_teacher_of_the_stimuli(tmp_path):
    bed = Bed(Setting.make("apnea-5min", None, tmp_path, 16, 20), 1, FORM, 0, ENVIRONMENTS)
    first, second = cells(bed, ["noise", "stimuli"], ("knn",), [])
    assert first.needs == (second.file,)
    assert not second.needs
    (alone,) = cells(bed, ["noise"], ("knn",), [])
    assert not alone.needs


@pytest.mark.parametrize(
    ("options", "cause"),
    [("--approaches magic", "no approach 'magic'"), ("--worlds 3", "an even number"), ("--families magic", "no family 'magic'"),
     ("--recipe magic", "no recipe 'magic'")],
)
def test_what_is_unknown_is_refused_before_anything_runs(app, tmp_path, options, cause):
    result = CliRunner().invoke(app, [*options.split(), "--out", str(tmp_path)])
    assert result.exit_code == 3
    assert cause in result.output
    assert not (tmp_path / "baselines-envs").exists()


def test_a_row_is_as_safe_as_its_worst_attacker_says():
    def attacker(entropy, excess):
        rest = {"stimuli_auc": 0.5, "stimuli_certainty": 0.3, "strangers_certainty": 0.2}
        return {"stimuli_entropy": entropy, "stimuli_excess": excess, **rest}

    result = {
        "approach": "copula", "kind": "windows", "scores": {"cnn": {"official": {"kappa": 0.5}}}, "epsilon": None, "core_seconds": 2.0,
        "seconds": 3.0, "bytes": 5, "persons": 8, "code": "c",
        "attacks": {"inverted": False, "reconstruction": {"copied-share": 0.1, "nearer-auc": 0.5},
                    "identity": {"a": attacker(0.9, 0.1), "b": attacker(0.4, 0.7)}},
    }  # fmt: skip
    (row,) = tables.rows([result], {"copula": None})
    assert (row["entropy"], row["excess"]) == (0.4, 0.7)
    assert page.membership(row) == "–"
    assert dict(page.figures(row))["epsilon"] == "–"
    assert tables.best(row, "official") == 0.5


def test_every_approach_has_a_title_and_its_own_name():
    assert len({a.title for a in APPROACHES.values()}) == len(APPROACHES)
    assert all(name == a.name for name, a in APPROACHES.items())


def test_only_what_is_asked_for_is_installed(tmp_path):
    assert environments_of(["stimuli", "dp-sgd-8"], tmp_path) == []
    needed = environments_of(["copula", "federated"], tmp_path)
    assert [environment.name for environment in needed] == ["copulas", "flower"]
    assert not any(environment.ready for environment in needed)
    assert all("==" in line for e in needed for line in e.requirements.read_text().splitlines() if not line.startswith("#"))
