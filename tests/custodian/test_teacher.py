"""The teacher learns, is deterministic, and can be rebuilt from its checkpoint."""

from dataclasses import replace

import numpy as np
import pytest

from custodian.teacher.checkpoint import TrainedNetwork
from custodian.teacher.training import TEACHER_PLAN, train_teacher
from small_cohort import cohort
from stimset.errors import ConfigError, FormatError

PLAN = replace(TEACHER_PLAN, epochs=8, batch=32, steps_at_least=0)


@pytest.mark.parametrize("architecture", ["cnn", "gru"])
def test_a_teacher_learns_and_the_same_seed_gives_the_same_weights(architecture):
    plan = replace(PLAN, epochs=25) if architecture == "gru" else PLAN
    seen = []
    teacher = train_teacher(
        cohort(), architecture=architecture, plan=plan, seed=1, on_epoch=lambda e, note: seen.append(note)
    )
    assert teacher.facts["validationKappa"] > 0.5
    assert len(seen) <= plan.epochs
    again = train_teacher(cohort(), architecture=architecture, plan=plan, seed=1)
    assert again.digest() == teacher.digest()


def test_a_checkpoint_rebuilds_the_network_and_notices_damage(tmp_path):
    teacher = train_teacher(cohort(), plan=replace(PLAN, epochs=1), seed=1)
    teacher.save(tmp_path, "teacher")
    back = TrainedNetwork.load(tmp_path, "teacher")
    values = cohort().validation.values[:5]
    np.testing.assert_array_equal(back.predict(values), teacher.predict(values))
    assert (back.architecture, back.outputs, back.spec) == (teacher.architecture, teacher.outputs, teacher.spec)
    weights = bytearray((tmp_path / "teacher.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "teacher.safetensors").write_bytes(weights)
    with pytest.raises(FormatError, match="not what was saved"):
        TrainedNetwork.load(tmp_path, "teacher")
    with pytest.raises(ConfigError, match="custodian train"):
        TrainedNetwork.load(tmp_path, "absent")


def test_an_unknown_architecture_lists_what_there_is():
    with pytest.raises(ConfigError, match="known are cnn"):
        train_teacher(cohort(), architecture="hopfield")
