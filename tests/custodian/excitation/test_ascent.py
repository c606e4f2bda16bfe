"""Objectives add and scale; the ascent does what they ask, stimulus by stimulus."""

import numpy as np
import pytest
import torch

from custodian.excitation.ascent import ascend
from custodian.excitation.objectives import Responses, excite_belief, stay_near
from custodian.inhibition import inhibit
from stimset.learning.networks import build_network


def frozen(outputs, seed):
    return build_network("cnn", 2, 40, outputs, seed=seed).eval().requires_grad_(False)


def responses(batch=6):
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=g)  # noqa: E731
    wanted = torch.softmax(draw(batch, 3), 1)
    return Responses(draw(batch, 2, 40), draw(batch, 2, 40), wanted, draw(batch, 3), (draw(batch, 4), draw(batch, 4)))


def test_parts_add_up_under_their_names():
    objective = excite_belief(2.0) + 0.5 * stay_near(4.0)
    total, parts = objective(responses())
    assert set(parts) == {"belief", "near"}
    assert total == pytest.approx(float(sum(parts.values())), rel=1e-6)
    assert parts["near"] == pytest.approx(2 * float(stay_near()(responses())[0]), rel=1e-6)


def test_costs_against_an_independent_computation():
    r = responses()
    wanted, answer = r.wanted.numpy().astype(float), torch.softmax(r.logits.double(), 1).numpy()
    expected = (wanted * np.log(wanted / answer)).sum(1).mean()
    assert float(excite_belief()(r)[0]) == pytest.approx(expected, rel=1e-5)
    shares = np.array([[0.7, 0.1, 0.1, 0.1], [0.25] * 4, [0.1, 0.1, 0.1, 0.7]], np.float32)
    goal = wanted @ shares
    kl = [(goal * np.log(goal / torch.softmax(i.double(), 1).numpy())).sum(1).mean() for i in r.identity]
    assert float(inhibit(1.0, shares)(r)[0]) == pytest.approx(np.mean(kl), rel=1e-4)


def test_the_teacher_comes_to_believe_what_is_wanted_and_identity_fades():
    teacher, identity = frozen(3, 0), [frozen(5, 1)]
    identity[0].head[-1].weight.mul_(20)  # an untrained network is unsure of everybody; this one is not
    start = torch.randn(32, 2, 40, generator=torch.Generator().manual_seed(1))
    wanted = torch.eye(3)[torch.arange(32) % 3] * 0.7 + 0.1
    uniform = np.full((3, 5), 0.2, np.float32)

    def costs(x):
        r = Responses(x, start, wanted, teacher(x), tuple(n(x) for n in identity))
        return float(excite_belief()(r)[0]), float(inhibit(1.0, uniform)(r)[0])

    def climb(objective):
        return ascend(start, wanted, objective, teacher, identity, steps=60, learning_rate=0.05, clip=5)

    excited, made = climb(excite_belief()), climb(excite_belief() + inhibit(1.0, uniform))
    assert costs(excited)[0] < 0.7 * costs(start)[0]
    assert costs(made)[1] < 0.5 * costs(excited)[1]
    assert made.abs().max() <= 5
    assert not made.requires_grad


def test_a_stimulus_does_not_depend_on_its_batch():
    teacher = frozen(3, 0)
    start = torch.randn(8, 2, 40, generator=torch.Generator().manual_seed(2))
    wanted = torch.full((8, 3), 1 / 3)
    whole = ascend(start, wanted, excite_belief(), teacher, steps=5, learning_rate=0.05, clip=5)
    alone = torch.cat([
        ascend(start[i : i + 1], wanted[i : i + 1], excite_belief(), teacher, steps=5, learning_rate=0.05, clip=5) for i in range(8)
    ])  # fmt: skip
    torch.testing.assert_close(whole, alone, atol=2e-3, rtol=0)
    torch.testing.assert_close(ascend(start, wanted, excite_belief(), teacher, steps=0, learning_rate=1, clip=5), start)
