"""A verified release becomes a student: hold stimuli out, learn, turn into ONNX, prove that ONNX answers the same.

Usage::

    student = train_student(verify(folder, root), "cnn", seed=1)
    student.save(home.students)
    student = train_student(north, "cnn", seed=1, beside=[south, west])    # three hospitals, one student
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.students.adjusting import Adjustment, prevalence_weights, temperature
from consumer.students.consensus import Halves, agreed
from consumer.students.student import Lineage, Student
from consumer.students.together import called, halves_of, joined, lineage, together
from stimset.errors import ConfigError, ContentMismatch, FormatError, StimsetError
from stimset.learning import families
from stimset.metrics import score
from stimset.release import StimulusArrays
from stimset.verifying import VerifiedRelease
from stimset.windows import WindowSpec

HELD_OUT = 0.1
JUDGING = 0.2
MAX_PROBE = 256
PARITY = 1e-4
CONSENSUS = "consensus"
"""Of a union's student: it learned the mean of what all releases say of a stimulus."""
_LEARNING_SHARE = 0.9  # of the progress; the rest is the export

OnProgress = Callable[[float], None]


def train_student(
    release: VerifiedRelease,
    family: str,
    seed: int,
    *,
    beside: Sequence[VerifiedRelease] = (),
    parameters: Mapping[str, Any] | None = None,
    calibrate: bool = False,
    prevalence: Mapping[str, float] | None = None,
    on_progress: OnProgress | None = None,
) -> Student:
    """Train one student.

    A tenth of the stimuli of each release, drawn by `seed`, is held out: it chooses when a network stops and the temperature, and it is
    what agreement with the teachers and the parity of the ONNX file are measured on.

    Args:
        release: from `stimset.verifying.verify`; nothing else is accepted.
        family: see `stimset.learning.families`.
        seed: of the split and of everything random in the family; the same seed gives the same student on the same
            machine.
        beside: releases of other custodians to learn from as well; their window specs must be the same. A student of each release is
            trained first, and the union's learns their consensus (`consumer.students.consensus`). Its name and lineage name them all.
        parameters: of the family, where they are not to be the defaults.
        calibrate: fit a temperature (see `consumer.students.adjusting`); the student's name ends in ``-calibrated``.
        prevalence: label -> its share where the student will work; the name ends in ``-shifted``. Agreement with the teacher is
            measured before this shift.
        on_progress: is told the share of the work that is done, from 0 to 1.

    Raises:
        TypeError: `release` was not verified.
        ConfigError: no such family, parameter or label, a library is not installed, or the window specs differ.
        FormatError: too few stimuli.
        StimsetError: the ONNX file does not answer as the model does.
    """
    releases = together(release, beside)
    tell = on_progress or _unwatched
    chosen, parameters = families.family(family), dict(parameters or {})
    require(chosen)
    spec, began = release.spec, time.perf_counter()
    fits, total = itertools.count(), 1 + (len(releases) if beside else 0)

    def fitted(halves: Halves) -> Any:
        number, (learned, held) = next(fits), halves
        made = families.build(chosen.name, *spec.shape, spec.classes, seed, **parameters)
        judging = held.values, held.probabilities
        made.fit(learned.values, learned.probabilities, judging, lambda part: tell(_LEARNING_SHARE * (number + part) / total))
        return made

    halves = halves_of(releases, seed, HELD_OUT)
    if beside:
        halves = agreed(halves, lambda own: fitted(own).predict_proba)
    learned, held = joined([half for half, _ in halves]), joined([half for _, half in halves])
    prior = _prior(learned, held)
    weights = prevalence_weights(prior, prevalence, spec.labels) if prevalence else (1.0,) * spec.classes
    estimator = fitted((learned, held))
    seconds = time.perf_counter() - began
    descent = lineage(releases)
    plain = estimator.predict_proba(held.values)
    beliefs = held.probabilities.astype(np.float64)
    adjusted = Adjustment(temperature(plain, beliefs) if calibrate else 1.0, weights)
    model = to_onnx(estimator, chosen, seed, descent, spec, adjusted)
    training = {
        "stimuli": len(learned), "heldOut": len(held), "seconds": round(seconds, 3),
        **_agreement(adjusted.unshifted(plain), beliefs), "prior": [round(float(share), 6) for share in prior],
        **({"temperature": adjusted.temperature} if calibrate else {}),
        **({"prevalence": dict(prevalence)} if prevalence else {}), **({"labels": CONSENSUS} if beside else {}),
    }  # fmt: skip
    answers = adjusted(plain) if adjusted.changes else plain
    probe = StimulusArrays(held.values[:MAX_PROBE], answers[:MAX_PROBE].astype(np.float32))
    name = name_of(called(releases), chosen.name, seed, calibrate, prevalence)
    student = Student(name, chosen.name, seed, parameters, descent, spec, training, model, probe)
    _check_parity(student, held.values, answers)
    tell(1.0)
    return student


def _prior(learned: StimulusArrays, held: StimulusArrays) -> NDArray[np.float64]:
    """``(classes,)`` mean belief over all stimuli."""
    total = sum(part.probabilities.sum(axis=0, dtype=np.float64) for part in (learned, held))
    return np.asarray(total / (len(learned) + len(held)))


def _check_parity(student: Student, values: NDArray[np.float32], answers: NDArray[np.float64]) -> None:
    """Return when the ONNX file answers as the model in memory did.

    Raises:
        StimsetError: it does not.
    """
    difference = float(np.abs(student.predict_proba(values) - answers).max())
    if not difference < PARITY:
        raise StimsetError(
            f"{student.name}: the ONNX file differs from the model by {difference:.2g}, more than {PARITY:g}; it is not kept"
        )


def _agreement(answers: NDArray[np.float64], beliefs: NDArray[np.float64]) -> dict[str, float | None]:
    """How a student's answers agree with the teacher's beliefs, both ``(n, classes)``."""
    agreement = score(answers, beliefs.argmax(axis=1))
    return {
        "agreementKappa": agreement["kappa"], "agreementAccuracy": agreement["accuracy"],
        "crossEntropy": float(-(beliefs * np.log(np.maximum(answers, 1e-12))).sum(axis=1).mean()),
    }  # fmt: skip


def to_onnx(
    estimator: Any, family: families.Family, seed: int, lineage: Lineage, spec: WindowSpec, adjusted: Adjustment
) -> bytes:
    """The ONNX file of a fitted estimator, whose properties say what it is and which windows it expects."""
    from consumer.students import graphs

    model = graphs.of_network(estimator.network_, *spec.shape) if family.needs_torch else graphs.of_features(estimator)
    if adjusted.changes:
        model = graphs.adjusted(model, adjusted)
    return graphs.with_metadata(
        model,
        {
            **({"stimset.adjustment": json.dumps(adjusted.to_document())} if adjusted.changes else {}),
            "stimset.family": family.name,
            "stimset.seed": str(seed),
            "stimset.release": lineage.release,
            "stimset.custodian": lineage.custodian,
            "stimset.statement_sha256": lineage.statement_sha256,
            "stimset.root_fingerprint": lineage.root_fingerprint,
            "stimset.simulated": str(lineage.simulated).lower(),
            "stimset.labels": json.dumps(list(spec.labels), ensure_ascii=False),
            "stimset.window_spec": json.dumps(spec.to_document(), sort_keys=True, ensure_ascii=False),
        },
    )


def trained_before(
    students: Path,
    release: VerifiedRelease,
    family: str,
    seed: int,
    parameters: Mapping[str, Any] | None = None,
    calibrate: bool = False,
    prevalence: Mapping[str, float] | None = None,
    *,
    beside: Sequence[VerifiedRelease] = (),
) -> Student | None:
    """The student that `train_student` gave for the same releases and options, where it was kept in `students` and is whole."""
    releases = together(release, beside)
    folder = students / name_of(called(releases), families.family(family).name, seed, calibrate, prevalence)
    try:
        found = Student.load(folder)
    except (ConfigError, FormatError, ContentMismatch):
        return None
    same = (
        found.lineage == lineage(releases)
        and dict(found.parameters) == dict(parameters or {})
        and found.training.get("prevalence") == (dict(prevalence) if prevalence else None)
        and found.training.get("labels") == (CONSENSUS if beside else None)
    )
    return found if same else None


def name_of(releases: str, family: str, seed: int, calibrate: bool, prevalence: Mapping[str, float] | None) -> str:
    """What a student is called; `releases` as `consumer.students.together.called`."""
    return f"{releases}-{family}-{seed}" + "-calibrated" * calibrate + "-shifted" * bool(prevalence)


def judge(
    release: VerifiedRelease, family: str, seed: int, parameters: Mapping[str, Any], *, beside: Sequence[VerifiedRelease] = ()
) -> float:
    """How well a family learns with these parameters: cross-entropy in nats to the teachers' beliefs, on a fifth of the stimuli that
    `train_student` learns from with the same seed. What it holds out is not looked at.

    Raises:
        TypeError, ConfigError, FormatError: as `train_student`.
    """
    learned, judging = joined([half for half, _ in halves_of(together(release, beside), seed, HELD_OUT)]).split(JUDGING, seed)
    model = families.build(family, *release.spec.shape, release.spec.classes, seed, **parameters)
    model.fit(learned.values, learned.probabilities, (judging.values, judging.probabilities))
    return -model.score(judging.values, judging.probabilities)


def require(family: families.Family) -> None:
    """Return when everything that the family needs is installed.

    Raises:
        ConfigError: something is not; the message says what to install.
    """
    import importlib.util

    needed = ["sklearn", "onnx", "onnxruntime", *(["torch", "onnxscript"] if family.needs_torch else ["skl2onnx"])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = "torch" if family.needs_torch else "train"
        raise ConfigError(
            f"family '{family.name}' needs {', '.join(missing)}; run: pip install 'stimset-consumer[{extra}]'"
        )


def _unwatched(share: float) -> None:
    """An `OnProgress` for callers that don't watch."""
