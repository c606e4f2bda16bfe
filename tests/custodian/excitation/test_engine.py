"""Sets are deterministic, survive being killed, and refuse to be mixed."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from custodian.excitation import engine
from custodian.excitation.candidates import CandidateSet
from custodian.excitation.recipe import Generator, load_recipe
from custodian.inhibition import train_identity_networks
from custodian.teacher.training import TEACHER_PLAN, train_teacher
from small_cohort import SPEC, cohort
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan

PLAN = TrainingPlan(epochs=6, batch=32)


@pytest.fixture(scope="module")
def trained():
    teacher = train_teacher(cohort(), plan=replace(TEACHER_PLAN, epochs=12, batch=32, steps_at_least=0), seed=0)
    return teacher, train_identity_networks(cohort(), architectures=("cnn",), plans=[PLAN])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(engine, "SHARD_STIMULI", 20)


def excite(folder, trained, recipe="spectral", count=50, **options):
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    return engine.excite(cohort(), *trained, chosen, count=count, seed=3, folder=folder, batch=16, **options)


def bytes_of(candidates):
    return {name: hashlib.sha256((candidates.folder / name).read_bytes()).hexdigest() for name in candidates.shards}


@pytest.mark.parametrize("recipe", ["spectral", "prior", "noise"])
def test_the_same_seed_gives_the_same_bytes(tmp_path, trained, recipe):
    first, again = excite(tmp_path / "a", trained, recipe), excite(tmp_path / "b", trained, recipe)
    assert bytes_of(first) == bytes_of(again)
    arrays = first.arrays()
    assert arrays.values.shape == (50, *SPEC.shape)
    assert arrays.values.dtype == np.float32
    np.testing.assert_allclose(arrays.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(trained[0].predict(arrays.values), arrays.probabilities, atol=1e-5)


def test_killed_work_goes_on_to_the_same_bytes(tmp_path, trained):
    whole = bytes_of(excite(tmp_path / "whole", trained))

    class Killed(Exception):
        pass

    def die(done):
        if done > 25:
            raise Killed

    with pytest.raises(Killed):
        excite(tmp_path / "cut", trained, on_progress=die)
    with pytest.raises(ConfigError, match="resumes"):
        CandidateSet.load(tmp_path / "cut")
    kept = (tmp_path / "cut" / "shard-00000.safetensors").stat().st_mtime_ns
    resumed = excite(tmp_path / "cut", trained)
    assert bytes_of(resumed) == whole
    assert (tmp_path / "cut" / "shard-00000.safetensors").stat().st_mtime_ns == kept, "finished shards are not made twice"


def test_another_jobs_folder_is_not_touched(tmp_path, trained):
    excite(tmp_path / "set", trained, "prior", count=20)
    with pytest.raises(ConfigError, match="another recipe"):
        excite(tmp_path / "set", trained, "noise", count=20)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        excite(tmp_path / "own", trained, "noise", count=20)
    assert (tmp_path / "own" / "thesis.txt").read_text() == "precious"


def test_inhibition_needs_identity_networks(tmp_path, trained):
    with pytest.raises(ConfigError, match="no identity networks"):
        engine.excite(cohort(), trained[0], [], load_recipe("spectral"), count=10, seed=0, folder=tmp_path / "x")


def test_the_published_recipe_makes_stimuli_that_the_teacher_is_sure_of(tmp_path, trained):
    recipe = replace(load_recipe("paper"), generator=Generator(latent=32, threshold_low=0.6))
    arrays = excite(tmp_path / "paper", trained, recipe, count=12).arrays()
    assert (arrays.probabilities.max(1) > 0.6).all()
    assert np.abs(arrays.values).max() <= SPEC.clip
    again = excite(tmp_path / "again", trained, recipe, count=12).arrays()
    np.testing.assert_array_equal(arrays.values, again.values)


def test_the_description_survives_the_disk_and_the_digest_tells_changes(tmp_path, trained):
    made = excite(tmp_path / "set", trained, "prior", count=20)
    back = CandidateSet.load(made.folder)
    assert back == made
    before = made.digest()
    shard = made.folder / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert back.digest() != before
    assert "cohort" not in made.teacher
