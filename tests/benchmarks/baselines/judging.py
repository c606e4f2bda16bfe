"""What is asked of whatever left: kappa on persons whom nobody learnt from, and the gate's attacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from baselines.approaches import Ground, Made
from numpy.typing import NDArray
from paper.jobs import ATTACKERS, METRICS
from paper.settings import OFFICIAL, UNSEEN, Setting, unseen
from referee import lesson_of_stimuli, lesson_of_windows

from consumer.students import graphs
from consumer.students.student import answers, open_session
from custodian.excitation.recipe import load_recipe
from custodian.gate.attacks import Evidence, Reconstruction, attack_identity
from custodian.gate.attacks.responses import Subjects, student_surprise, surprise
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.errors import StimsetError
from stimset.learning.families import build
from stimset.metrics import score
from stimset.release import StimulusArrays
from stimset.windows import WindowSpec

MODEL_FAMILY = "cnn"
"""What stands as the family of a released model, and of the student that the membership attack trains on released windows."""
MODEL = "released model"
INVERTED = 500
INVERSION = Path(__file__).parent / "inversion.toml"
PARITY = 1e-4
ATTACK_SEED = 7919

Floats = NDArray[np.float64]
Scores = dict[str, dict[str, Any]]


def kappas(made: Made, ground: Ground, setting: Setting, families: Sequence[str], *, true_windows: bool) -> tuple[Scores, int]:
    """Scores by protocol and family on the test windows, and how many bytes leave.

    Args:
        made: released windows, from which every family learns; or a model, which is exported to ONNX and answers by itself.
        ground: where it was made.
        setting: holds the test windows, which choose nothing.
        families: of students.
        true_windows: whether the validation persons choose when to stop, as only the hospital can; else a tenth of the windows does.

    Raises:
        StimsetError: a model's ONNX file answers otherwise than the model.
    """
    spec, test = ground.cohort.spec, setting.test()
    if made.network is not None:
        file = exported(made.network, test.values[:64])
        return {MODEL_FAMILY: _by_protocol(answers(open_session(file, MODEL), MODEL, spec, test.values), setting)}, len(file)
    arrays = _windows(made)
    taught = lesson_of_windows(ground.cohort, None, None, ground.seed) if true_windows else lesson_of_stimuli(arrays, None, ground.seed)
    found: Scores = {}
    for name in families:
        student = build(name, *spec.shape, spec.classes, ground.seed)
        student.fit(taught.values, taught.probabilities, (taught.held_values, taught.held_probabilities))
        found[name] = _by_protocol(student.predict_proba(test.values), setting)
    return found, arrays.values.nbytes + arrays.probabilities.nbytes


def exported(trained: TrainedNetwork, values: NDArray[np.float32]) -> bytes:
    """The model as an ONNX file that was held against the model on some windows."""
    spec: WindowSpec = trained.spec
    model = graphs.of_network(trained.network, *spec.shape)
    file = graphs.with_metadata(model, {"stimset.window_spec": json.dumps(spec.to_document(), sort_keys=True)})
    difference = float(np.abs(answers(open_session(file, MODEL), MODEL, spec, values) - trained.predict(values)).max())
    if difference >= PARITY:
        raise StimsetError(f"the ONNX file differs from the model by {difference:.2g}, more than {PARITY:g}")
    return file


def attacks(made: Made, ground: Ground, attackers: Sequence[str] = ATTACKERS) -> dict[str, Any]:
    """The identity attack by each attacker, and reconstruction; of a model, on windows that were excited out of it.

    Raises:
        DataInvalid: fewer than two persons are kept apart who share no recording with a training person.
    """
    arrays = made.windows if made.windows is not None else _inverted(made, ground)
    seed = ground.seed + ATTACK_SEED
    identity = {name: asdict(attack_identity(name, arrays, ground.cohort, seed=seed)) for name in attackers}
    copied = Reconstruction().run(Evidence(arrays, ground.cohort), seed=seed)
    reconstruction = {**copied.measurements, "positive-control": copied.positive_control}
    return {"identity": identity, "reconstruction": reconstruction, "inverted": made.windows is None}


def persons_surprise(made: Made, subjects: Subjects, *, seed: int) -> Floats:
    """``(persons,)`` mean loss of each person's windows under the model, or under a student of the windows: what membership is told by."""
    if made.network is not None:
        losses = surprise(made.network.predict(subjects.windows.values), subjects.windows.labels)
    else:
        losses, _ = student_surprise(_windows(made), subjects, MODEL_FAMILY, seed=seed)
    return subjects.per_person(losses)


def _windows(made: Made) -> StimulusArrays:
    if made.windows is None:
        raise StimsetError("this approach lets out a model, no windows")
    return made.windows


def _inverted(made: Made, ground: Ground) -> StimulusArrays:
    if made.network is None:
        raise StimsetError("this approach lets out nothing")
    return ground.excited(made.network, load_recipe(str(INVERSION)), INVERTED, "inverted")



def _by_protocol(found: Floats, setting: Setting) -> dict[str, Any]:
    test = setting.test()
    apart = unseen(setting.training(), test)
    protocols = {OFFICIAL: np.ones(len(test), bool), UNSEEN: apart}
    return {
        name: {metric: value for metric, value in score(found[rows], test.labels[rows]).items() if metric in METRICS}
        for name, rows in protocols.items() if rows.any()
    }  # fmt: skip
