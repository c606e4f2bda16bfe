"""Paired comparisons, event rates per recording, and students side by side."""

from __future__ import annotations

import copy
import pickle
from statistics import NormalDist

import joblib
import numpy as np
import pytest
from scipy import stats

from consumer.benchmark import BenchmarkReport, benchmark
from consumer.comparing import compare, holm
from consumer.events import agreement
from consumer.report import agreement_figure, html, leading
from consumer.students import graphs
from consumer.students.student import Lineage, Student
from stimset.errors import FormatError
from stimset.metrics import resampled
from stimset.release import StimulusArrays
from stimset.windows import SignalSpec, Windows, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr"),), rate_hz=0.5, epoch_s=60.0, labels=("normal", "apnea"), annotations={"N": "normal", "A": "apnea"}
)


def student(name: str, sample: int, seed: int = 1, family: str = "knn") -> Student:
    """A real ONNX student that looks at one sample of the window."""
    g = graphs.Graph()
    seen = g("Slice", graphs.INPUT, g.whole(0, sample), g.whole(1, sample + 1), g.whole(1, 2))
    flat = g("Mul", g("Reshape", seen, g.whole(-1, 1)), g.constant(3.0, np.float32))
    g("Softmax", g("Concat", g("Mul", flat, g.constant(0, np.float32)), flat, axis=1), axis=1, output=graphs.OUTPUT)
    model = graphs.with_metadata(g.model(*SPEC.shape, 2), {})
    nothing = StimulusArrays(np.zeros((1, *SPEC.shape), np.float32), np.full((1, 2), 0.5, np.float32))
    return Student(name, family, seed, {}, Lineage("tiny-0001", "H", "ab" * 32, "cd" * 32, True), SPEC, {}, model, nothing)


def nights(n: int = 1200, persons: int = 10) -> Windows:
    """Sample 0 says the label nearly always, sample 1 often, sample 2 as often, sample 3 never."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, n)
    values = rng.normal(size=(n, *SPEC.shape)).astype(np.float32) * 0.1
    for sample, right in enumerate((0.95, 0.8, 0.8)):
        values[:, 0, sample] += np.where(rng.uniform(size=n) < right, 1, -1) * np.where(labels == 1, 1, -1)
    record = np.arange(n) % persons
    return Windows(
        SPEC, values, labels.astype(np.int64), record.astype(np.int64), record.astype(np.int64), np.arange(n, dtype=float),
        np.ones(n, np.float32), tuple(f"r{i}" for i in range(persons)), tuple(f"p{i}" for i in range(persons)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report() -> BenchmarkReport:
    named = [student("good", 0), student("fair", 1), student("fair-too", 2, seed=2), student("blind", 3, family="svm")]
    return benchmark(named, nights(), draws=400)


def test_students_that_differ_are_told_from_those_that_do_not(report: BenchmarkReport) -> None:
    found = {(c.better, c.worse): c for c in report.comparisons}
    assert len(found) == 6 and [c.p for c in report.comparisons] == sorted(c.p for c in report.comparisons)
    for pair, c in found.items():
        assert c.differ == ({*pair} != {"fair", "fair-too"}), c
        assert c.interval[0] <= c.difference <= c.interval[1] and c.p <= c.p_holm <= 1
    assert [c.worse for c in leading(report)] == [r.student for r in report.results[1:]]
    page = html(report)
    assert "Is the first really better?" in page and "this data does not say" not in page.split("Is the first")[1].split("</table>")[0]


def test_the_p_value_is_a_t_test_over_paired_resamples(report: BenchmarkReport) -> None:
    data, kappas = nights(), {r.student: r.metrics["kappa"] for r in report.results}
    a, b = (
        resampled(student("x", sample).predict_proba(data.values), data.labels, data.person, 400)["kappa"] for sample in (0, 1)
    )
    expected = 2 * stats.t.sf((kappas["good"] - kappas["fair"]) / (a - b).std(ddof=1), 9)
    found = next(c for c in report.comparisons if (c.better, c.worse) == ("good", "fair"))
    assert found.p == pytest.approx(expected)
    assert found.interval == pytest.approx(tuple(np.percentile(a - b, [2.5, 97.5])))


def test_chance_alone_is_seldom_called_a_difference() -> None:
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(200):  # two equal students, 12 persons with differences of their own
        own = rng.normal(size=(2, 12))
        times = rng.multinomial(12, np.full(12, 1 / 12), size=200) / 12
        mean = own.mean(axis=1)
        claims += compare({"a": mean[0], "b": mean[1]}, {"a": times @ own[0], "b": times @ own[1]}, 12)[0].p < 0.05
    assert claims <= 20


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.4, 0.9]) == [0.8, 0.9] and holm([]) == []


def test_few_persons_and_equal_students_are_no_claim() -> None:
    draws = np.linspace(0, 1, 50)
    assert compare({"a": 0.5, "b": 0.4}, {"a": draws, "b": draws * 0.5}, 2) == ()
    same = compare({"a": 0.5, "b": 0.5}, {"a": draws, "b": draws}, 5)[0]
    assert (same.p, same.differ) == (1.0, False)


def test_rates_per_recording_and_limits_of_agreement() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0, 1, 0, 0, 0])
    decided = np.array([1, 0, 0, 0, 1, 1, 1, 0, 0, 0])
    record = np.array([0, 0, 0, 0, 2, 2, 2, 3, 3, 3])
    found = agreement(labels, decided, record, ("a", "empty", "b", "c"), 30.0, "apnea")
    assert found.recordings == ("a", "b", "c") and found.hours == pytest.approx((4 / 120, 3 / 120, 3 / 120))
    assert found.labelled == pytest.approx((60, 40, 0)) and found.found == pytest.approx((30, 120, 0))
    differences = np.array([-30, 80, 0])
    assert found.bias == pytest.approx(differences.mean()) and found.mean_absolute == pytest.approx(110 / 3)
    reach = NormalDist().inv_cdf(0.975) * differences.std(ddof=1)
    assert found.limits == pytest.approx((found.bias - reach, found.bias + reach), abs=0.01)
    alone = agreement(labels[:4], decided[:4], record[:4], ("a",), 30.0, "apnea")
    assert alone.limits is None and alone.correlation is None


def test_families_are_means_over_seeds(report: BenchmarkReport) -> None:
    kappas = [r.metrics["kappa"] for r in report.results if r.family == "knn"]
    first = report.families[0]
    assert (first.family, first.students, report.families[1].deviation) == ("knn", 3, None)
    assert first.kappa == pytest.approx(np.mean(kappas)) and first.deviation == pytest.approx(np.std(kappas, ddof=1))
    assert report.to_document()["families"][0]["kappa"] == first.kappa and "over their seeds" in html(report)


def test_side_by_side_gives_the_same(report: BenchmarkReport) -> None:
    named = [student("good", 0), student("fair", 1), student("fair-too", 2, seed=2), student("blind", 3, family="svm")]
    told: list[tuple[int, str]] = []
    assert benchmark(named, nights(), draws=400, jobs=2, on_student=lambda i, name: told.append((i, name))) == report
    assert [i for i, _ in told] == [1, 2, 3, 4]
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert benchmark(named, nights(), draws=400, jobs=None) == report


def test_a_student_can_be_given_to_another_process() -> None:
    one = student("one", 0)
    values = nights(20).values
    before = one.predict_proba(values)  # an open session stays behind
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert np.array_equal(other.predict_proba(values), before) and other.spec == SPEC


def test_more_than_two_labels_have_no_event_rate(report: BenchmarkReport) -> None:
    assert report.results[0].events is not None
    bare = type(report.results[0])(**{**vars(report.results[0]), "events": None})
    with pytest.raises(FormatError, match="more than two labels"):
        agreement_figure(bare)
