"""Half precision and compiled networks climb as far as exact ones do; without a GPU nothing is changed."""

import copy

import pytest
import torch

from custodian.excitation.acceleration import EXACT, Acceleration
from custodian.excitation.ascent import ascend
from custodian.excitation.objectives import excite_belief
from stimset.learning.networks import build_network

START = torch.randn(32, 2, 40, generator=torch.Generator().manual_seed(1))
WANTED = torch.eye(3)[torch.arange(32) % 3] * 0.7 + 0.1


def climbed(acceleration):
    teacher = build_network("cnn", 2, 40, 3, seed=0).eval().requires_grad_(False)
    asked = copy.deepcopy(teacher)
    acceleration.compiled([asked])
    return ascend(
        START, WANTED, excite_belief(), asked, steps=40, learning_rate=0.05, clip=5, acceleration=acceleration
    ), teacher  # fmt: skip


def cost(stimuli, teacher):
    return float(torch.nn.functional.cross_entropy(teacher(stimuli), WANTED))


def test_only_a_gpu_changes_anything():
    assert Acceleration.of("cpu") is EXACT
    assert Acceleration.of("cuda:1") == Acceleration(mixed=True, compiler="inductor")


@pytest.mark.parametrize("compiler", [None, "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_it_climbs_as_far(compiler):
    exact, teacher = climbed(EXACT)
    made, _ = climbed(Acceleration(mixed=True, compiler=compiler))
    assert made.dtype == torch.float32
    before, after = cost(START, teacher), cost(exact, teacher)
    assert after < before
    assert abs(cost(made, teacher) - after) < 0.05 * (before - after)


def test_compiled_in_single_precision_it_is_the_same_but_for_rounding():
    exact, _ = climbed(EXACT)
    made, _ = climbed(Acceleration(compiler="aot_eager"))
    assert torch.allclose(made, exact, atol=1e-3)
