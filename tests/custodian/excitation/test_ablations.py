"""Every ablation of the benchmarks runs on the small cohort, and every drive moves what it says that it moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from custodian.excitation.assembly import excitation_of
from custodian.excitation.objectives import Objective, Responses, log_band_power
from custodian.excitation.preparation import given, prepare
from custodian.excitation.recipe import load_recipe, recipe_of, shipped
from custodian.excitation.sections import Acceptance, Ascent, Belief, Features, Spectrum, Weights
from custodian.excitation.taps import embed, tapped
from custodian.inhibition import identity, membership
from small_cohort import SPEC, cohort
from small_teacher import identity as trained_identity
from small_teacher import teacher
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan

FOLDER = Path(__file__).parents[2] / "benchmarks" / "recipes"
ABLATIONS = sorted(path.stem for path in FOLDER.glob("*.toml"))
PRIOR = load_recipe("prior")


def stepped(weights, steps=25, **sections):
    """The prior's draws, stepped by these weights."""
    return replace(PRIOR, **{"ascent": Ascent(steps=steps), "objective": Weights(**weights), **sections})


def job_of(chosen, batch=100):
    return excitation_of(cohort(), teacher(), (), (), chosen, seed=5, batch=batch, device="cpu")


def made(chosen, count=60, batch=100):
    arrays = load(job_of(chosen, batch).shard(0, count, lambda done: None))
    return arrays["values"], arrays["probabilities"]


def cost(drive, chosen, values):
    """What one drive of a recipe costs stimuli that were made from the first shard's draws."""
    job = job_of(chosen)
    own = Objective(tuple(d for d in job.objective.drives if d.name == drive))
    start = torch.from_numpy(job.prior.sample(len(values), np.random.default_rng([5, 0]))[0])
    wanted = torch.from_numpy(teacher().predict(start.numpy()).astype(np.float32))
    with torch.no_grad(), tapped(job.teacher, own.taps) as seen:
        x = torch.from_numpy(values)
        return float(own(Responses(x, start, wanted, job.teacher(x), features=seen))[0])


@pytest.mark.parametrize(
    ("drive", "weight"),
    [
        ("features", 0.3), ("texture", 1.0), ("diversity", 2.0), ("agreement", 5.0), ("disagreement", 3.0), ("variation", 1.0),
        ("energy", 1.0),
    ],
)  # fmt: skip
def test_a_drive_lowers_its_own_cost(drive, weight):
    chosen, without = stepped({"belief": 0.1, drive: weight}), stepped({"belief": 0.1})
    before, after, left_alone = (cost(drive, chosen, made(r)[0]) for r in (PRIOR, chosen, without))
    assert after < before - 0.05 * abs(before)
    assert after < left_alone


def test_a_named_layer_is_matched_as_batch_norm_layers_are():
    chosen = stepped({"belief": 0.1, "features": 0.3}, features=Features(("members.0.blocks.1",)))
    assert cost("features", chosen, made(chosen)[0]) < 0.9 * cost("features", chosen, made(PRIOR)[0])
    with pytest.raises(ConfigError, match="no layer 'blocks\\.7'"):
        job_of(replace(chosen, features=Features(("blocks.7",))))


@pytest.mark.parametrize("of", ["own", "class"])
def test_a_spectrum_holds_stimuli_back_that_a_belief_pushes(of):
    free = stepped({"belief": 1.0}, belief=Belief("class"))
    held = stepped({"belief": 1.0, "spectrum": 1.0}, belief=Belief("class"), spectrum=Spectrum(of, 12))
    start, free_values, held_values = (log_band_power(torch.from_numpy(made(r)[0]), 12) for r in (PRIOR, free, held))
    moved = lambda x: float((x.mean(0) - start.mean(0)).square().mean())  # noqa: E731
    assert moved(held_values) < 0.7 * moved(free_values)


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_runs_and_says_what_it_reads(name, tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "IDENTITY_PLAN", TrainingPlan(epochs=1, batch=32))
    monkeypatch.setattr(membership, "TEACHER_PLAN", TrainingPlan(epochs=1, batch=32))
    loaded = load_recipe(str(FOLDER / f"{name}.toml"))
    assert loaded.name == name
    assert recipe_of(loaded.document()) == loaded
    architectures = ("mlp", "spectral_mlp") if loaded.trains_identity else ()
    quick = replace(
        loaded, ascent=replace(loaded.ascent, steps=min(3, loaded.ascent.steps)),
        inhibition=replace(loaded.inhibition, architectures=architectures, epochs=1, pilot=50),
        membership=replace(loaded.membership, architecture="mlp", epochs=1),
        acceptance=replace(loaded.acceptance, slack=0.9, threshold_low=0.3, threshold_high=0.31),
    )  # fmt: skip
    nets = prepare(cohort(), teacher(), given(quick, trained_identity()), quick, seed=0, folder=tmp_path, batch=100)
    job = excitation_of(cohort(), teacher(), nets.identity, nets.references, quick, seed=5, batch=100, device="cpu")
    arrays = load(job.shard(0, 20, lambda done: None))
    assert arrays["values"].shape == (20, *SPEC.shape)
    assert np.abs(arrays["values"]).max() <= SPEC.clip + 1e-5
    np.testing.assert_allclose(arrays["probabilities"].sum(1), 1, atol=1e-5)
    assert len(job.aggregates) == len(quick.reads)
    for entry in job.aggregates:
        assert set(entry) >= {"name", "numbers", "bound", "epsilon", "delta"}


@pytest.mark.parametrize("name", ["deepinversion", "zskd"])
def test_what_was_published_reaches_the_beliefs_that_it_wants(name):
    assert name in shipped()
    published = load_recipe(name)
    quick = replace(published, ascent=replace(published.ascent, steps=60, learning_rate=0.05))
    _, believed = made(quick)
    _, before = made(load_recipe("noise"))
    assert believed.max(1).mean() > before.max(1).mean()
    assert len(set(believed.argmax(1))) == 3, "every class is reached"
    assert sum("BatchNorm" in read for read in published.reads) == (name == "deepinversion")
    assert not any("spectrum" in read for read in published.reads)


def test_groups_stay_whole_whatever_the_batch():
    coupled = stepped({"belief": 1.0, "diversity": 1.0, "features": 0.1}, ascent=Ascent(steps=3, group=10))
    whole, by_tens, by_small = (made(coupled, 35, batch=b)[0] for b in (100, 10, 3))
    np.testing.assert_allclose(whole, by_tens, atol=2e-3)
    np.testing.assert_array_equal(by_tens, by_small)
    other = made(replace(coupled, ascent=Ascent(steps=3, group=7)), 35)[0]
    assert np.abs(whole - other).max() > 1e-2, "the group matters, and stands in the recipe"


def test_pairs_beside_the_border_part():
    pairs = stepped({"belief": 1.0}, 40, belief=Belief("boundary", margin=0.3))
    _, believed = made(pairs, 40)
    assert np.mean(believed[::2].argmax(1) != believed[1::2].argmax(1)) > 0.5


def test_accepted_stimuli_are_as_sure_as_strangers_windows():
    matched = stepped({"belief": 1.0}, 3, acceptance=Acceptance("quantiles", bins=2, slack=0.1, attempts=30))
    _, believed = made(matched, 80)
    true = teacher().predict(cohort().validation.values)
    np.testing.assert_allclose(
        np.bincount(believed.argmax(1), minlength=3) / 80, np.bincount(true.argmax(1), minlength=3) / len(true), atol=0.1
    )
    _, taken_as_they_come = made(replace(matched, acceptance=Acceptance()), 80)
    sure, unmatched, strangers = (np.sort(x.max(1)) for x in (believed, taken_as_they_come, true))
    apart = lambda x: np.abs(np.quantile(x, [0.25, 0.5, 0.75]) - np.quantile(strangers, [0.25, 0.5, 0.75])).mean()  # noqa: E731
    assert apart(sure) < 0.7 * apart(unmatched)


def test_duplicates_are_left_out_and_an_empty_shard_says_why():
    apart = stepped({"belief": 1.0}, 2, acceptance=Acceptance(duplicates=0.3))
    described = embed(teacher().network, made(apart, 40)[0])
    distance = np.linalg.norm(described[:, None] - described[None], axis=-1) + 1e9 * np.eye(40)
    plain = embed(teacher().network, made(PRIOR, 40)[0])
    between = np.linalg.norm(plain[:, None] - plain[None], axis=-1) + 1e9 * np.eye(40)
    assert distance.min() > between.min()
    never = stepped({"belief": 1.0}, 1, acceptance=Acceptance("threshold", 0.99999, 0.999999, attempts=2))
    with pytest.raises(ConfigError, match=r"of 40 stimuli were accepted among 80 candidates; raise attempts"):
        made(never, 40)


def test_agreement_needs_a_teacher_of_several_members():
    alone = replace(teacher(), network=teacher().network.members[0], architecture="cnn")
    with pytest.raises(ConfigError, match="several members"):
        excitation_of(cohort(), alone, (), (), stepped({"agreement": 1.0}), seed=0, batch=10, device="cpu")
