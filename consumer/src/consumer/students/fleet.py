"""Many students, one after another or side by side in processes of their own.

A process beside this one is told names, never arrays: it verifies the releases itself, from their folders and the roots in the home,
trains one student at a time with one thread, and keeps it. So a student is on the disk as soon as it is finished, and what breaks off
goes on with ``resume``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.config import Home
from consumer.students.own import run_own
from consumer.students.sources import verify_of_any
from consumer.students.student import Student
from consumer.students.training import train_student, trained_before
from consumer.trust import statement_digest
from stimset.errors import ConfigError, ContentMismatch, StimsetError
from stimset.learning import families
from stimset.verifying import VerifiedRelease

MAX_JOBS = 1024

OnStep = Callable[[float, str], None]


@dataclass(frozen=True)
class Order:
    """One student that is wanted; the fields as `consumer.students.training.train_student` takes them."""

    family: str
    seed: int
    parameters: Mapping[str, Any] | None = None
    calibrate: bool = False
    prevalence: Mapping[str, float] | None = None

    def train(self, releases: Sequence[VerifiedRelease], on_progress: Callable[[float], None] | None = None) -> Student:
        """Train it; raises what `train_student` raises."""
        first, *beside = releases
        return train_student(
            first, self.family, self.seed, beside=beside, parameters=self.parameters, calibrate=self.calibrate,
            prevalence=self.prevalence, on_progress=on_progress,
        )  # fmt: skip

    def finished(self, students: Path, releases: Sequence[VerifiedRelease]) -> Student | None:
        """The student, where it was trained before from these releases with these options."""
        first, *beside = releases
        return trained_before(
            students, first, self.family, self.seed, self.parameters, self.calibrate, self.prevalence, beside=beside
        )


@dataclass(frozen=True)
class Workplace:
    """What a process beside this one must know; paths and digests alone.

    Attributes:
        home: where roots are pinned and students are kept.
        releases: folder and statement digest (hex) of each release.
        own: the user's file that registers families, to be run first.
    """

    home: Path
    releases: tuple[tuple[Path, str], ...]
    own: Path | None = None

    def train(self, order: Order) -> str:
        """In the process itself: verify, train, keep; answers with the student's name."""
        if self.own:
            run_own(self.own)
        if families.family(order.family).needs_torch:
            import torch

            torch.set_num_threads(1)
        home, releases = Home(self.home), []
        for folder, digest in self.releases:
            release, _ = verify_of_any(home, folder)
            if statement_digest(release.statement) != digest:
                raise ContentMismatch(f"{folder} was changed while students were trained on it; pull it again")
            releases.append(release)
        student = order.train(releases)
        student.save(home.students)
        return student.name


def train_fleet(
    home: Home, releases: Sequence[VerifiedRelease], orders: Sequence[Order], *, resume: bool, jobs: int, own: Path | None,
    on_step: OnStep,
) -> list[Student]:  # fmt: skip
    """Every student that is ordered, in that order.

    Args:
        home: where they are kept; with more than one job the releases' custodians must be trusted in it.
        releases: what each learns from.
        orders: which.
        resume: read what is there, and train the rest.
        jobs: processes side by side; 1 trains in this one.
        own: the user's file that registers families, run in this process already.
        on_step: is told how many are done, with the family.

    Raises:
        StimsetError: a student can't be trained; what was finished is kept, and with several jobs the others are finished first.
    """
    if not 1 <= jobs <= MAX_JOBS:
        raise ConfigError(f"1 to {MAX_JOBS} jobs are possible, not {jobs}")
    students: dict[int, Student] = {}
    for number, order in enumerate(orders):
        if resume and (found := order.finished(home.students, releases)):
            students[number] = found
    waiting = [number for number in range(len(orders)) if number not in students]
    if jobs == 1 or len(waiting) < 2:
        for number in waiting:
            done, family = len(students), orders[number].family
            student = orders[number].train(releases, lambda share, d=done, f=family: on_step(d + share, f))  # type: ignore[misc]
            student.save(home.students)
            students[number] = student
        return [students[number] for number in range(len(orders))]
    workplace = Workplace(home.root, tuple((r.folder.resolve(), statement_digest(r.statement)) for r in releases), own)
    on_step(len(students), "")
    failed: dict[int, StimsetError] = {}
    for number, outcome in _side_by_side(workplace, {n: orders[n] for n in waiting}, jobs):
        if isinstance(outcome, StimsetError):
            failed[number] = outcome
        else:
            students[number] = Student.load(home.students / outcome)
        on_step(len(students) + len(failed), orders[number].family)
    if failed:
        raise failed[min(failed)]
    return [students[number] for number in range(len(orders))]


def _side_by_side(
    workplace: Workplace, orders: Mapping[int, Order], jobs: int
) -> Iterator[tuple[int, str | StimsetError]]:
    """Number and name of each student as soon as it is kept, or why there is none; networks first, since they take longest."""
    from joblib import Parallel, delayed, parallel_config

    queue = sorted(orders, key=lambda number: not families.family(orders[number].family).needs_torch)
    with parallel_config(backend="loky", inner_max_num_threads=1):
        try:
            yield from Parallel(min(jobs, len(queue)), return_as="generator_unordered", batch_size=1)(
                delayed(_outcome)(workplace, number, orders[number]) for number in queue
            )
        except BrokenProcessPool:
            raise StimsetError(
                "a process that trained a student was ended from outside, perhaps for want of memory; what was finished is kept: "
                "give --resume, and fewer --jobs"
            ) from None


def _outcome(workplace: Workplace, number: int, order: Order) -> tuple[int, str | StimsetError]:
    """An error is an answer like another: raised, it would end the students beside it."""
    try:
        return number, workplace.train(order)
    except StimsetError as error:
        return number, error
