"""Every network takes any shape, ensembles average, and the one training loop keeps its promises."""

import numpy as np
import pytest
import torch

from stimset.errors import ConfigError
from stimset.learning.networks import GROUP_NORM, MAX_MEMBERS, NETWORKS, build_network
from stimset.learning.training import (
    TrainingPlan,
    Validation,
    augment,
    predict,
    shifted,
    soft_cross_entropy,
    soft_targets,
    strangers,
    train,
)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 150), (3, 7), (2, 513)])
def test_a_network_maps_windows_of_any_shape_to_logits(name, shape):
    network = build_network(name, *shape, 4, seed=0).eval()
    windows = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    logits = network(windows)
    assert logits.shape == (5, 4)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(network(windows[:1]), logits[:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_flat_window_has_an_answer_and_a_gradient(name, value):
    network = build_network(name, 2, 40, 3, seed=0).eval()
    windows = torch.full((2, 2, 40), value, requires_grad=True)
    logits = network(windows)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(windows.grad).all()


def test_the_same_seed_gives_the_same_weights_and_the_global_state_is_left_alone():
    state = torch.random.get_rng_state()
    first, again, other = (build_network("cnn", 1, 40, 2, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)
    assert torch.equal(state, torch.random.get_rng_state())


def test_an_ensembles_belief_is_the_mean_of_its_members():
    ensemble = build_network("cnn+gru+spectral_mlp", 2, 40, 3, seed=0).eval()
    windows = np.random.default_rng(0).standard_normal((6, 2, 40)).astype(np.float32)
    mean = np.mean([predict(member, windows) for member in ensemble.members], axis=0)
    np.testing.assert_allclose(predict(ensemble, windows), mean, atol=1e-6)


def test_unknown_networks_and_crowds_are_refused():
    with pytest.raises(ConfigError, match="no network 'oracle'"):
        build_network("cnn+oracle", 1, 40, 2, seed=0)
    with pytest.raises(ConfigError, match="at most"):
        build_network("+".join(["cnn"] * (MAX_MEMBERS + 1)), 1, 40, 2, seed=0)


def task(n=240, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    wave = np.sin(2 * np.pi * np.array([0.1, 0.3])[labels][:, None] * np.arange(40) + rng.uniform(0, 6, (n, 1)))
    return (wave + 0.5 * rng.standard_normal((n, 40)))[:, None].astype(np.float32), labels


def test_training_learns_is_deterministic_and_keeps_the_best_epoch():
    (x, y), (vx, vy) = task(), task(seed=1)
    scores = []

    def accuracy(p):
        scores.append(float(np.mean(p.argmax(1) == vy)))
        return scores[-1]

    def once():
        network = build_network("cnn", 1, 40, 2, seed=0)
        history = train(
            network, x, soft_targets(y, 2), TrainingPlan(epochs=6, batch=32, noise=0.1, shift=0.1, mixup=0.2), seed=0,
            validation=Validation(vx, accuracy),
        )  # fmt: skip
        return network, history

    network, history = once()
    best = max(history.scores)
    assert best > 0.9
    assert np.mean(predict(network, vx).argmax(1) == vy) == best
    again, _ = once()
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_it_stops_when_nothing_gets_better_and_small_sets_get_their_steps():
    x, y = task(64)
    stopped = train(
        build_network("mlp", 1, 40, 2, seed=0), x, soft_targets(y, 2), TrainingPlan(epochs=30, batch=32, patience=2), seed=0,
        validation=Validation(x, lambda p: 0.5),
    )  # fmt: skip
    assert len(stopped.losses) == 3
    plan = TrainingPlan(epochs=4, batch=32, patience=2, steps_at_least=100).with_enough_steps(64)
    assert (plan.epochs, plan.patience) == (50, 25)
    assert plan.with_enough_steps(64) == plan


def test_augmentation_keeps_targets_distributions_and_shifts_roll():
    x, y = torch.arange(12.0).reshape(2, 1, 6), torch.eye(2)
    torch.manual_seed(0)
    _, target = augment(x, y, TrainingPlan(label_smoothing=0.2, mixup=0.5, noise=0.1, shift=0.5))
    torch.testing.assert_close(target.sum(1), torch.ones(2))
    rolled = shifted(x, 3)
    for before, after in zip(x[:, 0], rolled[:, 0], strict=True):
        assert any(torch.equal(after, before.roll(k)) for k in range(-3, 4))


def test_soft_cross_entropy_against_an_independent_computation():
    g = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(7, 3, generator=g), torch.softmax(torch.randn(7, 3, generator=g), 1)
    torch.testing.assert_close(soft_cross_entropy(logits, targets), torch.nn.functional.cross_entropy(logits, targets))


def test_mixup_across_groups_never_mixes_within_one():
    torch.manual_seed(0)
    groups = torch.tensor([0] * 20 + [1] * 3 + [7] * 2)
    for _ in range(20):
        assert (groups[strangers(groups)] != groups).all()
    alone = strangers(torch.zeros(5, dtype=torch.long))
    assert ((alone >= 0) & (alone < 5)).all()
    # The target tells the partner's class: here a class is a group, so every mixture must have two.
    _, target = augment(torch.zeros(25, 1, 4), torch.eye(8)[groups], TrainingPlan(mixup=5.0), groups)
    assert ((target > 0).sum(1) == 2).all()


def test_a_plans_dropout_holds_in_training_and_groups_reach_mixup():
    x, y = task(64)
    network = build_network("mlp", 1, 40, 2, seed=0)
    train(network, x, soft_targets(y, 2), TrainingPlan(epochs=1, batch=32, dropout=0.6, mixup=0.4), seed=0, groups=y)
    assert {layer.p for layer in network.modules() if isinstance(layer, torch.nn.Dropout)} == {0.6}


def test_a_network_without_batch_normalisation_has_a_name_of_its_own():
    plain, grouped = (build_network(name, 1, 40, 2, seed=3) for name in ("cnn", "cnn" + GROUP_NORM))
    norms = [layer for layer in plain.modules() if isinstance(layer, torch.nn.BatchNorm1d)]
    assert norms
    assert not any(isinstance(layer, torch.nn.BatchNorm1d) for layer in grouped.modules())
    assert sum(isinstance(layer, torch.nn.GroupNorm) for layer in grouped.modules()) == len(norms)
    pair = build_network("cnn-gn+spectral_mlp-gn", 1, 40, 2, seed=0).eval()
    assert pair(torch.zeros(2, 1, 40)).shape == (2, 2)
    with pytest.raises(ConfigError, match="no network 'oracle-gn'"):
        build_network("oracle-gn", 1, 40, 2, seed=0)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 1}, {"learning_rate": 0.0}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_an_impossible_plan_is_refused(wrong):
    with pytest.raises(ConfigError):
        TrainingPlan(**wrong)
