"""Hyper-parameters for one family on one release, by optuna; resumable, and blind to what judges the student later.

Usage::

    best = search(release, "cnn", trials=30, journal=home.root / "searches" / "apnea-0001-cnn.jsonl")
    student = train_student(release, "cnn", 1, parameters=best.parameters)

A fifth of the stimuli that a student of `seed` learns from judges each trial, by cross-entropy to the teacher's beliefs. The tenth
that `train_student` holds out with the same seed is never seen by the search. The first trial is the family's defaults. Every trial is
written to the journal (lines of JSON, nothing that runs code when it is read): a search that broke off goes on, and one that is asked
for more trials adds to those that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from consumer.students.together import called, together
from consumer.students.training import judge
from stimset.errors import ConfigError, FormatError
from stimset.learning import families
from stimset.verifying import VerifiedRelease

OnTrial = Callable[[int, float], None]


@dataclass(frozen=True)
class Axis:
    """One parameter's range; `kind` is ``"float"``, ``"log"`` (a float on a logarithmic scale) or ``"whole"`` (logarithmic too)."""

    kind: Literal["float", "log", "whole"]
    low: float
    high: float


NETWORK = {
    "learning_rate": Axis("log", 5e-4, 1e-2),
    "weight_decay": Axis("log", 1e-4, 1e-1),
    "label_smoothing": Axis("float", 0.0, 0.1),
    "noise": Axis("float", 0.0, 0.5),
    "shift": Axis("float", 0.0, 0.5),
    "mixup": Axis("float", 0.0, 0.4),
}
SPACES: dict[str, dict[str, Axis]] = {
    "random_forest": {"min_leaf": Axis("whole", 1, 30)},
    "extra_trees": {"min_leaf": Axis("whole", 1, 30)},
    "decision_tree": {"min_leaf": Axis("whole", 3, 100)},
    "gradient_boosting": {
        "rounds": Axis("whole", 40, 300), "learning_rate": Axis("log", 0.02, 0.3), "leaves": Axis("whole", 4, 63),
    },
    "svm": {"cost": Axis("log", 0.03, 3.0), "tolerance": Axis("log", 0.02, 0.3)},
    "knn": {"neighbours": Axis("whole", 5, 200)},
    "logistic_regression": {"cost": Axis("log", 1e-4, 10.0)},
    "rocket": {"biases": Axis("whole", 1, 4)},
}  # fmt: skip


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        parameters: the best trial's.
        cross_entropy: its score in nats, and `default_cross_entropy` that of the family's defaults.
        trials: how many stand in the journal.
        new: how many of them ran this time.
        journal: where they stand.
    """

    parameters: Mapping[str, Any]
    cross_entropy: float
    default_cross_entropy: float
    trials: int
    new: int
    journal: Path

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "parameters": dict(self.parameters), "cross_entropy": self.cross_entropy, "trials": self.trials, "new": self.new,
            "default_cross_entropy": self.default_cross_entropy, "journal": str(self.journal),
        }  # fmt: skip


def space(family: families.Family) -> dict[str, Axis]:
    """What there is to search.

    Raises:
        ConfigError: nothing.
    """
    found = NETWORK if family.needs_torch else SPACES.get(family.name, {})
    if not found:
        raise ConfigError(f"family '{family.name}' has no parameters to search; train it without --search")
    return found


def search(
    release: VerifiedRelease,
    family: str,
    *,
    trials: int,
    journal: Path,
    seed: int = 1,
    fixed: Mapping[str, Any] | None = None,
    beside: Sequence[VerifiedRelease] = (),
    on_trial: OnTrial | None = None,
) -> SearchResult:
    """Search until the journal holds `trials` trials.

    Args:
        release: from `stimset.verifying.verify`.
        family: its name.
        trials: how many in all, those of earlier calls included.
        journal: the file; made where it is not there. One journal belongs to one release, family and seed.
        seed: of the split, of every student and of what is tried.
        fixed: parameters that are not searched.
        beside: releases to learn from as well, as `train_student`.
        on_trial: is told how many trials are done, and the best cross-entropy so far.

    Raises:
        TypeError: `release` was not verified.
        ConfigError: optuna is not installed, or there is nothing to search.
        FormatError: too few stimuli, or the file is no journal.
    """
    releases = together(release, beside)
    chosen = families.family(family)
    axes = {name: axis for name, axis in space(chosen).items() if name not in (fixed or {})}

    def cost(trial: Any) -> float:
        parameters = {name: _suggest(trial, name, axis) for name, axis in axes.items()}
        return judge(release, chosen.name, seed, {**(fixed or {}), **parameters}, beside=beside)

    study, before = _open(journal, f"{called(releases)}-{chosen.name}-{seed}", seed)
    if not before:
        defaults = families.build(chosen.name, *release.spec.shape, release.spec.classes, seed).get_params()
        study.enqueue_trial({n: min(max(defaults[n], a.low), a.high) for n, a in axes.items()}, skip_if_exists=True)
    done = before
    while done < trials:
        study.optimize(cost, n_trials=1)
        done = _finished(study)
        if on_trial:
            on_trial(done, study.best_value)
    first = next(t for t in study.trials if t.value is not None)
    return SearchResult(study.best_params, study.best_value, first.value, done, done - before, journal)


def _open(journal: Path, name: str, seed: int) -> tuple[Any, int]:
    """The study in this journal, and how many finished trials it has."""
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError:
        raise ConfigError("a search needs optuna; run: pip install 'stimset-consumer[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    journal.parent.mkdir(parents=True, exist_ok=True)
    try:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"{journal} is no journal of a search ({type(error).__name__}); move it away") from None
    before = _finished(study)
    # Seeded anew by what is there: a search that broke off does not try the same again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + 1000 * before)
    return study, before


def _finished(study: Any) -> int:
    return sum(trial.value is not None for trial in study.trials)


def _suggest(trial: Any, name: str, axis: Axis) -> float | int:
    if axis.kind == "whole":
        return int(trial.suggest_int(name, int(axis.low), int(axis.high), log=True))
    return float(trial.suggest_float(name, axis.low, axis.high, log=axis.kind == "log"))
