"""From single results to rows, claims and the frontier: arithmetic by hand, and nothing invented where something is missing."""

from __future__ import annotations

import json

import pytest
from paper import page, tables
from paper.jobs import METRICS
from paper.settings import OFFICIAL, UNSEEN


def student(family, trained_on, seed, kappa, unseen=None, window="apnea-5min"):
    def metrics(k):
        return {"windows": 10, "persons": 2, **dict.fromkeys(METRICS, 0.5), "kappa": k}

    return {
        "family": family, "trained_on": trained_on, "seed": seed, "window": window, "examples": 100, "seconds": 1.0, "code": "c",
        "protocols": {OFFICIAL: metrics(kappa), **({UNSEEN: metrics(unseen)} if unseen is not None else {})},
    }  # fmt: skip


def attack(recipe, family, seed, entropy, auc, excess, window="apnea-5min"):
    return {
        "recipe": recipe, "family": family, "seed": seed, "window": window, "simulated": True, "code": "c", "seconds": 1.0,
        "stimuli_entropy": entropy, "stimuli_auc": auc, "stimuli_excess": excess, "control_auc": 0.9, "control_entropy": 0.3,
        "strangers_entropy": 0.5, "strangers_excess": 2.0,
    }  # fmt: skip


STUDENTS = [
    student("cnn", "true_hard", 1, 0.60, 0.50), student("cnn", "true_hard", 2, 0.64, 0.54),
    student("cnn", "true_soft", 1, 0.66, 0.56), student("cnn", "true_soft", 2, 0.66, 0.56),
    student("cnn", "spectral", 1, 0.65, 0.52), student("cnn", "spectral", 2, 0.67, 0.56),
    student("mlp", "true_hard", 1, 0.60, 0.50), student("mlp", "spectral", 1, 0.60, 0.45),
]  # fmt: skip
KINDS = ["true_hard", "true_soft", "spectral"]


def test_mean_and_spread_leave_out_what_is_undefined():
    assert tables.mean_and_spread([0.2, None, 0.4]) == (pytest.approx(0.3), pytest.approx(0.1414213562))
    assert tables.mean_and_spread([0.2]) == (0.2, None)
    assert tables.mean_and_spread([None]) == (None, None)


def test_a_row_for_each_window_protocol_family_and_kind():
    rows = tables.rows(STUDENTS, ["cnn", "mlp"], KINDS)
    assert [(r["protocol"], r["family"], r["trained_on"]) for r in rows[:5]] == [
        (OFFICIAL, "cnn", "true_hard"), (OFFICIAL, "cnn", "true_soft"), (OFFICIAL, "cnn", "spectral"),
        (OFFICIAL, "mlp", "true_hard"), (OFFICIAL, "mlp", "spectral"),
    ]  # fmt: skip
    assert len(rows) == 10
    first = rows[0]
    assert first["kappa_mean"] == pytest.approx(0.62)
    assert first["kappa_spread"] == pytest.approx(0.0282842712)
    assert first["seeds"] == [1, 2]
    assert {f"{m}_{n}" for m in METRICS for n in ("mean", "spread")} <= set(first)
    apart = [r for r in rows if r["protocol"] == UNSEEN and r["family"] == "cnn" and r["trained_on"] == "true_hard"]
    assert apart[0]["kappa_mean"] == pytest.approx(0.52)


def test_claims_are_differences_seed_by_seed():
    found = {(c["protocol"], c["family"]): c for c in tables.claims(STUDENTS, ["cnn", "mlp"], ["spectral"])}
    cnn = found[OFFICIAL, "cnn"]
    assert cnn["minus_true_hard_mean"] == pytest.approx(0.04)
    assert cnn["minus_true_hard_spread"] == pytest.approx(0.0141421356)
    assert cnn["minus_true_soft_mean"] == pytest.approx(0.0)
    assert cnn["holds_true_hard"] and cnn["holds_true_soft"]
    mlp = found[OFFICIAL, "mlp"]
    assert mlp["minus_true_hard_mean"] == pytest.approx(0.0)
    assert mlp["holds_true_hard"] is True
    assert mlp["minus_true_soft_mean"] is None and mlp["holds_true_soft"] is None
    assert found[UNSEEN, "mlp"]["holds_true_hard"] is False


def test_the_convolutional_network_must_gain_where_the_others_must_not_lose():
    level = [student(f, k, 1, 0.6) for f in ("cnn", "mlp") for k in ("true_hard", "spectral")]
    found = {c["family"]: c["holds_true_hard"] for c in tables.claims(level, ["cnn", "mlp"], ["spectral"])}
    assert found == {"cnn": False, "mlp": True}


def test_a_seed_that_only_one_side_has_counts_for_nothing():
    lone = [student("mlp", "true_hard", 1, 0.1), student("mlp", "spectral", 2, 0.9)]
    assert tables.claims(lone, ["mlp"], ["spectral"]) == []


def test_the_frontier_is_what_the_strongest_attacker_says():
    attacks = [attack("spectral", "random_forest", 1, 0.9, 0.3, 0.2), attack("spectral", "deep_cnn", 1, 0.7, 0.2, 0.8)]
    (point,) = tables.frontier(attacks, STUDENTS)
    assert (point["entropy"], point["auc"], point["excess"]) == (0.7, 0.3, 0.8)
    assert point["kappa"] == {"cnn": 0.65, "mlp": 0.60}
    assert point["kappa_unseen"] == {"cnn": 0.52, "mlp": 0.45}
    assert set(point["attackers"]) == {"random_forest", "deep_cnn"}
    (mean,) = tables.frontier_means([point, {**point, "seed": 2, "entropy": 0.8}])
    assert mean["entropy_mean"] == pytest.approx(0.75)
    assert mean["seeds"] == [1, 2]


def document(students, attacks):
    points = tables.frontier(attacks, students)
    families = ["cnn", "mlp"]
    recipe = {"name": "spectral", "summary": "one & <two>", "digest": "0" * 64, "objective": {"identity": 0.5}, "stimuli": 100}
    return {
        "simulated": True, "recipes": [recipe], "families": families, "trained_on": KINDS, "teachers": [],
        "rows": tables.rows(students, families, KINDS), "claims": tables.claims(students, families, ["spectral"]), "frontier": points,
        "frontier_means": tables.frontier_means(points), "strangers": tables.strangers(attacks),
        "results": {"there": 1, "of": 2}, "code": ["c"], "failed": {"a job": "a <reason>"},
    }  # fmt: skip


def test_the_page_stands_alone_and_says_simulated():
    attacks = [attack("spectral", "deep_cnn", seed, 0.7, 0.2, 0.8) for seed in (1, 2)]
    made = document(STUDENTS, attacks)
    json.dumps(made, allow_nan=False)
    html = page.render(made)
    assert "simulated" in html and "0.620" in html and "+0.040" in html
    assert "one &amp; &lt;two&gt;" in html and "a &lt;reason&gt;" in html
    assert "http" not in html.replace("http://www.w3.org", "") and "<script" not in html
    assert html.count("prefers-color-scheme: dark") >= 5


def test_a_page_of_nothing_is_a_page():
    html = page.render(document([], []))
    assert "Nothing has been compared yet" in html


def test_unfinished_work_gives_a_table_with_dashes():
    made = document([STUDENTS[0], student("mlp", "spectral", 1, 0.6)], [])
    assert len(page.printed(made)) == 2
    assert made["claims"] == []
    assert "–" in page.render(made)
