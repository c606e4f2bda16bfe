"""Several teachers, each of which knows some of the persons only; the teacher is their mean belief.

What one of them remembers of a patient, the others never saw: in the mean it is diluted. That lowers what a membership attack finds
(measured, not proven); no formal guarantee comes of it, as there is none without noise (see `custodian.teacher.pate`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.teacher.lessons import Lesson, Taught, joined
from stimset.errors import ConfigError
from stimset.learning.networks import MAX_MEMBERS, member_names

MOST_GROUPS = 4
HALVES = 4
MIN_PERSONS_PER_GROUP = 2

Persons = NDArray[np.int64]


def disjoint_groups(cohort: Cohort, count: int, seed: int) -> list[Persons]:
    """The training persons in `count` groups of nearly equal size, at random, by their place in the cohort alone.

    Raises:
        ConfigError: there are too few persons.
    """
    persons = cohort.training_person_indices
    if len(persons) < MIN_PERSONS_PER_GROUP * count:
        raise ConfigError(
            f"{len(persons)} training persons are too few for {count} groups of {MIN_PERSONS_PER_GROUP} or more; "
            "take the regime 'regularised', or add persons"
        )
    return [np.sort(group) for group in np.array_split(np.random.default_rng(seed).permutation(persons), count)]


def groups_of(cohort: Cohort, seed: int) -> list[Persons]:
    """The groups of ``aggregated``: `MOST_GROUPS`, or fewer where each would be less than `MIN_PERSONS_PER_GROUP` persons.

    Raises:
        ConfigError: not even two can be made.
    """
    return disjoint_groups(cohort, max(2, min(MOST_GROUPS, cohort.training_persons // MIN_PERSONS_PER_GROUP)), seed)


def balanced_halves(cohort: Cohort, count: int, seed: int) -> list[Persons]:
    """`count` random halves of the training persons, in pairs that complete each other: everybody is in half of them.

    Raises:
        ConfigError: there are too few persons.
    """
    pairs = (disjoint_groups(cohort, 2, seed + i) for i in range(-(-count // 2)))
    return [half for pair in pairs for half in pair][:count]


def teach_groups(lesson: Lesson) -> Taught:
    """The regime ``aggregated``: a teacher for each of a few disjoint groups (Papernot et al. 2017, without their noise)."""
    return _mean_of(lesson, groups_of(lesson.cohort, lesson.seed), "group")


def teach_halves(lesson: Lesson) -> Taught:
    """The regime ``cross-fitted``: a teacher for each of `HALVES` random halves (Breiman 1996; subsampled, by persons).

    Every person is unknown to half of the teachers, and no teacher has less than half of the persons to learn from.
    """
    return _mean_of(lesson, balanced_halves(lesson.cohort, HALVES, lesson.seed), "half")


def _mean_of(lesson: Lesson, groups: list[Persons], word: str) -> Taught:
    each = len(member_names(lesson.architecture))
    if each * len(groups) > MAX_MEMBERS:
        raise ConfigError(
            f"{len(groups)} teachers of {each} networks are more than {MAX_MEMBERS} networks; name fewer architectures"
        )
    teachers = [
        lesson.taught(
            lesson.cohort.windows.of_persons(group), lesson.seed + i * each, title=f"{word} {i + 1} of {len(groups)}, "
        )
        for i, group in enumerate(groups)
    ]
    made = joined(teachers)
    return Taught(made.network, made.architecture, made.epochs, {"teachers": len(groups)})
