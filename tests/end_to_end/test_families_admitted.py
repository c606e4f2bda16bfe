"""Every family that a consumer can train passes the custodian's allow-list, and answers in the sandbox as it did at home."""

from __future__ import annotations

import numpy as np
import pytest

from consumer.students import graphs
from custodian.evaluation.box import Sandbox
from custodian.evaluation.limits import BATCH, Limits
from stimset.learning import families

SHAPE, CLASSES = (1, 64), 2
NAMES = [pytest.param(f.name, marks=[pytest.mark.slow] if f.needs_torch else []) for f in families.families()]


@pytest.fixture(scope="module")
def stimuli():
    rng = np.random.default_rng(0)
    beliefs = rng.dirichlet([1, 1], size=120).astype(np.float32)
    values = rng.normal(size=(120, *SHAPE)) * (1 + beliefs[:, :1, None])
    return values.clip(-5, 5).astype(np.float32), beliefs


@pytest.fixture(scope="module")
def box():
    with Sandbox(Limits()) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
def test_a_student_of_this_family_is_admitted(box, stimuli, name):
    values, beliefs = stimuli
    student = families.build(name, *SHAPE, CLASSES, 0)
    student.fit(values[:100], beliefs[:100], (values[100:], beliefs[100:]), lambda share: None)
    needs_torch = families.family(name).needs_torch
    model = graphs.of_network(student.network_, *SHAPE) if needs_torch else graphs.of_features(student)
    box.load(graphs.with_metadata(model, {"stimset.release": "tiny-0001"}), SHAPE, CLASSES)
    found = box.answers(values[:BATCH], 30)
    assert found == pytest.approx(student.predict_proba(values[:BATCH]), abs=1e-4)
