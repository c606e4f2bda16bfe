"""The demo's numbers in words, table and page, from invented results."""

import base64
import datetime
import io
import json
import re

import numpy as np
import plots
import pytest
import report
import summary
from rich.console import Console

import demo_numbers

MADE = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)


def page(found, classes=2, signals=1):
    values, beliefs = demo_numbers.arrays(classes, signals)
    averages = {kind: report.class_power(values, beliefs.argmax(1), classes) for kind in ("true_hard", "stimuli", "noise", "paper")}
    averages["paper"][0] = None
    labels = tuple(found["labels"])
    material = report.Material(values, beliefs, averages, labels, 0.5, tuple(f"s{i}" for i in range(signals)), "Whether it is <so>")
    return report.render(found, material, report.family_titles(found["families"]), made=MADE)


@pytest.fixture(scope="module")
def simulated():
    return page(demo_numbers.summary())


def test_the_page_fetches_nothing(simulated):
    assert not re.findall(r"""(?:src|href|srcset)=["'](?!data:)""", simulated)
    assert not re.findall(r"@import|<script|<link|url\(", simulated)
    for picture in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", simulated):
        svg = base64.b64decode(picture).decode()
        assert "<svg" in svg
        assert not re.findall(r"""(?:xlink:)?href="(?!#)""", svg)
    assert simulated.count("data:image") == 8  # four figures, light and dark


def test_the_page_says_that_it_is_simulated_and_only_then(simulated):
    assert "<b>Simulated.</b>" in simulated
    assert "<b>Simulated" not in page(demo_numbers.summary() | {"simulated": False, "data": "Apnea-ECG"})


def test_what_comes_from_data_is_escaped(simulated):
    assert "How sure a fresh attacker is &lt;b&gt;." in simulated
    assert "Whether it is &lt;so&gt;" in page(demo_numbers.summary() | {"simulated": False})


def test_the_page_shows_every_student_and_the_gate(simulated):
    for title in report.family_titles(demo_numbers.FAMILIES).values():
        assert title in simulated
    for name in (*plots.TITLES.values(), "identity-certainty", "at most", "deploy/verify-release.sh", "ab" * 32):
        assert name.replace("'", "&#39;") in simulated


def test_the_same_numbers_give_the_same_page(simulated):
    assert simulated == page(demo_numbers.summary())


def test_several_classes_and_signals_and_undefined_numbers():
    found = demo_numbers.summary(labels=("wake", "N1", "N2", "N3", "REM"), families=["cnn", "knn"])
    found["students"][0]["kappa"] = None
    found["students"][1]["intervals"] = dict.fromkeys(summary.METRICS)
    found["gate"]["checks"][0] |= {"value": None, "passed": False}
    html = page(found, classes=5, signals=4)
    assert "means over the classes" in html
    assert "s0, s1, s2" in html
    assert ">failed<" in html


@pytest.mark.parametrize(
    ("stimuli", "says"),
    [(0.70, "do better than students of the true windows, by 0.06"), (0.64, "do as well as"), (0.50, "come within 0.14 of kappa")],
)
def test_the_verdict_says_what_the_numbers_say(stimuli, says):
    assert says in summary.verdict(demo_numbers.summary(stimuli=stimuli), {}).headline


def test_the_verdict_names_the_worst_student_and_those_that_noise_fails():
    found = demo_numbers.summary(noise=0.61)
    bad = next(r for r in found["students"] if (r["family"], r["trained_on"]) == ("knn", "stimuli"))
    bad["kappa"] = 0.3
    words = summary.verdict(found, {"knn": "nearest neighbours"})
    assert "6 of 7" in words.detail
    assert "nearest neighbours: 0.30 against 0.54" in words.detail
    assert "behind" not in words.detail
    assert "such noise does as well" in words.detail
    assert words.gaps["knn"] == pytest.approx(-0.24)
    assert "nothing to compare" in summary.verdict(found | {"students": []}, {}).headline


def test_noise_is_told_of_both_ways():
    assert "leaves the cnn, the lstm, the mlp, the random_forest, the svm, the knn and the logistic_regression more than 0.10 behind" in (
        summary.verdict(demo_numbers.summary(), {}).detail
    )
    assert summary.verdict(demo_numbers.summary(noise=0.56), {}).detail.endswith("0.64.")


def test_the_table_has_one_line_per_family_and_one_column_per_training_data():
    found = demo_numbers.summary()
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary.kappa_table(found), *summary.closing_lines(found, "report.html", "summary.json"))
    text = console.export_text()
    assert "SIMULATED" in text
    assert re.search(r"cnn +│ +0\.620 +│ +0\.640 +│ +0\.660 +│ +0\.200 +│ +0\.100", text)
    assert "gate admitted: identity-certainty 0.410 (<= 0.5)" in text
    assert "(300)" in text


def test_rows_come_from_the_consumers_benchmark_and_the_referee():
    metrics = dict.fromkeys((*summary.METRICS, "log_loss"), 0.5)
    result = {"family": "cnn", "student": "a-0001-cnn-1", "metrics": metrics, "intervals": dict.fromkeys(metrics)}
    result["confusion"] = [[1, 0], [0, 1]]
    baselines = [demo_numbers.row("cnn", "paper", 0.1), demo_numbers.row("cnn", "true_hard", 0.6)]
    rows = summary.student_rows({"results": [result], "windows": 2}, baselines)
    assert [r["trained_on"] for r in rows] == ["stimuli", "true_hard", "paper"]
    assert set(summary.METRICS) < set(rows[0])
    json.dumps(rows, allow_nan=False)


def test_power_is_that_of_a_sine():
    time = np.arange(100) / 0.5
    wave = np.sin(2 * np.pi * 0.05 * time).astype(np.float32)[None, None] + 7
    found = plots.power(wave)
    assert len(found) == 50
    assert found.argmax() == 9  # 0.05 Hz is the tenth multiple of 0.005 Hz
    assert found.sum() == pytest.approx(found.max(), rel=1e-4)
    assert found.max() == pytest.approx(25.0, rel=1e-3)  # (amplitude * samples / 2)^2 / samples


def test_shown_stimuli_run_from_uncertain_to_certain():
    _, beliefs = demo_numbers.arrays()
    rows = plots.spread_rows(beliefs, 1)
    shown = [beliefs[r, 1] for r in rows]
    assert shown == sorted(shown)
    assert all(beliefs[r].argmax() == 1 for r in rows)
    assert plots.spread_rows(beliefs[beliefs.argmax(1) == 0], 1) == [None] * plots.PER_CLASS
