"""The consumer's main path, top to bottom: a custodian's address in, ONNX models out.

Each step takes what the step before it returns and nothing else::

    Custodian --pull--> VerifiedRelease --train--> Student --benchmark--> BenchmarkReport
                                              \\----export--> ONNX file

Only verification makes a `VerifiedRelease`, and only a `VerifiedRelease` trains a student. The command line runs these same functions.
Pulling needs the base install; training, benchmarking and exporting import what the extras bring, when they are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer import channel, standing
from consumer.acceptance import DEFAULT, Acceptance
from consumer.client import Client
from consumer.config import Home
from consumer.download import OnProgress, ignore
from consumer.enrolment import Custodian
from stimset.verifying import VerifiedRelease

if TYPE_CHECKING:
    from consumer.benchmark import BenchmarkReport
    from consumer.export import ExportReport
    from consumer.students.student import Student
    from stimset.windows import Windows

OnStep = Callable[[float, str], None]


def _unwatched(done: float, note: str = "") -> None:
    """Nobody watches the progress."""


def pull(
    home: Home, custodian: Custodian, client: Client, release_id: str, *, deliberate: bool = True, on_progress: OnProgress = ignore,
    acceptance: Acceptance = DEFAULT,
) -> VerifiedRelease:  # fmt: skip
    """Fetch a release over mutual TLS, resuming what was interrupted; it appears in the home once every promise holds.

    It must stand by the custodian's channel; `deliberate` says that the user named this very one, so an older one is no rollback.
    It must meet `acceptance`, which unless told otherwise refuses a release whose gate was overridden.
    """
    return channel.pull(
        client, home, custodian, release_id, deliberate=deliberate, on_progress=on_progress, accept=acceptance.hold
    )  # fmt: skip


def check(folder: Path, custodian: Custodian) -> VerifiedRelease:
    """Verify a release that lies anywhere, offline."""
    return standing.verify_held(folder, custodian.folder, custodian.fingerprint)


def train(
    home: Home,
    release: VerifiedRelease,
    families: Sequence[str],
    *,
    beside: Sequence[VerifiedRelease] = (),
    seeds: Sequence[int] = (1,),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    calibrate: bool = False,
    prevalence: Mapping[str, float] | None = None,
    resume: bool = False,
    jobs: int = 1,
    own: Path | None = None,
    on_step: OnStep = _unwatched,
) -> list[Student]:
    """Students of each family and seed, from the stimuli's soft labels; kept in the home as ONNX, never as pickle.

    `beside` are releases of other custodians that every student learns from as well; `parameters` holds those of a family that are not
    to be its defaults; with `resume`, what was trained before from the same releases with the same options is read, not trained again;
    `jobs` processes work side by side, each of which runs the user's `own` file first and verifies the releases itself; the rest as
    `consumer.students.training.train_student`.
    """
    from consumer.students.fleet import Order, train_fleet

    orders = [Order(f, s, (parameters or {}).get(f), calibrate, prevalence) for f in families for s in seeds]
    return train_fleet(home, (release, *beside), orders, resume=resume, jobs=jobs, own=own, on_step=on_step)


def benchmark(students: Sequence[Student], windows: Windows, *, draws: int = 1000, data: str = "") -> BenchmarkReport:
    """The field's scores on the partner's own labelled windows, with intervals over persons. Nothing here chooses a model."""
    from consumer.benchmark import benchmark as score

    return score(students, windows, draws, data=data)


def export(student: Student, file: Path) -> ExportReport:
    """One ONNX file, checked against the trained model's own answers."""
    from consumer.export import export as write

    return write(student, file)


def main_path(home: Home, custodian: Custodian, release_id: str, families: Sequence[str], own: Windows, out: Path) -> BenchmarkReport:
    """All of it at once: pull, train, export, and benchmark on one's own labelled windows."""
    with Client.to(custodian, home) as client:
        release = pull(home, custodian, client, release_id)
    students = train(home, release, families)
    for student in students:
        export(student, out / f"{student.name}.onnx")
    return benchmark(students, own)
