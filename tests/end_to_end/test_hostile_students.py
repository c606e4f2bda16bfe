"""Students at a real daemon: an honest one is answered, each hostile one is refused with a reason, and the daemon serves on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import evaluation_world
import student_models
from consumer import submit as submitting
from consumer.cli import app as consumer_app
from consumer.standing import current_root
from custodian.cli import app as custodian_app
from custodian.evaluation.receiving import Spool
from stimset.errors import PolicyDenied

FEW = ("external data by a path upwards", "endless loop", "truncated")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = evaluation_world.world(tmp_path_factory.mktemp("students"), queries=3)
    made.start()
    yield made
    made.close()


def run(app, *arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return done.exit_code, done.stdout + done.stderr


def as_json(app, *arguments: object) -> dict:
    done = CliRunner().invoke(app, [*(str(a) for a in arguments), "--format", "json"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def refused(world, data: bytes, tmp_path: Path) -> str:
    file = tmp_path / "hostile.onnx"
    file.write_bytes(data)
    with world.client(world.daemons[0].address) as client, pytest.raises(submitting.ModelRefused) as caught:
        submitting.submit(client, current_root(world.custodian), file, release_id="tiny-0001")
    return str(caught.value)


def test_from_the_model_to_a_report_that_a_stranger_can_check(world, tmp_path):
    daemon = world.daemons[0]
    model = tmp_path / "student.onnx"
    model.write_bytes(student_models.by_mean(release="tiny-0001"))
    at = ("--home", world.consumer.root)
    sent = as_json(consumer_app, "submit", model, "--address", daemon.address, *at)
    report = Path(sent["report"])
    assert report.name == "student.onnx.evaluation.json" and sent["release"] == "tiny-0001"
    held = as_json(consumer_app, "verify", report, *at)
    assert held["verified"] and held["measures"] == sent["measures"]
    root = ("--root", world.home.root_file, "--fingerprint", world.custodian.fingerprint)
    assert as_json(consumer_app, "verify", report, *root)["model_sha256"] == sent["model_sha256"]

    ours = as_json(consumer_app, "budget", "--address", daemon.address, *at)
    theirs = as_json(custodian_app, "budget", "log", "--subject", "acme", "--home", world.home.root)
    assert (ours["queries"], ours["left"]) == (3, 2)
    assert [e["hash"] for e in ours["entries"]] == [e["hash"] for e in theirs["entries"]]
    events = as_json(custodian_app, "log", "show", "--home", world.home.root)
    assert [e for e in events["records"] if e.get("event") == "query"]

    damaged = bytearray(report.read_bytes())
    damaged[damaged.index(b"payload") + 40] ^= 1
    report.write_bytes(damaged)
    assert run(consumer_app, "verify", report, *at)[0] in (4, 5)
    assert not any((world.home.evaluations / "incoming").iterdir())


@pytest.mark.parametrize("name", FEW)
def test_a_hostile_model_is_refused_and_the_daemon_serves_on(world, tmp_path, name):
    make, reason = student_models.HOSTILE[name]
    assert re.search(reason, refused(world, make(), tmp_path))
    with world.client(world.daemons[0].address) as client:
        assert client.list_releases()


def test_a_worker_apart_answers_in_the_daemons_place(world, tmp_path):
    """As it is run where the daemon's service is kept from windows and keys."""
    model = tmp_path / "student.onnx"
    model.write_bytes(student_models.by_mean(3.0, release="tiny-0001"))
    command = [sys.executable, "-c", "from custodian.cli import main; main()", "evaluation", "work", "--home", world.home.root]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as worker:
        try:
            deadline = time.monotonic() + 60
            while not Spool(world.home).attended and time.monotonic() < deadline:
                time.sleep(0.05)
            with world.client(world.daemons[0].address) as client:
                report, found = submitting.submit(client, current_root(world.custodian), model)
                assert report and found.release_id == "tiny-0001"
            assert run(custodian_app, "evaluation", "work", "--once", "--home", world.home.root)[0] == 3
        finally:
            worker.terminate()
        assert "acme: report" in worker.stderr.read()
    assert not Spool(world.home).attended and not Spool(world.home).questions()
    assert not list((world.home.evaluations / "answered").iterdir())


def test_a_release_that_is_not_granted_is_not_evaluated_on(world, tmp_path):
    model = tmp_path / "student.onnx"
    model.write_bytes(student_models.by_mean())
    with world.client(world.daemons[0].address) as client, pytest.raises(PolicyDenied):
        submitting.submit(client, current_root(world.custodian), model, release_id="other-0001")


@pytest.mark.slow
def test_every_hostile_model_is_refused_or_stopped_in_time(world, tmp_path):
    """Thirty of them, one after the other; the daemon's memory and its answers stay what they were."""
    daemon = world.daemons[0]
    before = memory(daemon.process.pid)
    for name, (make, reason) in student_models.HOSTILE.items():
        words = refused(world, make(), tmp_path)
        assert re.search(reason, words), (name, words)
        with world.client(daemon.address) as client:
            assert client.list_releases(), name
    assert len(student_models.HOSTILE) >= 20
    assert memory(daemon.process.pid) - before < 64 << 20
    assert daemon.process.poll() is None
    assert daemon.stop() == 0
    loaded = daemon.modules_file.read_text().split("\n")
    assert not {"torch", "sklearn", "onnx", "onnxruntime", "custodian.cohort"} & set(loaded)
