"""The gate's report: what it says, that it needs nothing from outside, and what a cohort of a given size can show."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_release
from custodian.gate import report
from custodian.gate.attacks import Curve, Finding
from custodian.gate.distances import distance_picture
from custodian.gate.judging import Judgement
from custodian.gate.policy import load_policy
from custodian.gate.power import auc_half_width, cohort_warning, persons_needed
from custodian.gate.utility import StudentTrial
from small_cohort import SPEC, cohort
from stimset.release import Budget, CheckResult, GateResult, StimulusArrays

PROBE = "<script>alert('x')</script>"
FINDING = Finding(
    "membership-student", "auc", {"auc": 0.56, "tpr-at-1": 0.02}, f"Words {PROBE}.", "Caveat of the attack.",
    intervals={"auc": (0.49, 0.63)}, missing={"tpr-at-1": "8 persons are too few"},
    curves={"stimuli": Curve((0.0, 0.5, 1.0), (0.0, 0.6, 1.0)), "raw windows": Curve((0.0, 0.0, 1.0), (0.0, 1.0, 1.0))},
    positive_control=0.9, negative_control=0.5,
)  # fmt: skip
CHECKS = (
    CheckResult("membership-student", 0.56, 0.6, "<=", True, "Words. Caveat."),
    CheckResult("membership-student-positive-control", 0.9, 0.6, ">=", True, "Positive."),
    CheckResult("linkage", None, 0.1, "<=", False, "The attack 'linkage' did not run."),
    CheckResult("utility-loss-mlp", 0.03, 0.15, "<=", True, "Loss."),
)


@pytest.fixture(scope="module")
def candidates(tmp_path_factory):
    return tiny_release.candidates(tmp_path_factory.mktemp("report") / "main", spec=SPEC)


def judgement(*checks: CheckResult) -> Judgement:
    passed = all(c.passed for c in checks)
    result = GateResult(passed, "default-2", "ab" * 32, checks, {}, persons=6, warnings=(cohort_warning(6, 2, 0.1) or "",))
    return Judgement(result, (FINDING,), (StudentTrial("mlp", 0.55, 0.58),), {"linkage": f"DataInvalid: {PROBE}"})


def pages(candidates, *checks: CheckResult) -> tuple[dict, str]:
    document = report.report_document(candidates, cohort(), load_policy(), judgement(*checks), Budget(2.5, 1e-6, 3))
    return document, report.report_page(document)


class Balanced(HTMLParser):
    """Every element that is opened is closed."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """``<path/>``, as SVG writes it."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_verdict_stands_at_the_top_in_one_sentence(candidates):
    _, refused = pages(candidates, *CHECKS)
    top = refused[: refused.index("What the attackers found")]
    assert re.search(r"<h1>This set must not leave: 1 of 4 checks failed\.</h1>", top)
    assert "linkage</b> was not measured" in top and "Too small for a claim" in top
    _, admitted = pages(candidates, *CHECKS[:2], CHECKS[3])
    assert "<h1>This set may leave: all 3 checks of the policy passed.</h1>" in admitted


def test_every_attack_has_its_numbers_controls_words_and_limits_of_meaning(candidates):
    document, page = pages(candidates, *CHECKS)
    for text in (
        "Can it be told who was in the cohort?", "Caveat of the attack.", "membership-student-positive-control", "0.560", "0.900",
        "8 persons are too few", 'class="roc"', "raw windows", "did not run", "What broke off", "Distances, as a picture only",
        "arXiv 2505.01524", "epsilon 2.5 at delta 1e-06", "Simulated.", "cnn", "spectral", "32 windows", "no noise",
    ):  # fmt: skip
        assert text in page, text
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert document["attacks"][0]["checks"] == ["membership-student", "membership-student-positive-control"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_page_needs_nothing_from_outside_and_runs_nothing(candidates):
    _, page = pages(candidates, *CHECKS)
    assert not re.findall(r"""(?:src|href|srcset|@import|url)\s*[=(]""", page)
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page and "@media (max-width" in page


def test_what_is_written_is_what_the_digests_say_and_private(candidates):
    written = report.write(candidates, cohort(), load_policy(), judgement(*CHECKS), Budget(None, None, 0))
    for name, digest in ((report.REPORT_JSON, written.json), (report.REPORT_HTML, written.html)):
        file = candidates.folder / name
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
        assert file.stat().st_mode & 0o077 == 0
    assert report.report_page(json.loads((candidates.folder / report.REPORT_JSON).read_text())).encode() == (
        candidates.folder / report.REPORT_HTML
    ).read_bytes()
    assert "unbounded" in (candidates.folder / report.REPORT_HTML).read_text()


def test_no_person_is_named(candidates):
    document, page = pages(candidates, *CHECKS)
    names = cohort().windows.person_names
    assert not any(name in page or name in json.dumps(document) for name in names)


def test_a_report_without_findings_and_with_odd_numbers_is_still_a_page(candidates):
    bare = replace(FINDING, measurements={}, intervals={}, curves={}, positive_control=None, negative_control=None)
    whole = judgement(CHECKS[2])
    for findings in ((), (bare,)):
        document = report.report_document(
            candidates, cohort(), load_policy(), replace(whole, findings=findings, trials=()), Budget(None, None, 0)
        )
        assert "must not leave" in report.report_page(document)


def test_distances_are_a_picture_that_shows_copies():
    """Copies lie at zero, where strangers do not; what is not finite gives no picture."""
    c = cohort()
    copies = StimulusArrays(c.training.values, np.zeros((len(c.training), 3), np.float32))
    drawn = distance_picture(copies, c)
    assert drawn["stimuli"][-1] < 1e-3 < drawn["strangers' windows"][0]
    assert all(q == sorted(q) and len(q) == 21 for q in drawn.values())
    brute = np.sqrt(((c.validation.values[:5, None] - c.training.values[None]) ** 2).mean((2, 3))).min(1)
    few = replace(c, windows=c.windows)
    alike = distance_picture(StimulusArrays(c.validation.values[:5], np.zeros((5, 3), np.float32)), few)
    assert alike["stimuli"][0] == pytest.approx(brute.min(), rel=1e-4)
    assert alike["stimuli"][-1] == pytest.approx(brute.max(), rel=1e-4)
    broken = c.training.values.copy()
    broken[0, 0, 0] = np.nan
    assert distance_picture(StimulusArrays(broken, copies.probabilities), c) == {}


@pytest.mark.parametrize("persons", [10, 40])
def test_the_half_width_is_that_of_a_simulation(persons):
    """An independent oracle: the spread of the AUC of two equal normal samples."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4000, persons))
    areas = (x[:, :, None] > y[:, None, :]).mean((1, 2))
    assert auc_half_width(persons, persons) == pytest.approx(1.96 * areas.std(), rel=0.05)


@given(st.floats(0.005, 0.4))
def test_as_many_persons_as_are_needed_are_enough_and_fewer_are_not(half_width):
    n = persons_needed(half_width) // 2
    assert auc_half_width(n, n) <= half_width
    assert n == 1 or auc_half_width(n - 1, n - 1) > half_width


def test_a_small_cohort_is_told_how_large_it_must_be():
    warning = cohort_warning(24, 8, 0.1)
    assert "24 patients and 8 strangers" in warning and f"about {persons_needed(0.1)} persons" in warning
    assert cohort_warning(200, 200, 0.1) is None
    assert "not at all" in cohort_warning(24, 0, 0.1)
