"""How long the work will take, said before it begins: from results that are there already, else from what was once measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from paper.jobs import Job

from custodian.excitation.recipe import Recipe

# Seconds on one busy core: per 1000 examples of 1 x 150 (students, attackers) or windows (teachers), per stimulus (recipes).
STUDENT = {
    "cnn": 5.0, "deep_cnn": 4.0, "tcn": 9.0, "lstm": 9.0, "gru": 16.0, "transformer": 16.0, "mlp": 4.0, "random_forest": 1.5,
    "extra_trees": 1.0, "gradient_boosting": 1.0, "knn": 0.5, "logistic_regression": 0.3, "naive_bayes": 0.3, "decision_tree": 0.4,
}  # fmt: skip
NETWORKS = ("cnn", "deep_cnn", "tcn", "lstm", "gru", "transformer", "mlp")
LEAST_THOUSANDS = 3.2  # networks pass over smaller sets more often
SVM = 1.5  # it grows with the square
ATTACK = {"random_forest": 1.2, "deep_cnn": 3.0}
PREPARE = 6.0
LEAST_PREPARE = 13.0  # likewise
STIMULUS = {"generator": 0.04, "ascent": 0.002, "inhibited": 0.009, "prior": 0.0002}
FIXED = 1.0  # reading the windows
OTHER = 5.0


def estimate(job: Job, known: dict[tuple[str, ...], list[float]], training: int) -> float:
    """Seconds that a job takes.

    Args:
        job: the job.
        known: seconds of finished jobs like it (`known_seconds`).
        training: windows to learn from.
    """
    if like := known.get(_kind(job)):
        return median(like)
    examples = job.source.count if job.source and job.source.recipe and job.kind == "student" else training
    if job.kind == "student" and job.bench.cap:
        examples = min(examples, job.bench.cap)
    thousands = examples / 1000
    if job.kind == "prepare":
        return PREPARE * max(thousands, LEAST_PREPARE)
    if job.kind == "attack":
        return FIXED + ATTACK.get(job.subject, OTHER) * min(thousands, 12.0)
    if job.kind == "student":
        if job.subject == "svm":
            return FIXED + SVM * thousands**2
        return FIXED + STUDENT.get(job.subject, OTHER) * (max(thousands, LEAST_THOUSANDS) if job.subject in NETWORKS else thousands)
    recipe = job.source.recipe if job.source else None
    if recipe is None:
        return 0.0
    return FIXED + STIMULUS[_pace(recipe)] * (job.source.count if job.source else 0)


def _pace(recipe: Recipe) -> str:
    if recipe.method == "generator":
        return "generator"
    if recipe.uses_inhibition:
        return "inhibited"
    return "ascent" if recipe.ascent.steps else "prior"


def known_seconds(jobs: Sequence[Job]) -> dict[tuple[str, ...], list[float]]:
    """Seconds of finished jobs, by what is alike in them."""
    known: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for job in jobs:
        if job.file.is_file() and (found := job.result()):
            known[_kind(job)].append(float(found["seconds"]))
    return known


def _kind(job: Job) -> tuple[str, ...]:
    return job.bench.setting.folder.name, job.kind, job.subject, job.source.key if job.source else ""
