"""The referee: may see both sides, and exists in the demo alone.

Nobody else can answer what the demo has to answer, which is how well the same student would have done on the patients'
own windows. Each call trains every family on one kind of training data and scores it once on the partner's
recordings::

    python deploy/demo/referee.py FOLDER --hospital HOME --trained-on true_hard --family cnn --out rows.json

========== ==========================================================================
trained_on data
========== ==========================================================================
true_hard  the teacher's own training windows with their true labels
true_soft  the same windows with the teacher's belief as soft labels
noise      coloured noise, labelled by the teacher, no excitation
paper      the published recipe of Nikolaidis et al. (2021)
========== ==========================================================================

The families, their parameters, the seed and the cap on the amount of data are those of the consumer's students on
stimuli. The two `true` students choose when to stop on the hospital's validation persons, which is better than what a
partner can do (a tenth of the stimuli, held out); this favours the true data.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from custodian.cohort import Cohort
    from stimset.release import StimulusArrays
    from stimset.windows import Windows

METRICS = ("accuracy", "kappa", "sensitivity", "specificity", "auroc")
TRAINED_ON = ("true_hard", "true_soft", "noise", "paper")
DRAWS = 1000


@dataclass(frozen=True)
class Lesson:
    """What a student learns from: values with their probabilities, and what chooses when to stop."""

    values: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    held_values: NDArray[np.float32]
    held_probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)


class Believes(Protocol):
    """A trained teacher, of whatever kind."""

    def predict(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Class probabilities of windows."""
        ...


def capped(count: int, cap: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
    """All rows in random order, or `cap` of them."""
    return rng.permutation(count)[:cap]


def lesson(hospital: Path, trained_on: str, cap: int, seed: int) -> Lesson:
    """The training data of this kind, from the hospital's home.

    Raises:
        ValueError: there is no such kind.
        ConfigError: the home lacks what it is made of.
    """
    from custodian.cohort import Cohort
    from custodian.config import Home
    from custodian.excitation.candidates import CandidateSet
    from custodian.teacher.checkpoint import TrainedNetwork

    home = Home.open(hospital)
    if trained_on in ("noise", "paper"):
        return lesson_of_stimuli(CandidateSet.load(home.candidates(trained_on)).arrays(), cap, seed)
    if trained_on not in TRAINED_ON:
        raise ValueError(f"there is no training data '{trained_on}'; known are {', '.join(TRAINED_ON)}")
    teacher = TrainedNetwork.load(home.teacher, "teacher") if trained_on == "true_soft" else None
    return lesson_of_windows(Cohort.load(home.cohort), teacher, cap, seed)


def lesson_of_stimuli(arrays: StimulusArrays, cap: int | None, seed: int) -> Lesson:
    """Stimuli as a partner uses them: a tenth is held out and chooses when to stop."""
    rows = capped(len(arrays), cap, np.random.default_rng(seed))
    held, learned = np.split(rows, [max(1, round(0.1 * len(rows)))])
    beliefs = arrays.probabilities.astype(np.float64)
    return Lesson(arrays.values[learned], beliefs[learned], arrays.values[held], beliefs[held])


def lesson_of_windows(cohort: Cohort, teacher: Believes | None, cap: int | None, seed: int) -> Lesson:
    """True windows with true labels, or with the belief of a teacher; the validation persons choose when to stop."""
    rng = np.random.default_rng(seed)
    training, validation = cohort.training, cohort.validation
    training = training.select(capped(len(training), cap, rng))
    validation = validation.select(capped(len(validation), None if cap is None else max(1, cap // 5), rng))
    if teacher is None:
        one_hot = np.eye(cohort.spec.classes)
        return Lesson(training.values, one_hot[training.labels], validation.values, one_hot[validation.labels])
    return Lesson(
        training.values, teacher.predict(training.values), validation.values, teacher.predict(validation.values)
    )


def row(family: str, trained_on: str, probabilities: NDArray[np.float64], test: Windows, seed: int) -> dict[str, Any]:
    """One line of the table: metrics, intervals over persons, confusion matrix."""
    from stimset.metrics import bootstrap, confusion_matrix, score

    found = score(probabilities, test.labels)
    spread = bootstrap(probabilities, test.labels, test.person, draws=DRAWS, seed=seed)
    confusion = confusion_matrix(test.labels, probabilities.argmax(1), test.spec.classes)
    return {
        "family": family, "trained_on": trained_on, **{m: found[m] for m in METRICS},
        "intervals": {m: list(s) if (s := spread[m]) is not None else None for m in METRICS},
        "confusion": confusion.tolist(), "windows": len(test),
    }  # fmt: skip


@dataclass(frozen=True)
class Recordings:
    """The partner's own labelled recordings: a folder, perhaps with the labels elsewhere, perhaps some of it only."""

    folder: Path
    labels: Path | None = None
    only: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """As ``consumer benchmark`` takes them."""
        labels = ["--labels", str(self.labels)] if self.labels else []
        return [str(self.folder), *labels, *(word for pattern in self.only for word in ("--only", pattern))]


def referee(
    hospital: Path, recordings: Recordings, trained_on: str, families: tuple[str, ...], cap: int, seed: int
) -> list[dict[str, Any]]:
    """Train every family on one kind of data; score each once on the partner's recordings."""
    from custodian.cohort import Cohort
    from custodian.config import Home
    from stimset.console import progress
    from stimset.learning.families import build
    from stimset.records import open_records
    from stimset.windowing import make_windows

    taught = lesson(hospital, trained_on, cap, seed)
    spec = Cohort.load(Home.open(hospital).cohort).spec
    test = make_windows(open_records(recordings.folder, labels=recordings.labels, only=recordings.only or None), spec)
    rows = []
    with progress(f"students on {trained_on}", len(families)) as step:
        for number, family in enumerate(families):
            step(number, family)
            began = time.perf_counter()
            student = build(family, *spec.shape, spec.classes, seed)
            student.fit(taught.values, taught.probabilities, (taught.held_values, taught.held_probabilities))
            found = row(family, trained_on, student.predict_proba(test.values), test, seed)
            rows.append({**found, "examples": len(taught), "seconds": round(time.perf_counter() - began, 2)})
        step(len(families))
    return rows


def main() -> int:
    """Read the options, write the rows."""
    parser = argparse.ArgumentParser(description="Train baseline students for the demo's table.")
    parser.add_argument("--hospital", type=Path, required=True, help="the custodian's home")
    parser.add_argument("recordings", type=Path, help="the partner's own recordings")
    parser.add_argument("--labels", type=Path, help="folder of their labels, where that is another")
    parser.add_argument("--only", action="append", default=[], help="pattern of names; may be repeated")
    parser.add_argument("--trained-on", choices=TRAINED_ON, required=True)
    parser.add_argument("--family", action="append", required=True, help="may be repeated")
    parser.add_argument("--cap", type=int, default=8000, help="training examples at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON")
    given = parser.parse_args()

    import torch

    from stimset.errors import StimsetError

    torch.set_num_threads(1)
    try:
        recordings = Recordings(given.recordings, given.labels, tuple(given.only))
        rows = referee(given.hospital, recordings, given.trained_on, tuple(given.family), given.cap, given.seed)
    except StimsetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows, indent=1, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
