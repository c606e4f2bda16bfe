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
    seeds: Sequence[int] = (1,),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    calibrate: bool = False,
    prevalence: Mapping[str, float] | None = None,
    resume: bool = False,
    on_step: OnStep = _unwatched,
) -> list[Student]:
    """Students of each family and seed, from the stimuli's soft labels; kept in the home as ONNX, never as pickle.

    `parameters` holds those of a family that are not to be its defaults; with `resume`, what was trained before from the same release
    with the same options is read, not trained again; the rest as `consumer.students.training.train_student`.
    """
    from consumer.students.training import train_student, trained_before

    students = []
    for done, (family, seed) in enumerate((f, s) for f in families for s in seeds):
        own = (parameters or {}).get(family)
        if resume and (found := trained_before(home.students, release, family, seed, own, calibrate, prevalence)):
            students.append(found)
            continue
        student = train_student(
            release, family, seed, parameters=own, calibrate=calibrate, prevalence=prevalence,
            on_progress=lambda share, done=done, family=family: on_step(done + share, family),  # type: ignore[misc]
        )  # fmt: skip
        student.save(home.students)
        students.append(student)
    return students


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
