"""The deep audit runs, is killed, goes on, and finds a leak that is there; its result lies sealed beside the set."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, Home, write_secret
from custodian.excitation.candidates import CandidateSet
from custodian.excitation.recipe import load_recipe
from custodian.excitation.sections import Privacy
from custodian.gate.deep import (
    DEEP_FILE,
    deep_facts,
    deep_findings,
    finding_document,
    finding_of,
    kept_findings,
    write_deep,
)
from custodian.shadows.deep import DeepAudit
from custodian.shadows.plan import Plan
from custodian.shadows.running import made_world, packed
from custodian.workers.greeting import ENCRYPTION
from ray_cluster import needs_ray, running
from small_cohort import cohort
from stimset.errors import ConfigError, ReleaseRefused, StimsetError
from stimset.learning.training import TrainingPlan

COHORT = replace(
    cohort(persons=10, per_person=40), attributes={"sex": tuple("male" if p < 5 else "female" for p in range(10))}
)
PLAN = Plan(
    load_recipe("prior"), "spectral_mlp", "plain", TrainingPlan(epochs=2), worlds=6, canary_worlds=4, stimuli=100, windows=30,
    students=("knn",),
)  # fmt: skip


def home_at(folder: Path) -> Home:
    home = Home(folder)
    home.create()
    for name in (PSEUDONYM_KEY_FILE, GATE_KEY_FILE):
        write_secret(home.keys / name, b"k" * 32)
    COHORT.save(home.cohort)
    return home


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Home, DeepAudit]:
    home = home_at(tmp_path_factory.mktemp("home"))
    audit = DeepAudit.of(home, COHORT, PLAN, set_name="main")
    assert audit.estimate_s(2) > 0
    steps = []
    audit.run(workers=1, on_step=lambda share, note: steps.append(share))
    assert steps == sorted(steps)
    assert steps[-1] == PLAN.total
    return home, audit


def test_raw_windows_are_caught_noise_is_not_and_every_way_has_its_finding(done):
    _, audit = done
    found = {f.name: f for f in audit.findings()}
    ways = {"membership", "membership-student-knn", "membership-stimuli", "membership-singled-out"}
    assert set(found) == {*ways, "attribute-sex", "reference-teacher", "canary"}
    for name in ("membership", "membership-stimuli", "membership-singled-out"):
        assert found[name].positive_control > 0.9
        assert found[name].negative_control < 0.6
        assert set(found[name].curves) == {"stimuli", "raw windows", "noise"}
        low, high = found[name].intervals["auc"]
        assert low <= found[name].value <= high
    # Each person of this cohort has a rhythm of their own, which averages over five persons give away.
    assert found["membership-stimuli"].value > 0.65
    assert {"rmia-auc", "window-auc", "tpr-at-1", "persons", "worlds", "pairs"} <= set(
        found["membership-stimuli"].measurements
    )
    assert found["attribute-sex"].positive_control > 0.1
    assert found["canary"].positive_control > found["canary"].negative_control
    assert "auc" in found["canary"].missing, "two canaries are too few for an interval, and that is said"
    assert found["reference-teacher"].positive_control is None


def test_what_can_not_be_measured_is_said(done):
    _, audit = done
    assert audit.left_out == {}
    bare = replace(audit, cohort=replace(COHORT, attributes={}), plan=replace(PLAN, canary_worlds=0))
    assert set(bare.left_out) == {"attribute", "canary"}
    uniform = replace(audit, cohort=replace(COHORT, attributes={"sex": ("male",) * 10}))
    assert set(uniform.left_out) == {"attribute-sex"}


def test_a_finished_audit_costs_nothing_and_a_lost_world_is_made_again(done):
    _, audit = done
    before = audit.worlds[2].result()
    audit.worlds[2].file.write_bytes(b"torn")
    again = replace(audit)
    assert [world.number for world in again.left] == [2]
    again.run(workers=1)
    after = again.worlds[2].result()
    assert before[0].keys() == after[0].keys()
    for key in before[0]:
        np.testing.assert_array_equal(before[0][key], after[0][key], err_msg=key)
    assert again.estimate_s(2) == 0


def test_findings_of_missing_worlds_are_refused(done, tmp_path):
    _, audit = done
    with pytest.raises(ConfigError, match="worlds are missing"):
        replace(audit, folder=tmp_path).findings()


def test_no_window_and_no_stimulus_stays_behind(done):
    _, audit = done
    assert {path.name for path in audit.folder.iterdir()} == {world.file.name for world in audit.worlds}
    assert all(path.stat().st_mode & 0o077 == 0 for path in audit.folder.iterdir())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_it_goes_on_where_it_was(tmp_path, workers):
    home = home_at(tmp_path / "home")
    script = tmp_path / "audit.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        f"sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2] / 'support')]!r}\n"
        "from test_deep_audit import COHORT, PLAN, DeepAudit, Home\n"
        "if __name__ == '__main__':\n"
        f"    DeepAudit.of(Home(Path(sys.argv[1])), COHORT, PLAN, set_name='main').run(workers={workers})\n"
    )
    command = [sys.executable, str(script), str(home.root)]
    audit = DeepAudit.of(home, COHORT, PLAN, set_name="main")
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while len(audit.left) == PLAN.total and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    kept = {world.file: world.file.stat().st_mtime_ns for world in audit.worlds if world.result()}
    assert kept
    audit.run(workers=1)
    assert not audit.left
    assert all(file.stat().st_mtime_ns == changed for file, changed in kept.items()), (
        "what was finished is not made again"
    )
    assert audit.findings()


def scores_of(audit: DeepAudit) -> dict[str, bytes]:
    return {f"{w.number} {key}": array.tobytes() for w in audit.worlds for key, array in w.result()[0].items()}


def test_workers_find_the_same_and_one_that_is_killed_costs_only_time(tmp_path, done):
    _, alone = done
    audit = DeepAudit.of(home_at(tmp_path / "home"), COHORT, PLAN, set_name="main")
    killed = []

    def kill_one(share: float, note: str) -> None:
        told.append(share)
        if share and not killed:
            killed.append(next(pid for pid, line in running() if f"custodian.shadows.worker {audit.folder}" in line))
            os.kill(killed[0], signal.SIGKILL)

    told: list[float] = []
    audit.run(workers=2, on_step=kill_one)
    assert killed
    assert told[-1] == PLAN.total
    assert scores_of(audit) == scores_of(alone)
    assert not [line for _, line in running() if str(audit.folder) in line], "no worker is left"


def test_a_world_that_fails_by_itself_is_reported_once(tmp_path):
    audit = DeepAudit.of(home_at(tmp_path / "home"), COHORT, replace(PLAN, canary_worlds=0), set_name="main")
    (audit.cohort_folder / "windows.safetensors").write_bytes(b"torn")
    for workers in (1, 2):
        with pytest.raises(StimsetError, match=r"^world-00\d can't be made: ") as caught:
            audit.run(workers=workers)
        assert "\n" not in str(caught.value)


def test_recordings_travel_to_a_cluster_only_encrypted(done, monkeypatch):
    _, audit = done
    monkeypatch.delenv(ENCRYPTION, raising=False)
    with pytest.raises(ConfigError, match="RAY_USE_TLS=1 is not set: patients' recordings"):
        replace(audit, folder=audit.folder / "elsewhere").run(address="127.0.0.1:1")


def test_a_node_finds_the_same_from_what_travels_and_keeps_nothing(tmp_path, done, monkeypatch):
    _, audit = done
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    failure, data = made_world(packed(audit.cohort_folder, PLAN), 3, 1)
    assert failure == ""
    there = replace(audit.worlds[3], folder=tmp_path)
    there.keep(data)
    for key, array in audit.worlds[3].result()[0].items():
        np.testing.assert_array_equal(there.result()[0][key], array, err_msg=key)
    assert [path.name for path in tmp_path.iterdir()] == [there.file.name]
    assert made_world({**packed(audit.cohort_folder, PLAN), "cohort.json": b"{"}, 3, 1)[0]


@needs_ray
@pytest.mark.slow
def test_an_encrypted_cluster_finds_the_same_and_a_killed_worker_costs_only_time(tmp_path, done, cluster):
    _, alone = done
    audit = DeepAudit.of(home_at(tmp_path / "home"), COHORT, PLAN, set_name="main")
    killed = []

    def kill() -> None:
        while not killed:
            for pid, line in running():
                if "ray::made_world" in line and not killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.02)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    audit.run(workers=None, address=cluster)
    killer.join(1)
    assert killed
    assert scores_of(audit) == scores_of(alone)


def test_a_recipe_that_reads_with_noise_spends_nothing_in_shadow_worlds(tmp_path):
    home = home_at(tmp_path / "home")
    recipe = replace(PLAN.recipe, privacy=Privacy(epsilon=500.0, delta=1e-3))
    audit = DeepAudit.of(home, COHORT, replace(PLAN, recipe=recipe, canary_worlds=0), set_name="main")
    audit.worlds[0].run()
    assert audit.worlds[0].result()
    assert [path.name for path in audit.folder.iterdir()] == [audit.worlds[0].file.name]
    assert not home.database.exists()


def candidate_set(home: Home) -> CandidateSet:
    folder = home.candidates("main")
    folder.mkdir(parents=True)
    made = CandidateSet(folder, COHORT.spec, {}, True, 0, {}, {}, ())
    made.save()
    return made


def test_findings_lie_sealed_beside_the_set(done, tmp_path):
    _, audit = done
    home = home_at(tmp_path / "home")
    made = candidate_set(home)
    assert kept_findings(home, "main") == []
    with pytest.raises(ConfigError, match="had no deep audit"):
        deep_findings(home, "main")
    findings = audit.findings()
    file = write_deep(home, made, findings, audit.facts())
    assert deep_findings(home, "main") == kept_findings(home, "main") == findings
    assert deep_facts(home, "main")["plan"]["worlds"] == PLAN.worlds
    assert "teacher" in deep_facts(home, "main")["kappas"]
    assert all(finding_of(json.loads(json.dumps(finding_document(f)))) == f for f in findings)
    untouched = file.read_text()
    document = json.loads(untouched)
    document["findings"][0]["measurements"]["auc"] = 0.5
    file.write_text(json.dumps(document))
    with pytest.raises(ReleaseRefused, match="not what the gate wrote"):
        deep_findings(home, "main")
    (made.folder / DEEP_FILE).write_text(untouched)
    replace(made, seed=1).save()
    with pytest.raises(ReleaseRefused, match="changed since"):
        kept_findings(home, "main")
