"""A verified release becomes a student: hold stimuli out, learn, turn into ONNX, prove that ONNX answers the same.

Usage::

    student = train_student(verify(folder, root), "cnn", seed=1)
    student.save(home.students)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from consumer.students.student import Lineage, Student
from consumer.trust import statement_digest
from stimset.errors import ConfigError, FormatError, StimsetError
from stimset.learning import families
from stimset.metrics import score
from stimset.release import StimulusArrays
from stimset.verifying import VerifiedRelease
from stimset.windows import WindowSpec

HELD_OUT = 0.1
LEAST_STIMULI = 20
MAX_PROBE = 256
PARITY = 1e-4
_LEARNING_SHARE = 0.9  # of the progress; the rest is the export

OnProgress = Callable[[float], None]


def train_student(
    release: VerifiedRelease,
    family: str,
    seed: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> Student:
    """Train one student.

    A tenth of the stimuli, drawn by `seed`, is held out: it chooses when a network stops, and it is what agreement
    with the teacher and the parity of the ONNX file are measured on.

    Args:
        release: from `stimset.verifying.verify`; nothing else is accepted.
        family: see `stimset.learning.families`.
        seed: of the split and of everything random in the family; the same seed gives the same student on the same
            machine.
        parameters: of the family, where they are not to be the defaults.
        on_progress: is told the share of the work that is done, from 0 to 1.

    Raises:
        TypeError: `release` was not verified.
        ConfigError: no such family or parameter, or a library is not installed.
        FormatError: too few stimuli.
        StimsetError: the ONNX file does not answer as the model does.
    """
    if not isinstance(release, VerifiedRelease):
        raise TypeError("a student is trained on a VerifiedRelease alone (stimset.verifying.verify)")
    tell = on_progress or _unwatched
    chosen, parameters = families.family(family), dict(parameters or {})
    require(chosen)
    stimuli, spec, began = release.stimuli(), release.spec, time.perf_counter()
    estimator = families.build(family, *spec.shape, spec.classes, seed, **parameters)
    learned, held = split(stimuli, seed)
    estimator.fit(
        learned.values,
        learned.probabilities,
        (held.values, held.probabilities),
        lambda share: tell(_LEARNING_SHARE * share),
    )
    seconds = time.perf_counter() - began
    lineage = Lineage(
        release.id, release.predicate.custodian, statement_digest(release.statement), release.root_fingerprint,
        release.predicate.simulated,
    )  # fmt: skip
    model = to_onnx(estimator, chosen, seed, lineage, spec)
    answers = estimator.predict_proba(held.values)
    agreement = score(answers, held.probabilities.argmax(axis=1))
    training = {
        "stimuli": len(learned), "heldOut": len(held), "seconds": round(seconds, 3),
        "agreementKappa": agreement["kappa"], "agreementAccuracy": agreement["accuracy"],
        "crossEntropy": float(-(held.probabilities * np.log(np.maximum(answers, 1e-12))).sum(axis=1).mean()),
    }  # fmt: skip
    probe = StimulusArrays(held.values[:MAX_PROBE], answers[:MAX_PROBE].astype(np.float32))
    student = Student(f"{release.id}-{family}-{seed}", family, seed, parameters, lineage, spec, training, model, probe)
    difference = float(np.abs(student.predict_proba(held.values) - answers).max())
    if not difference < PARITY:
        raise StimsetError(
            f"{student.name}: the ONNX file differs from the model by {difference:.2g}, more than {PARITY:g}; "
            "it is not kept"
        )
    tell(1.0)
    return student


def to_onnx(estimator: Any, family: families.Family, seed: int, lineage: Lineage, spec: WindowSpec) -> bytes:
    """The ONNX file of a fitted estimator, whose properties say what it is and which windows it expects."""
    from consumer.students import graphs

    return graphs.with_metadata(
        graphs.of_network(estimator.network_, *spec.shape) if family.needs_torch else graphs.of_features(estimator),
        {
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


def split(stimuli: StimulusArrays, seed: int) -> tuple[StimulusArrays, StimulusArrays]:
    """Stimuli to learn from, and a tenth that is held out.

    Raises:
        FormatError: fewer than `LEAST_STIMULI`.
    """
    if len(stimuli) < LEAST_STIMULI:
        raise FormatError(
            f"the release has {len(stimuli)} stimuli; at least {LEAST_STIMULI} are needed to train a student"
        )
    order = np.random.default_rng(seed).permutation(len(stimuli))
    held, learned = np.split(order, [round(HELD_OUT * len(stimuli))])
    return (
        StimulusArrays(stimuli.values[learned], stimuli.probabilities[learned]),
        StimulusArrays(stimuli.values[held], stimuli.probabilities[held]),
    )


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
