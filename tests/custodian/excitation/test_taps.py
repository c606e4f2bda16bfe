"""Looking inside a network leaves nothing behind."""

import numpy as np
import pytest
import torch

from custodian.excitation.taps import Tap, batch_norm_moments, embed, embedding_taps, look, member_taps, tapped
from stimset.errors import ConfigError
from stimset.learning.networks import NETWORKS, build_network


def network(name="cnn"):
    return build_network(name, 2, 40, 3, seed=0).eval().requires_grad_(False)


def hooks(of):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in of.modules())


def test_what_enters_and_what_leaves_a_layer_is_seen():
    cnn, x = network(), torch.randn(4, 2, 40)
    entered, left = Tap("blocks.0.1", "input"), Tap("blocks.0.1")
    with tapped(cnn, [entered, left, left]) as seen:
        cnn(x)
    torch.testing.assert_close(seen[entered], cnn.blocks[0][0](x))
    torch.testing.assert_close(seen[left], cnn.blocks[0][1](seen[entered]))
    assert hooks(cnn) == 0


def test_hooks_go_whatever_happens():
    cnn = network()
    with pytest.raises(RuntimeError), tapped(cnn, [Tap("head")]):
        cnn(torch.randn(4, 7, 40))
    with pytest.raises(ConfigError, match=r"no layer 'blocks\.9'; it has blocks"), tapped(cnn, [Tap("head"), Tap("blocks.9")]):
        pass
    assert hooks(cnn) == 0


def test_a_recurrent_layer_gives_its_sequence():
    gru = network("gru")
    with tapped(gru, [Tap("recurrent")]) as seen:
        gru(torch.randn(4, 2, 40))
    assert seen[Tap("recurrent")].shape[0] == 4


@pytest.mark.parametrize("name", [*NETWORKS, "cnn+spectral_mlp"])
def test_every_network_describes_a_stimulus(name):
    made = network(name)
    values = np.random.default_rng(0).standard_normal((5, 2, 40)).astype(np.float32)
    described = embed(made, values)
    assert described.shape[0] == 5
    assert np.isfinite(described).all()
    assert len(embedding_taps(made)) == len(member_taps(made) or [None])
    np.testing.assert_allclose(np.concatenate([embed(made, values[:2]), embed(made, values[2:])]), described, atol=1e-5)


def test_batch_norm_layers_tell_what_they_kept():
    moments = batch_norm_moments(network("cnn+spectral_mlp"))
    assert all(tap.side == "input" and (variance >= 0).all() for tap, (_, variance) in moments.items())
    assert {tap.layer.split(".")[1] for tap in moments} == {"0", "1"}
    with pytest.raises(ConfigError, match="no BatchNorm layer"):
        batch_norm_moments(network("gru"))


def test_looking_goes_batch_by_batch():
    values = np.zeros((5, 2, 40), np.float32)
    parts = list(look(network(), [Tap("blocks.0")], values, batch=2))
    assert [len(found[0]) for found in parts] == [2, 2, 1]
