"""Coordinates can be undone, and lead an ascent elsewhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.excitation.ascent import ascend
from custodian.excitation.objectives import excite_belief, stay_near
from custodian.excitation.parametrisations import Fourier, Time, parametrisation_of
from custodian.excitation.sections import Ascent
from stimset.learning.networks import build_network


@settings(max_examples=30, deadline=None)
@given(
    samples=st.integers(2, 80), channels=st.integers(1, 3), decay=st.floats(0, 2), seed=st.integers(0, 99), steps=st.integers(0, 1)
)  # fmt: skip
def test_coordinates_can_be_undone(samples, channels, decay, seed, steps):
    x = torch.randn(3, channels, samples, generator=torch.Generator().manual_seed(seed))
    form = Fourier(samples, decay) if steps else Time()
    torch.testing.assert_close(form.decode(form.encode(x)), x, atol=1e-4, rtol=1e-4)


def test_a_step_in_fourier_coordinates_follows_the_power_law():
    form = Fourier(64, 1.0)
    change = form.decode(torch.randn(2000, 1, 33, 2, generator=torch.Generator().manual_seed(0)))
    power = np.square(np.abs(np.fft.rfft(change.numpy(), axis=-1))).mean((0, 1))[1:32]
    slope = np.polyfit(np.log(np.arange(1, 32)), np.log(power), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)
    assert float(change.square().mean()) == pytest.approx(1, rel=0.5), "about as large as the same step in time"


def climb(form, objective, clip=5.0, steps=30):
    teacher = build_network("cnn", 2, 40, 3, seed=0).eval().requires_grad_(False)
    start = torch.randn(16, 2, 40, generator=torch.Generator().manual_seed(1))
    wanted = torch.eye(3)[torch.arange(16) % 3] * 0.7 + 0.1
    made = ascend(start, wanted, objective, teacher, steps=steps, learning_rate=0.05, clip=clip, parametrisation=form)
    kl = (wanted * (wanted.log() - torch.log_softmax(teacher(made), 1))).sum(1).mean()
    return start, made, float(kl)


def test_both_reach_the_belief_and_fourier_changes_slowly():
    (start, in_time, first), (_, in_fourier, second) = (climb(f, excite_belief()) for f in (Time(), Fourier(40, 1.0)))
    _, _, before = climb(Time(), stay_near(), steps=0)
    assert max(first, second) < 0.9 * before
    rough = lambda change: float(change.diff(dim=-1).square().mean() / change.square().mean())  # noqa: E731
    assert rough(in_fourier - start) < 0.5 * rough(in_time - start)


def test_stimuli_stay_within_their_bounds_in_any_coordinates():
    for form in (Time(), Fourier(40, 0.5)):
        _, made, _ = climb(form, excite_belief(), clip=0.8)
        assert float(made.abs().max()) <= np.float32(0.8)


def test_the_recipe_chooses():
    assert parametrisation_of(Ascent(parametrisation="fourier", decay=0.5), 40) == Fourier(40, 0.5)
    assert parametrisation_of(Ascent(), 40) == Time()
