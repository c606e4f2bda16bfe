"""Workers make the bytes that one process makes, whatever happens to them."""

import hashlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from custodian.cli import app
from custodian.excitation import engine
from custodian.excitation.engine import ordered
from custodian.excitation.order import ORDER_FILE, WorkOrder
from custodian.excitation.pools import Processes, pool_of
from custodian.excitation.recipe import Generator, load_recipe, shipped
from custodian.excitation.worker import main as serve
from custodian.inhibition import train_identity_networks
from custodian.teacher.training import TEACHER_PLAN, train_teacher
from custodian.workers.orders import versions
from custodian.workers.pieces import MAX_ATTEMPTS, Engine
from small_cohort import cohort
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan


@pytest.fixture(scope="module")
def trained():
    teacher = train_teacher(cohort(), plan=replace(TEACHER_PLAN, epochs=2, batch=32, steps_at_least=0), seed=0)
    return teacher, train_identity_networks(cohort(), architectures=("cnn",), plans=[TrainingPlan(epochs=1, batch=32)])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(engine, "SHARD_STIMULI", 40)


def excite(folder, trained, pool=None, recipe=None, count=200, batch=16, **options):
    chosen = recipe or load_recipe("spectral")
    return engine.excite(
        cohort(), *trained, chosen, count=count, seed=3, folder=folder, batch=batch, pool=pool, **options
    )


def bytes_of(candidates):
    return {name: hashlib.sha256((candidates.folder / name).read_bytes()).hexdigest() for name in candidates.shards}


def children():
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, trained):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "SHARD_STIMULI", 40)
        return bytes_of(excite(tmp_path_factory.mktemp("alone") / "set", trained))


def test_workers_end_in_the_same_bytes_after_an_interruption_and_a_killed_worker(tmp_path, trained, alone):
    class Interrupted(Exception):
        pass

    def stop(done):
        if done > 50:
            raise Interrupted

    with pytest.raises(Interrupted):
        excite(tmp_path / "set", trained, on_progress=stop)
    before, seen, killed = children(), [], []

    def kill_one(done):
        seen.append(done)
        if done > 40 and not killed:
            killed.append(min(children() - before))
            os.kill(killed[0], signal.SIGKILL)

    made = excite(tmp_path / "set", trained, Processes(2), on_progress=kill_one)
    assert bytes_of(made) == alone
    assert (seen[0], seen[-1]) == (40, 200), "what was finished before is not made again"
    assert killed
    assert not children() - before
    assert sorted(p.name for p in made.folder.iterdir()) == sorted([*made.shards, "candidates.json", "job.json"])


def test_two_processes_do_not_make_one_set_at_once(tmp_path, trained, alone):
    def meddle(done):
        if done == 80:
            with pytest.raises(ConfigError, match="another process"):
                excite(tmp_path / "set", trained)

    made = excite(tmp_path / "set", trained, on_progress=meddle)
    assert bytes_of(made) == alone
    (made.folder / ".order-left").mkdir()
    assert bytes_of(excite(tmp_path / "set", trained)) == alone
    assert not (made.folder / ".order-left").exists(), "what a killed process left is cleared"


def test_a_shard_that_fails_by_itself_is_reported_once(tmp_path, trained):
    never = replace(
        load_recipe("paper"), generator=Generator(latent=8, steps=1, threshold_low=0.99998, threshold_high=0.99999)
    )
    before = children()
    with pytest.raises(ConfigError, match=r"^shard [01] can't be made: .*threshold_low") as caught:
        excite(tmp_path / "set", trained, Processes(2), recipe=never, count=80)
    assert "\n" not in str(caught.value)
    assert not children() - before


def test_workers_that_keep_dying_end_the_work(tmp_path, trained, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ConfigError, match=rf"{MAX_ATTEMPTS} workers died over shard \d \(exit status 1\).*--batch"):
        excite(tmp_path / "set", trained, Processes(2))


def test_what_a_worker_says_last_is_told(tmp_path, trained, monkeypatch):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho 'starting' >&2; echo 'no room left' >&2; kill -9 $$\n")
    dying.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(ConfigError, match="killed by signal 9: no room left"):
        excite(tmp_path / "set", trained, Processes(2))


RECIPES = [*shipped(), *(str(f) for f in sorted(Path("tests/benchmarks/recipes").glob("*.toml")))]


@pytest.fixture
def order(tmp_path, trained):
    return ordered(cohort(), *trained, load_recipe("spectral"), seed=3, folder=tmp_path / "prepared", batch=16)


def test_an_order_survives_the_disk_without_recordings_and_pseudonyms(tmp_path, order):
    order.save(tmp_path)
    back = WorkOrder.load(tmp_path)
    assert (back.recipe, back.seed, back.batch, back.device) == (order.recipe, 3, 16, "cpu")
    assert [n.digest() for n in back.identity] == [n.digest() for n in order.identity]
    assert not back.cohort.windows.values.any()
    files = [f for f in tmp_path.iterdir() if f.is_file()]
    assert not [f.name for f in files if b"person-0" in f.read_bytes()]
    assert {f.suffix for f in files} == {".json", ".safetensors"}


@pytest.mark.parametrize("name", RECIPES, ids=lambda name: Path(name).stem)
def test_nothing_but_the_order_is_needed_whatever_the_recipe(tmp_path, trained, name):
    recipe = load_recipe(name)
    cheap = replace(
        recipe, ascent=replace(recipe.ascent, steps=min(2, recipe.ascent.steps), editor=min(3, recipe.ascent.editor)),
        inhibition=replace(recipe.inhibition, rounds=0, architectures=()), generator=replace(recipe.generator, latent=8, threshold_low=0.4),
        membership=replace(recipe.membership, references=2, epochs=1),
        acceptance=replace(recipe.acceptance, threshold_low=0.4, slack=0.9, duplicates=0.0),
    )  # fmt: skip
    given = trained[1] if cheap.uses_inhibition else []
    order = ordered(cohort(), trained[0], given, cheap, seed=3, folder=tmp_path / "prepared", batch=16)
    order.save(tmp_path)
    assert WorkOrder.load(tmp_path).excitation().shard(1, 8, lambda done: None) == order.excitation().shard(
        1, 8, lambda done: None
    )


def test_a_worker_with_other_versions_refuses(tmp_path, order):
    order.save(tmp_path)
    document = json.loads((tmp_path / ORDER_FILE).read_text())
    document["versions"] = {**versions(), "torch": "1.0"}
    (tmp_path / ORDER_FILE).write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"torch .* instead of 1\.0"):
        WorkOrder.load(tmp_path)
    (tmp_path / "asked").write_text(json.dumps({"number": 0, "count": 4}))
    with (tmp_path / "asked").open() as asked, (tmp_path / "answers").open("w") as answers:
        serve(tmp_path, tmp_path, asked, answers)
    assert "install the same versions" in json.loads((tmp_path / "answers").read_text())["failed"]


@pytest.mark.parametrize(
    "options",
    [["--engine", "ray"], ["--ray-address", "127.0.0.1:1"], ["--engine", "local", "--ray-address", "127.0.0.1:1"]],
)
def test_an_address_and_ray_belong_together(tmp_path, options):
    (tmp_path / "custodian.toml").write_text('name = "Test"\n')
    result = CliRunner().invoke(app, ["excite", "--home", str(tmp_path), *options])
    assert result.exit_code == 3
    assert "belong together" in result.stderr


def test_the_cores_are_what_the_command_line_takes():
    assert pool_of(Engine.LOCAL, None, None, "cpu") == Processes(len(os.sched_getaffinity(0)))
    assert pool_of(Engine.LOCAL, 3, None, "cpu") == Processes(3)
