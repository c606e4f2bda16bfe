"""Networks of a set: trained once, kept, and used by its shards."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load

from custodian.excitation import engine
from custodian.excitation.assembly import excitation_of
from custodian.excitation.order import WorkOrder
from custodian.excitation.preparation import given, prepare
from custodian.excitation.recipe import load_recipe
from custodian.excitation.sections import Acceptance, Ascent, Inhibition, Membership
from custodian.inhibition import identity, membership, retraining
from custodian.inhibition.membership import parts
from custodian.inhibition.retraining import pilot_rows
from small_cohort import cohort
from small_teacher import identity as trained_identity
from small_teacher import teacher
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(identity, "IDENTITY_PLAN", TrainingPlan(epochs=2, batch=32))
    monkeypatch.setattr(membership, "TEACHER_PLAN", TrainingPlan(epochs=2, batch=32))


def recipe(weights=(), **sections):
    spectral = load_recipe("spectral")
    return replace(spectral, ascent=Ascent(steps=2), objective=replace(spectral.objective, **dict(weights)), **sections)


def prepared(folder, chosen, networks=None, **options):
    networks = trained_identity() if networks is None else networks
    return prepare(cohort(), teacher(), given(chosen, networks), chosen, seed=0, folder=folder, batch=200, **options)


def test_the_shipped_recipe_takes_what_train_left_and_keeps_nothing(tmp_path):
    made = prepared(tmp_path / "p", load_recipe("spectral"))
    assert made.identity == trained_identity()
    assert made.references == ()
    assert not (tmp_path / "p").exists()
    assert prepared(tmp_path / "p", load_recipe("prior"), ()).identity == ()
    with pytest.raises(ConfigError, match="no identity networks"):
        prepared(tmp_path / "p", load_recipe("spectral"), ())


def test_a_recipes_own_networks_and_rounds_are_trained_once(tmp_path):
    chosen = recipe(inhibition=Inhibition(architectures=("mlp", "spectral_mlp"), epochs=2, mixup=0.4, noise=(0.1, 0.3), rounds=1, pilot=60))
    told = []
    first = prepared(tmp_path / "p", chosen, (), on_step=lambda epoch, note: told.append(note))
    assert [n.architecture for n in first.identity] == ["mlp", "spectral_mlp"] * 4
    assert [n.facts["plan"]["noise"] for n in first.identity] == [0.1, 0.1, 0.3, 0.3] * 2, "each architecture under each noise"
    assert len({n.digest() for n in first.identity}) == 8
    assert any("identity network mlp" in note for note in told)
    assert first.identity[0].facts["plan"]["mixup"] == 0.4

    def never(*_, **__):
        raise AssertionError("trained again")

    again = prepared(tmp_path / "p", chosen, (), on_step=never)
    assert [n.digest() for n in again.identity] == [n.digest() for n in first.identity]
    (tmp_path / "p" / "round-1.txt").unlink()
    third = prepared(tmp_path / "p", chosen, ())
    assert [n.digest() for n in third.identity] == [n.digest() for n in first.identity], "interrupted work ends in the same networks"


def test_fresh_networks_learn_from_inhibited_windows(monkeypatch):
    seen = {}
    train = retraining.train_identity_networks

    def spy(cohort, **options):
        seen.update(options)
        return train(cohort, **options)

    monkeypatch.setattr(retraining, "train_identity_networks", spy)
    settings = Inhibition(architectures=("mlp",), epochs=1, pilot=60)
    made = retraining.retrain_identity(cohort(), settings, lambda windows: windows + 100, seed=3)
    values, whose = seen["also"]
    assert values.shape == (60, *cohort().spec.shape)
    assert values.min() > 90, "what the ascent made of them, not the windows themselves"
    assert set(np.bincount(whose)[np.unique(whose)]) == {10}, "everybody equally"
    assert made[0].outputs == cohort().training_persons


def test_pilots_are_dealt_out_person_by_person():
    person = np.repeat([0, 1, 2], [100, 3, 50])
    rows = pilot_rows(person, 23, np.random.default_rng(0))
    assert list(np.bincount(person[rows])) == [10, 3, 10]
    assert len(set(rows)) == 23
    assert len(pilot_rows(person, 500, np.random.default_rng(0))) == 153


def test_references_are_each_trained_without_some_persons(tmp_path):
    chosen = recipe({"forget": 0.5}, membership=Membership(references=3, share=0.5, architecture="mlp", epochs=2, labels="references"))
    made = prepared(tmp_path / "p", chosen)
    assert [n.facts["persons"] for n in made.references] == [3, 3, 3]
    job = excitation_of(cohort(), teacher(), made.identity, made.references, chosen, seed=0, batch=50, device="cpu")
    values = cohort().training.values[:20]
    mean = np.mean([n.predict(values) for n in made.references], axis=0)
    np.testing.assert_allclose(job.labels(values), mean, atol=1e-6)
    assert [n.digest() for n in prepared(tmp_path / "p", chosen).references] == [n.digest() for n in made.references]
    proven = replace(teacher(), facts={**teacher().facts, "epsilon": 8.0, "delta": 1e-5})
    with pytest.raises(ConfigError, match="undoes this teacher's epsilon"):
        prepare(cohort(), proven, trained_identity(), chosen, seed=0, folder=tmp_path / "q", batch=50)


def test_forgetting_drives_away_what_the_teacher_alone_believes(tmp_path):
    chosen = recipe({"belief": 0.2, "near": 0.0, "identity": 0.0, "forget": 3.0}, membership=Membership(references=3, epochs=2))
    chosen = replace(chosen, ascent=Ascent(steps=25))
    nets = prepared(tmp_path / "p", chosen)

    def alone(made_by):
        job = excitation_of(cohort(), teacher(), (), nets.references, made_by, seed=0, batch=50, device="cpu")
        values = load(job.shard(0, 50, lambda done: None))["values"]
        common = np.mean([n.predict(values) for n in nets.references], axis=0)
        return float((common * np.log(common / job.labels(values))).sum(1).mean())

    assert alone(chosen) < 0.5 * alone(replace(chosen, objective=replace(chosen.objective, forget=0.0)))


def test_retrained_networks_read_what_those_before_them_no_longer_can(tmp_path):
    settings = Inhibition(architectures=("mlp",), epochs=12, noise=(0.1,), shift=0.0, rounds=1, pilot=200)
    chosen = replace(recipe({"identity": 3.0, "near": 0.0}, inhibition=settings), ascent=Ascent(steps=15))
    before, after = prepared(tmp_path / "p", chosen, ()).identity
    job = excitation_of(cohort(), teacher(), [before], (), chosen, seed=0, batch=200, device="cpu")
    windows = cohort().training
    inhibited = job.climb(windows.values, teacher().predict(windows.values).astype(np.float32))
    person = np.searchsorted(cohort().training_person_indices, windows.person)
    right = [np.mean(network.predict(inhibited).argmax(1) == person) for network in (before, after)]
    assert right[1] > right[0] + 0.1


def test_a_set_with_all_of_it_goes_on_with_the_networks_that_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SHARD_STIMULI", 15)
    chosen = recipe(
        {"forget": 0.5, "diversity": 0.1, "texture": 0.1}, membership=Membership(references=2, architecture="mlp", epochs=2),
        inhibition=Inhibition(architectures=("mlp",), epochs=2, rounds=1, pilot=60), acceptance=Acceptance(duplicates=0.01),
    )  # fmt: skip
    notes = []

    def excite(name, **options):
        return engine.excite(cohort(), teacher(), (), chosen, count=40, seed=1, folder=tmp_path / name, batch=50, **options)

    class Killed(Exception):
        pass

    def die(done):
        if done > 20:
            raise Killed

    whole = excite("whole", on_preparation=notes.append)
    assert any("reference 2" in note for note in notes)
    with pytest.raises(Killed):
        excite("cut", on_progress=die)
    notes.clear()
    resumed = excite("cut", on_preparation=notes.append)
    assert notes == [], "nothing is trained again"
    np.testing.assert_array_equal(whole.arrays().values, resumed.arrays().values)
    assert len(whole.aggregates) == len(chosen.reads) == 3
    order = engine.ordered(cohort(), teacher(), (), chosen, seed=1, folder=tmp_path / "whole" / engine.PREPARED, batch=50)
    order.save(tmp_path / "order")
    shard = WorkOrder.load(tmp_path / "order").excitation().shard(0, 15, lambda done: None)
    assert shard == (whole.folder / "shard-00000.safetensors").read_bytes(), "a worker makes the same bytes"


@pytest.mark.parametrize(("persons", "references", "share"), [(24, 4, 0.5), (7, 5, 0.6), (30, 3, 0.3)])
def test_every_person_is_left_out_about_equally_often(persons, references, share):
    found = parts(list(range(10, 10 + persons)), Membership(references=references, share=share), seed=1)
    assert len({len(p) for p in found}) == 1
    assert len(found[0]) == round(share * persons)
    counts = np.bincount(np.concatenate(found), minlength=10 + persons)[10:]
    assert counts.max() - counts.min() <= 2
    assert counts.min() >= 0
    with pytest.raises(ConfigError, match="share"):
        parts([1, 2], Membership(references=2, share=0.1), seed=0)
