"""Step 12: students on the partner's own labelled recordings, with intervals that are honest about how few persons
there are.

Usage::

    report = benchmark(students, make_windows(open_records(folder), students[0].spec))
    report.results[0].metrics["kappa"], report.results[0].intervals["kappa"]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from consumer.students.student import Student
from stimset.errors import ConfigError, FormatError
from stimset.metrics import bootstrap, confusion_matrix, roc_curve, score
from stimset.windows import Windows

SHOWN = ("accuracy", "kappa", "sensitivity", "specificity", "auroc")
TITLES = {
    "accuracy": "accuracy", "kappa": "Cohen's kappa", "sensitivity": "sensitivity", "specificity": "specificity",
    "auroc": "AUROC", "log_loss": "log loss", "calibration_error": "calibration error",
}  # fmt: skip
READING = (
    "Kappa is agreement beyond chance: 0 is what guessing by the classes' shares reaches, 1 is perfect.",
    "Brackets hold 95 % of the values over resampled {groups}: where two students' brackets overlap widely, "
    "this data does not say which is better.",
    "Sensitivity and specificity are {side}.",
)
_ROC_POINTS = 200

Interval = tuple[float, float]


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
        return asdict(self) | {"simulated": self.simulated}


def benchmark(
    students: Sequence[Student],
    windows: Windows,
    draws: int = 1000,
    *,
    data: str = "",
    simulated_data: bool = False,
    seed: int = 0,
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
        on_student: is told how many students are done, and the next one's name.

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
    results = []
    for position, student in enumerate(students):
        if on_student:
            on_student(position, student.name)
        results.append(_result(student, windows, groups, draws, seed))
    results.sort(key=lambda r: (-(r.metrics["kappa"] if r.metrics["kappa"] is not None else -2.0), r.student))
    return BenchmarkReport(
        data=data, windows=len(windows), records=len(np.unique(windows.record)), persons=len(np.unique(windows.person)),
        labels=windows.spec.labels, counts=tuple(int(c) for c in windows.class_counts()),
        clustered_by="persons" if several else "recordings", draws=draws, simulated_data=simulated_data,
        results=tuple(results),
    )  # fmt: skip


def _result(student: Student, windows: Windows, groups: Any, draws: int, seed: int) -> Result:
    labels, classes = windows.spec.labels, windows.spec.classes
    chances = student.predict_proba(windows.values)
    roc: dict[str, tuple[list[float], list[float]]] = {}
    for k in [1] if classes == 2 else range(classes):
        curve = roc_curve(chances[:, k], windows.labels == k)
        if curve is not None:
            kept = np.unique(np.linspace(0, len(curve[0]) - 1, _ROC_POINTS).round().astype(int))
            roc[labels[k]] = curve[0][kept].tolist(), curve[1][kept].tolist()
    return Result(
        student.name, student.family, student.seed, student.lineage.release, student.lineage.simulated,
        score(chances, windows.labels), bootstrap(chances, windows.labels, groups, draws, seed),
        confusion_matrix(windows.labels, chances.argmax(axis=1), classes).tolist(), roc,
    )  # fmt: skip


def cell(result: Result, metric: str) -> str:
    """A score with its interval as text: ``0.66 [0.58, 0.73]``; a dash where undefined."""
    value, interval = result.metrics[metric], result.intervals[metric]
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
