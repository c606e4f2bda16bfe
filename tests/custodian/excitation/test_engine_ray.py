"""A real Ray cluster on this machine, encrypted: the same bytes, killed workers, tokens. Needs the extra ``[ray]``."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from custodian.excitation import engine
from custodian.excitation.order import WorkOrder
from custodian.excitation.pools import Cluster, made_shard, packed
from custodian.excitation.recipe import Generator, load_recipe
from custodian.inhibition import train_identity_networks
from custodian.teacher.training import TEACHER_PLAN, train_teacher
from custodian.workers.cluster import AUTHENTICATION
from ray_cluster import HAS_RAY, needs_ray, running
from small_cohort import cohort
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan


@pytest.fixture(scope="module")
def trained():
    teacher = train_teacher(cohort(), plan=replace(TEACHER_PLAN, epochs=2, batch=32, steps_at_least=0), seed=0)
    return teacher, train_identity_networks(cohort(), architectures=("cnn",), plans=[TrainingPlan(epochs=1, batch=32)])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(engine, "SHARD_STIMULI", 50)


def excite(folder, trained, pool=None, recipe=None, count=200, batch=10, **options):
    chosen = recipe or load_recipe("spectral")
    return engine.excite(
        cohort(), *trained, chosen, count=count, seed=3, folder=folder, batch=batch, pool=pool, **options
    )


def bytes_of(candidates):
    return {name: hashlib.sha256((candidates.folder / name).read_bytes()).hexdigest() for name in candidates.shards}


@needs_ray
@pytest.mark.slow
def test_a_cluster_makes_the_same_bytes_and_a_killed_worker_costs_only_time(tmp_path, trained, cluster):
    address = cluster
    alone = bytes_of(excite(tmp_path / "alone", trained))
    progress = []
    assert bytes_of(excite(tmp_path / "cluster", trained, Cluster(address, 2), on_progress=progress.append)) == alone
    assert progress[-1] == 200

    recipe = load_recipe("spectral")
    longer = replace(recipe, ascent=replace(recipe.ascent, steps=150))
    whole = bytes_of(excite(tmp_path / "whole", trained, recipe=longer))
    killed = []

    def kill():
        while not killed:
            for pid, line in running():
                if "ray::made_shard" in line and not killed:
                    time.sleep(0.3)
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    made = excite(tmp_path / "killed", trained, Cluster(address), recipe=longer)
    killer.join(1)
    assert killed
    assert bytes_of(made) == whole


@needs_ray
@pytest.mark.slow
def test_a_shard_that_fails_by_itself_is_reported_once_by_a_cluster(tmp_path, trained, cluster):
    never = replace(
        load_recipe("paper"), generator=Generator(latent=8, steps=1, threshold_low=0.99998, threshold_high=0.99999)
    )
    with pytest.raises(ConfigError, match=r"^shard \d can't be made: .*threshold_low"):
        excite(tmp_path / "set", trained, Cluster(cluster, 2), recipe=never)


@needs_ray
@pytest.mark.slow
def test_a_cluster_refuses_another_token(tmp_path, cluster):
    other = tmp_path / "token"
    other.write_text("0" * 64)
    # In a process of its own: Ray reads the token once.
    script = f"""
from custodian.workers.cluster import connected
from stimset.errors import TransportError
try:
    with connected({cluster!r}):
        pass
except TransportError as error:
    print("refused:", error)
"""
    environment = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(other)}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert "refused: the Ray cluster at" in told.stdout, told.stderr[-2000:]


def test_a_cluster_without_authentication_is_refused(tmp_path, trained, monkeypatch):
    monkeypatch.setenv(AUTHENTICATION, "disabled")
    with pytest.raises(ConfigError, match="whoever reaches such a cluster"):
        excite(tmp_path / "set", trained, Cluster("127.0.0.1:1"))


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_extra_is_named(tmp_path, trained, monkeypatch):
    monkeypatch.delenv(AUTHENTICATION, raising=False)
    with pytest.raises(ConfigError, match=r"stimset-custodian\[ray\]"):
        excite(tmp_path / "set", trained, Cluster("127.0.0.1:1"))


def test_a_node_makes_the_bytes_from_what_travels(trained):
    order = WorkOrder(cohort(), trained[0], tuple(trained[1]), load_recipe("spectral"), 3, 16, "cpu")
    files = packed(order)
    assert all(isinstance(data, bytes) for data in files.values())
    assert made_shard(files, 2, 20) == ("", order.excitation().shard(2, 20, lambda done: None))
    torn = {**files, "teacher.safetensors": files["teacher.safetensors"][:-1] + b"\0"}
    failure, data = made_shard(torn, 2, 20)
    assert "not what was saved" in failure
    assert data == b""
