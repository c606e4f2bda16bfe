"""Step 12: students on the partner's own labelled recordings, with intervals that are honest about how few persons
there are.

Usage::

    report = benchmark(students, make_windows(open_records(folder), students[0].spec))
    report.results[0].metrics["kappa"], report.results[0].intervals["kappa"]

Many students run side by side through joblib: ``jobs=4``, or ``jobs=None`` inside a ``joblib.parallel_config`` of one's own, which may
name a Ray or a Dask cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.comparing import Comparison, compare
from consumer.events import EventAgreement, agreement
from consumer.students.student import Student
from stimset.errors import ConfigError, FormatError
from stimset.metrics import METRICS, confusion_matrix, intervals_of, resampled, roc_curve, score
from stimset.windows import Windows

SHOWN = ("accuracy", "kappa", "sensitivity", "specificity", "auroc")
FURTHER = ("auprc", "f1", "calibration_error")
TITLES = {
    "accuracy": "accuracy", "kappa": "Cohen's kappa", "sensitivity": "sensitivity", "specificity": "specificity",
    "auroc": "AUROC", "auprc": "AUPRC", "f1": "F1", "log_loss": "log loss", "calibration_error": "calibration error",
}  # fmt: skip
READING = (
    "Kappa is agreement beyond chance: 0 is what guessing by the classes' shares reaches, 1 is perfect.",
    "Brackets hold 95 % of the values over resampled {groups}: where two students' brackets overlap widely, "
    "this data does not say which is better.",
    "Sensitivity, specificity, F1 and AUPRC are {side}.",
)
_ROC_POINTS = 200

Interval = tuple[float, float]
Draws = NDArray[np.float64] | None


@dataclass(frozen=True)
class Result:
    """One student's scores.

    Attributes:
        student, family, seed, release: which one.
        simulated: true where its release's patients are simulated.
        metrics: as `stimset.metrics.score`; None where the data does not define a number.
        intervals: as `stimset.metrics.bootstrap`.
        confusion: counts, row = true class, column = decided class.
        roc: label -> (false positive rates, true positive rates), thinned; of the last label, or with more than two of
            each.
        events: how the rate of the last label agrees per recording; None with more than two labels.
    """

    student: str
    family: str
    seed: int
    release: str
    simulated: bool
    metrics: dict[str, float | None]
    intervals: dict[str, Interval | None]
    confusion: list[list[int]]
    roc: dict[str, tuple[list[float], list[float]]]
    events: EventAgreement | None = None


@dataclass(frozen=True)
class FamilyResult:
    """A family's students of all seeds on one release: mean kappa, and its deviation (None with one seed)."""

    family: str
    release: str
    students: int
    kappa: float
    deviation: float | None


@dataclass(frozen=True)
class BenchmarkReport:
    """All students on the same windows, best kappa first.

    Attributes:
        data: what the recordings are called in the report.
        windows, records, persons: how many.
        labels: names of the classes, and `counts` the windows of each.
        clustered_by: ``persons``, or ``recordings`` where all belong to one person; what is resampled.
        draws: resamples behind each interval.
        simulated_data: true where the recordings themselves are simulated.
        results: one per student.
        comparisons: every pair of students, most different first; empty with fewer than three persons.
    """

    data: str
    windows: int
    records: int
    persons: int
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    clustered_by: str
    draws: int
    simulated_data: bool
    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def families(self) -> tuple[FamilyResult, ...]:
        """Means over the seeds, best first."""
        found: dict[tuple[str, str], list[float]] = {}
        for result in self.results:
            if (kappa := result.metrics["kappa"]) is not None:
                found.setdefault((result.family, result.release), []).append(kappa)
        rows = [
            FamilyResult(*key, len(k), float(np.mean(k)), float(np.std(k, ddof=1)) if len(k) > 1 else None)
            for key, k in found.items()
        ]
        return tuple(sorted(rows, key=lambda row: (-row.kappa, row.family)))

    @property
    def simulated(self) -> bool:
        """Whether anything in the report comes from simulated persons."""
        return self.simulated_data or any(result.simulated for result in self.results)

    @property
    def reading(self) -> tuple[str, ...]:
        """How to read the table, one sentence each."""
        two = len(self.labels) == 2
        side = f"those of '{self.labels[-1]}'" if two else "means over the classes, each against the rest"
        return tuple(sentence.format(groups=self.clustered_by, side=side) for sentence in READING)

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        families = [asdict(row) for row in self.families]
        return asdict(self) | {"simulated": self.simulated, "families": families}


def benchmark(
    students: Sequence[Student],
    windows: Windows,
    draws: int = 1000,
    *,
    data: str = "",
    simulated_data: bool = False,
    seed: int = 0,
    jobs: int | None = 1,
    on_student: Callable[[int, str], None] | None = None,
) -> BenchmarkReport:
    """Score students on labelled windows.

    The benchmark only measures: nothing in it chooses a student, a threshold or an epoch.

    Args:
        students: at least one; all must expect the same windows.
        windows: the partner's own, made by the students' window spec.
        draws: resamples for the intervals.
        data: what to call the recordings.
        simulated_data: whether they are simulated; shown in the report.
        seed: of the resampling.
        jobs: students side by side; -1 takes every core, None what joblib's own configuration says.
        on_student: is told how many students are done, and the last one's name.

    Raises:
        ConfigError: no student, or students and windows have different specs.
        FormatError: there is no window.
    """
    if not students:
        raise ConfigError("a benchmark needs at least one student; run 'consumer train'")
    if not len(windows):
        raise FormatError("a benchmark needs labelled windows; there is none")
    for student in students:
        if student.spec.digest() != windows.spec.digest():
            raise ConfigError(
                f"{student.name} expects other windows than these (its release has another window spec); "
                "benchmark students of one spec at a time"
            )
    several = len(np.unique(windows.person)) > 1
    groups = windows.person if several else windows.record
    results, kappas = [], {}
    for position, (result, drawn) in enumerate(_side_by_side(students, windows, groups, draws, seed, jobs)):
        results.append(result)
        if drawn is not None and result.metrics["kappa"] is not None:
            kappas[result.student] = drawn
        if on_student:
            on_student(position + 1, result.student)
    results.sort(key=lambda r: (-(r.metrics["kappa"] if r.metrics["kappa"] is not None else -2.0), r.student))
    known = {r.student: r.metrics["kappa"] for r in results if r.student in kappas and r.metrics["kappa"] is not None}
    return BenchmarkReport(
        data=data, windows=len(windows), records=len(np.unique(windows.record)), persons=len(np.unique(windows.person)),
        labels=windows.spec.labels, counts=tuple(int(c) for c in windows.class_counts()),
        clustered_by="persons" if several else "recordings", draws=draws, simulated_data=simulated_data,
        results=tuple(results), comparisons=compare(known, kappas, len(np.unique(groups))),
    )  # fmt: skip


def _side_by_side(
    students: Sequence[Student], windows: Windows, groups: Any, draws: int, seed: int, jobs: int | None
) -> Iterator[tuple[Result, Draws]]:
    """Each student's scores, in order; by joblib where more than one job is asked for."""
    if jobs == 1 or len(students) == 1:
        for student in students:
            yield _result(student, windows, groups, draws, seed)
        return
    from joblib import Parallel, delayed

    yield from Parallel(jobs, return_as="generator")(
        delayed(_result)(student, windows, groups, draws, seed) for student in students
    )


def _result(student: Student, windows: Windows, groups: Any, draws: int, seed: int) -> tuple[Result, Draws]:
    """A student's scores, and its kappa on each resample (None with a single group)."""
    labels, classes = windows.spec.labels, windows.spec.classes
    chances = student.predict_proba(windows.values)
    roc: dict[str, tuple[list[float], list[float]]] = {}
    for k in [1] if classes == 2 else range(classes):
        curve = roc_curve(chances[:, k], windows.labels == k)
        if curve is not None:
            kept = np.unique(np.linspace(0, len(curve[0]) - 1, _ROC_POINTS).round().astype(int))
            roc[labels[k]] = curve[0][kept].tolist(), curve[1][kept].tolist()
    decided = chances.argmax(axis=1).astype(np.int64)
    events = (
        agreement(windows.labels, decided, windows.record, windows.record_names, windows.spec.epoch_s, labels[1])
        if classes == 2
        else None
    )
    drawn = resampled(chances, windows.labels, groups, draws, seed)
    result = Result(
        student.name, student.family, student.seed, student.lineage.release, student.lineage.simulated,
        score(chances, windows.labels), dict.fromkeys(METRICS) if drawn is None else intervals_of(drawn),
        confusion_matrix(windows.labels, decided, classes).tolist(), roc, events,
    )  # fmt: skip
    return result, None if drawn is None else drawn["kappa"]


def cell(result: Result, metric: str) -> str:
    """A score with its interval as text: ``0.66 [0.58, 0.73]``; a dash where undefined."""
    value, interval = result.metrics[metric], result.intervals[metric]
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
