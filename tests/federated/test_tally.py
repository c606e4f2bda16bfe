"""The federated demo's numbers: means over seeds and hospitals, gains, words, page; and its plan."""

import datetime
import re

import federation
import numpy as np
import page
import pytest
import tally
from rich.console import Console
from stages import Runner

FAMILIES = ("cnn", "random_forest")
METRICS = dict.fromkeys(tally.METRICS, 0.8)


def row(family, kind, seed, kappa):
    return {"family": family, "trained_on": kind, "seed": seed, "examples": 100, **METRICS, "kappa": kappa}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    found = []
    for family in FAMILIES:
        for kind, base in zip(tally.KINDS, (0.4, 0.5, 0.6, 0.7, 0.75), strict=True):
            found += [row(family, kind, seed, base + 0.02 * rng.normal()) for seed in (1, 2, 3)]
    return found


@pytest.fixture(scope="module")
def summary(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("federated")
    facts = federation.Facts(folder, federation.FULL, FAMILIES)
    for hospital in federation.HOSPITALS:
        facts.documents[hospital] = {
            "init": {"root_fingerprint": "ab" * 32}, "release": {"release": f"{hospital}-nights-0001"},
            "train": {"validation_kappa": 0.7}, "ingest": {"windows": 1920}, "audit": {"checks": [{"passed": True}] * 8},
        }  # fmt: skip
    facts.documents["submit"] = {h: {"measures": {"kappa": {"value": 0.6, "low": 0.5, "high": 0.7}}} for h in federation.HOSPITALS}
    facts.documents["pull"] = {h: {"folder": folder / h} for h in federation.HOSPITALS}
    facts.documents["benchmark"] = {"windows": 4320, "persons": 36, "labels": ["normal", "apnea"]}
    facts.documents["export"] = {"file": str(folder / "union-cnn.onnx"), "student": "x", "origins": []}
    return tally.build(facts, [], rows, 600.0)


def test_a_cell_is_the_mean_over_seeds_and_for_the_mean_over_hospitals_too(rows):
    union = [r["kappa"] for r in rows if r["family"] == "cnn" and r["trained_on"] == "union"]
    found = tally.cell(rows, "cnn", tally.UNION)
    assert found.value == pytest.approx(np.mean(union)) and found.spread == pytest.approx(np.std(union, ddof=1))
    alone = [r["kappa"] for r in rows if r["family"] == "cnn" and r["trained_on"] in federation.HOSPITALS]
    assert tally.cell(rows, "cnn", tally.MEAN).value == pytest.approx(np.mean(alone))
    assert tally.gains(rows, FAMILIES)["cnn"] == pytest.approx(np.mean(union) - np.mean(alone))
    assert tally.cell(rows, "svm", tally.UNION) is None and tally.gains(rows, ["svm"]) == {}


def test_rows_of_both_benchmarks_come_together():
    students = {"north": [{"family": "cnn", "seed": 1, "stimuli": 90, "student": "a"}], "union": []}
    benchmark = {"results": [{"student": "a", "metrics": {**METRICS, "log_loss": 0.1}}]}
    pooled = [{**row("cnn", tally.POOLED, 2, 0.9), "confusion": []}]
    found = tally.rows_of(benchmark, students, pooled)
    assert [(r["trained_on"], r["kappa"], r["examples"]) for r in found] == [("north", 0.8, 90), (tally.POOLED, 0.9, 100)]


def test_the_words_follow_the_numbers(summary):
    assert summary["neural"] == ["cnn"] and "every network" in tally.headline(summary)
    worse = {**summary, "gains": {"cnn": -0.01, "random_forest": 0.1}}
    assert tally.headline(worse) == "The union is better than the mean of the three hospitals alone for 0 of 1 networks."


def test_the_table_and_the_page(summary, capsys):
    Console(width=160).print(tally.kappa_table(summary))
    shown = capsys.readouterr().out
    assert "SIMULATED" in shown and "union" in shown and f"{summary['gains']['cnn']:+.3f}" in shown
    text = page.render(summary, made=datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    assert "<b>Simulated.</b>" in text and "Hospital South" in text
    assert not re.findall(r"""(?:src|href|srcset)=["'](?!data:)""", text)


def test_the_plan_can_run_and_keeps_the_sides_apart(tmp_path):
    facts = federation.Facts(tmp_path, federation.QUICK)
    runner = Runner(federation.stages(facts), tmp_path, facts.environments, Console(), federation.COLOURS)  # its order is checked
    assert {s.side for s in runner.stages} == set(federation.COLOURS)
    for hospital in federation.HOSPITALS:
        known = str(facts.environments[hospital])
        assert all(str(facts.home(other)) not in known for other in federation.HOSPITALS if other != hospital)
    assert "CUSTODIAN" not in str(facts.environments[federation.PARTNER])
    assert len(set(facts.passphrases.values())) == 3
