"""Private aggregation of teacher ensembles (PATE; Papernot et al. 2017, 2018), for patients.

A teacher for each of many disjoint groups of persons; a bounded number of draws that owe nothing to patients is labelled by the count of
the teachers' votes plus Gaussian noise; one student learns from these labels. The group teachers are discarded: the student is the teacher
of the cohort, and it may label any number of stimuli at no further cost.

A person's recordings reach one group's votes only. Whatever they were, that group's vote on a draw moves from one class to another, by
`SENSITIVITY` at most in Euclidean norm; all `QUERIES` answers together are one Gaussian mechanism. The bound does not depend on the answers
given, so it may be published. Votes, not beliefs: both cost the same, and a vote stands further out of the noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from custodian.budget.mechanisms import Mechanism
from custodian.teacher.accounting import mechanism_within, noisy
from custodian.teacher.grouped import disjoint_groups
from custodian.teacher.lessons import Lesson, Taught, members
from custodian.teacher.public import public_draws
from stimset.learning.networks import member_names
from stimset.learning.training import History, TrainingPlan, predict, soft_targets, train

SENSITIVITY = 2**0.5
QUERIES = 1000
PERSONS_PER_GROUP = 4
MOST_GROUPS = 32

# Labels are mostly noise: the student learns slowly from mixtures of them, and stops long before it knows them by heart.
STUDENT_PLAN = TrainingPlan(
    epochs=6, batch=128, learning_rate=1e-3, noise=0.1, mixup=1.0, weight_decay=0.1, steps_at_least=200
)


def group_count(persons: int) -> int:
    """How many groups so many training persons make: more of them drown the noise, fewer of them know more."""
    return max(2, min(MOST_GROUPS, persons // PERSONS_PER_GROUP))


def privacy_drawn(lesson: Lesson) -> Mechanism:
    """What a training draws from the cohort's budget; nothing of the cohort is read but the number of persons.

    Raises:
        ConfigError: delta is too large for so few persons.
    """
    lesson.privacy.check_persons(lesson.cohort.training_persons)
    return mechanism_within(lesson.privacy, steps=QUERIES)


def teach_privately(lesson: Lesson) -> Taught:
    """The regime ``pate``.

    Raises:
        ConfigError: there are too few persons, or delta is too large for them.
    """
    draw = privacy_drawn(lesson)
    groups = disjoint_groups(lesson.cohort, group_count(lesson.cohort.training_persons), lesson.seed)
    draws = public_draws(lesson.cohort.spec, QUERIES, np.random.default_rng(lesson.seed))
    each = len(member_names(lesson.architecture))
    classes = lesson.cohort.spec.classes
    votes = np.zeros((QUERIES, classes))
    for i, group in enumerate(groups):
        # No validation person chooses an epoch: what is released then owes them nothing.
        teacher = lesson.taught(
            lesson.cohort.windows.of_persons(group), lesson.seed + i * each, title=f"group {i + 1} of {len(groups)}, ", validated=False
        )  # fmt: skip
        votes += soft_targets(predict(teacher.network, draws).argmax(1), classes)
    deviation = SENSITIVITY * draw.noise
    labels = noisy(votes, deviation) / len(groups)
    student = _taught_by_noise(lesson, draws, labels)
    facts = {
        "epsilon": draw.epsilon, "delta": draw.delta, "noise": deviation, "groups": len(groups), "queries": QUERIES,
    }  # fmt: skip
    return Taught(student.network, student.architecture, student.epochs, facts)


def _taught_by_noise(lesson: Lesson, draws: NDArray[np.float32], labels: NDArray[np.float64]) -> Taught:
    """A student of noisy labels.

    Cross-entropy is linear in its targets: labels that noise took out of the simplex still pull, on average, where the true ones would, as
    long as each sums to one. Holding them in the simplex would pull everything towards uniform.
    """
    targets = (labels + (1 - labels.sum(1, keepdims=True)) / labels.shape[1]).astype(np.float32)
    seed = lesson.seed + 1000
    network = lesson.built(lesson.architecture, seed)
    epochs = []
    for i, (name, member) in enumerate(zip(member_names(lesson.architecture), members(network), strict=True)):

        def report(epoch: int, history: History, name: str = name) -> None:
            lesson.on_epoch(epoch + 1, f"student {name}: loss {history.losses[-1]:.3f}")

        history = train(member, draws, targets, STUDENT_PLAN, seed=seed + i, device=lesson.device, on_epoch=report)
        epochs.append(history.best_epoch + 1)
    return Taught(network.eval(), lesson.architecture, tuple(epochs))
