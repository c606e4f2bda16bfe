"""Folding changes no answer; an editor learns what the ascent does, once, and belongs to the set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from custodian.excitation.candidates import CandidateSet
from custodian.excitation.editor import EDITOR_FILE, EditedPrior, Editor
from custodian.excitation.engine import PREPARED, excite, ordered
from custodian.excitation.folding import folded
from custodian.excitation.objectives import Responses
from custodian.excitation.order import WorkOrder
from custodian.excitation.pools import made_shard, packed
from custodian.excitation.recipe import load_recipe
from custodian.inhibition import train_identity_networks
from custodian.teacher.training import TEACHER_PLAN, train_teacher
from small_cohort import SPEC, cohort
from stimset.errors import ConfigError
from stimset.learning.networks import NETWORKS, build_network
from stimset.learning.training import TrainingPlan


@pytest.fixture(scope="module")
def trained():
    teacher = train_teacher(cohort(), plan=replace(TEACHER_PLAN, epochs=3, batch=32, steps_at_least=0), seed=0)
    return teacher, train_identity_networks(cohort(), architectures=("cnn",), plans=[TrainingPlan(epochs=3, batch=32)])


def swift(editor=60, **ascent):
    recipe = load_recipe("swift")
    return replace(recipe, ascent=replace(recipe.ascent, editor=editor, **ascent))


def make(folder, trained, recipe, count=60, **options):
    return excite(cohort(), *trained, recipe, count=count, seed=3, folder=folder, batch=25, **options)


@pytest.mark.parametrize("name", [*NETWORKS, "cnn+spectral_mlp"])
def test_a_folded_network_answers_alike_and_leaves_the_first_as_it_was(name):
    network = build_network(name, 2, 60, 3, seed=0)
    with torch.no_grad():
        for _ in range(5):  # running statistics that are not those of a fresh layer
            network(3 + 2 * torch.randn(64, 2, 60))
    network.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(16, 2, 60, requires_grad=True)
    cheaper = folded(network)
    y, z = network(x), cheaper(x)
    torch.testing.assert_close(z, y, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (z, y)), rtol=1e-3, atol=1e-4)
    assert set(dict(cheaper.named_modules())) == set(dict(network.named_modules()))
    assert not any(p.requires_grad for p in cheaper.parameters())
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_folding_leaves_no_convolution_before_a_normalisation():
    kinds = [type(m) for m in folded(build_network("tcn", 1, 60, 2, seed=0)).modules()]
    assert nn.BatchNorm1d not in kinds
    assert nn.Identity in kinds


def test_an_editor_keeps_shape_and_bounds_for_odd_lengths_too():
    for samples in (60, 61, 7):
        spec = replace(SPEC, epoch_s=float(samples))
        edited = Editor(spec)(100 * torch.randn(3, *spec.shape))
        assert edited.shape == (3, *spec.shape)
        assert edited.abs().max() <= spec.clip


def test_an_editor_lowers_the_very_cost_that_the_ascent_climbs(tmp_path, trained):
    made = make(tmp_path / "set", trained, swift(150))
    teacher, identity = trained
    weights = (made.folder / PREPARED / EDITOR_FILE).read_bytes()
    plain = WorkOrder(cohort(), teacher, tuple(identity), swift(150), 3, 25, "cpu")
    job = replace(plain, editor=weights).excitation()
    assert isinstance(job.prior, EditedPrior)
    before, classes = job.prior.inner.sample(200, np.random.default_rng(9))
    after, same = job.prior.sample(200, np.random.default_rng(9))
    np.testing.assert_array_equal(classes, same)
    wanted = torch.softmax(job.teacher(torch.from_numpy(before)), 1)

    def cost(values):
        x, start = torch.from_numpy(values), torch.from_numpy(before)
        return float(job.objective(Responses(x, start, wanted, job.teacher(x), tuple(n(x) for n in job.identity)))[0])

    assert cost(after) < 0.8 * cost(before)


def test_the_editor_belongs_to_the_set_and_workers_use_it(tmp_path, trained):
    recipe = swift(20, steps=2)
    made = make(tmp_path / "set", trained, recipe, count=30)
    kept = (made.folder / PREPARED / EDITOR_FILE).stat().st_mtime_ns
    shard = made.folder / "shard-00000.safetensors"
    first = shard.read_bytes()
    shard.unlink()
    again = make(tmp_path / "set", trained, recipe, count=30)
    assert shard.read_bytes() == first
    assert (made.folder / PREPARED / EDITOR_FILE).stat().st_mtime_ns == kept, "an editor is trained once"
    assert CandidateSet.load(again.folder) == again
    other = ordered(cohort(), trained[0], trained[1], recipe, seed=3, folder=tmp_path / "other", batch=25)
    assert made_shard(packed(other), 0, 30) == ("", first), "trained again, it is the same; and it travels"


def test_what_an_editor_can_not_do_is_refused():
    recipe = swift()
    with pytest.raises(ConfigError, match="source = 'own'"):
        replace(recipe, belief=replace(recipe.belief, source="dirichlet"))
    with pytest.raises(ConfigError, match="steps of ascent"):
        replace(recipe, inhibition=replace(recipe.inhibition, rounds=1))
