"""Jobs as they are: real processes that work, end, are killed, and go on."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import small_cohort
from custodian.cli import app
from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, Home, write_secret
from custodian.jobs import Job, Jobs, State
from custodian.jobs.jobs import MAX_ATTEMPTS
from custodian.jobs.processes import birth, end_group, held, is_held
from custodian.jobs.records import CANCEL_FILE, STATE_FILE
from stimset.errors import ConfigError

RUN = CliRunner()
LONG = ["--architecture", "cnn", "--regime", "plain", "--epochs", "1000", "--device", "cpu"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = Home(tmp_path_factory.mktemp("jobs") / "home")
    made.create()
    made.settings_file.write_text('name = "Test Hospital"\n')
    for name in (PSEUDONYM_KEY_FILE, GATE_KEY_FILE):
        write_secret(made.keys / name, bytes(32))
    small_cohort.cohort().save(made.cohort)
    return made


@pytest.fixture
def empty(tmp_path):
    made = Home(tmp_path / "home")
    made.create()
    made.settings_file.write_text('name = "Test Hospital"\n')
    return made


@pytest.fixture
def jobs(home):
    made = Jobs(home)
    yield made
    for job in made.list():
        if not job.state.ended:
            made.cancel(job.id, 0.0)
    made._reap()


def until(jobs, job, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition(found := jobs.find(job.id)):
        assert time.monotonic() < deadline, (found.standing, found.tail(20))
        time.sleep(0.05)
    return found


def run(home, *arguments):
    return RUN.invoke(app, [*map(str, arguments), "--home", str(home.root)])


@pytest.mark.slow
def test_a_job_from_start_to_crash_to_cancel_to_resume(home, jobs):
    """One story, since each start loads torch: start, progress, SIGKILL, resume, cancel."""
    began = time.monotonic()
    started = run(home, "jobs", "start", "--format", "json", "train", *LONG)
    assert started.exit_code == 0, started.output
    assert time.monotonic() - began < 3, "it returns at once"
    document = json.loads(started.stdout)
    job = jobs.find(document["job"])
    assert document["state"] == "running"

    working = until(jobs, job, lambda j: j.standing.done > 0)
    assert working.alive
    assert working.standing.work == "training"
    assert working.standing.total > 1000
    assert working.standing.pid != os.getpid()
    shown = json.loads(run(home, "jobs", "show", job.id, "--format", "json").stdout)
    assert shown["progress"]["done"] > 0
    with pytest.raises(ConfigError, match="running"):
        jobs.resume(job.id)

    os.kill(working.standing.pid, signal.SIGKILL)
    crashed = until(jobs, job, lambda j: j.state is not State.RUNNING)
    assert crashed.state is State.CRASHED
    assert crashed.standing.state is State.RUNNING  # nobody could write that it ended
    listed = json.loads(run(home, "jobs", "list", "--format", "json").stdout)["jobs"]
    assert [entry["state"] for entry in listed if entry["job"] == job.id] == ["crashed"]

    resumed = run(home, "jobs", "resume", job.id)
    assert resumed.exit_code == 0, resumed.output
    again = until(jobs, job, lambda j: j.standing.attempts == 2 and j.standing.done > 0)
    assert again.arguments == job.arguments
    assert again.standing.pid != working.standing.pid

    cancelled = run(home, "jobs", "cancel", job.id, "--format", "json")
    assert cancelled.exit_code == 0, cancelled.output
    assert json.loads(cancelled.stdout)["state"] == "cancelled"
    ended = jobs.find(job.id)
    assert not ended.alive
    assert "interrupted; what was finished is kept" in "\n".join(ended.tail(50))
    assert run(home, "jobs", "cancel", job.id).exit_code == 3
    assert stat.S_IMODE(ended.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in ended.folder.iterdir()} == {0o600}


def test_waiting_ends_with_the_commands_own_exit_code_and_output(empty):
    done = RUN.invoke(
        app, ["jobs", "start", "--home", str(empty.root), "--wait", "--format", "json", "excite", "--count", "10"]
    )
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert (document["state"], document["exit_code"], document["attempts"]) == ("failed", 3, 1)
    assert "custodian ingest" in done.stderr
    watched = run(empty, "jobs", "watch", document["job"])
    assert watched.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        (["serve"], 3, "can't be a job"),
        (["train", "--no-such-option"], 2, "no-such-option"),
        (["excite", "--count", "many"], 2, "--count"),
    ],
)
def test_a_wrong_command_line_is_refused_at_once(empty, arguments, code, cause):
    result = RUN.invoke(app, ["jobs", "start", "--home", str(empty.root), *arguments])
    assert result.exit_code == code, result.output
    assert cause in result.output
    assert not Jobs(empty).list()


@pytest.mark.parametrize(
    "arguments", [["--home", "/elsewhere"], ["--home=/elsewhere"], ["x" * 5000], ["a"] * 101, ["a\0"]]
)
def test_arguments_that_are_refused(empty, arguments):
    with pytest.raises(ConfigError):
        Jobs(empty).start("train", arguments)
    assert not Jobs(empty).list()


@pytest.mark.parametrize(
    "name", ["", "..", "../home", "20260503-142501-train-4f1c/..", "20260503-142501-train-4f1", "x" * 300]
)
def test_names_of_jobs_with_ways_out(empty, name):
    with pytest.raises(ConfigError):
        Jobs(empty).find(name)


class TestTheDaemonsQueue:
    """`advance` with a stand-in for the worker's module, so that a job takes no torch and ends when told."""

    @pytest.fixture
    def queue(self, empty, tmp_path, monkeypatch):
        worker = tmp_path / "stand_in.py"
        worker.write_text(
            "import sys, time\nfrom pathlib import Path\nfrom custodian.cli import working\nfrom custodian.config import Home\n"
            "def wait(name, arguments):\n    stop = Path(arguments[0])\n"
            "    while not stop.exists():\n        time.sleep(0.02)\n    return int(stop.read_text())\n"
            "working._command = wait\nsys.exit(working.work(Home(Path(sys.argv[1])), sys.argv[2]))\n"
        )
        monkeypatch.setattr("custodian.jobs.jobs._WORKER", "stand_in")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        made = Jobs(empty)
        yield made
        for job in made.list():
            if not job.state.ended:
                made.cancel(job.id, 0.0)
        made._reap()

    def test_they_start_in_order_and_only_so_many_at_once(self, queue, tmp_path):
        first = queue.start("audit", [str(tmp_path / "a")], by_daemon=True)
        time.sleep(1.01)
        second = queue.start("audit", [str(tmp_path / "b")], by_daemon=True)
        assert (first.state, second.state) == (State.QUEUED, State.QUEUED)
        queue.advance(0)
        assert queue.find(first.id).state is State.QUEUED
        for _ in range(3):
            queue.advance(1)
        assert [job.state for job in queue.list()] == [State.RUNNING, State.QUEUED]
        (tmp_path / "a").write_text("10")
        until(queue, first, lambda j: j.state is State.FAILED)
        assert queue.find(first.id).standing.exit_code == 10
        queue.advance(1)
        assert queue.find(second.id).state is State.RUNNING
        (tmp_path / "b").write_text("0")
        until(queue, second, lambda j: j.state is State.DONE)

    def test_what_crashed_is_taken_up_again_and_not_for_ever(self, queue, tmp_path):
        job = queue.start("audit", [str(tmp_path / "never")], by_daemon=True)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            queue.advance(1)
            running = until(queue, job, lambda j, n=attempt: j.alive and j.standing.attempts == n)
            os.killpg(running.standing.pid, signal.SIGKILL)
            until(queue, job, lambda j: j.state is State.CRASHED)
        queue.advance(1)
        assert queue.find(job.id).state is State.CRASHED
        assert queue.resume(job.id).state is State.QUEUED  # a person may insist

    def test_a_queued_job_can_be_cancelled_and_then_removed(self, queue, tmp_path):
        job = queue.start("audit", [str(tmp_path / "never")], by_daemon=True)
        with pytest.raises(ConfigError, match="queued"):
            queue.remove(job.id)
        assert queue.cancel(job.id).state is State.CANCELLED
        queue.advance(1)
        assert queue.find(job.id).state is State.CANCELLED
        queue.remove(job.id)
        assert queue.list() == ()
        with pytest.raises(ConfigError):
            queue.remove(job.id)

    def test_one_that_does_not_listen_is_killed_with_all_that_it_started(self, queue, tmp_path, monkeypatch):
        (tmp_path / "stand_in.py").write_text(
            "import signal, subprocess, sys, time\nfrom pathlib import Path\nfrom custodian.cli import working\n"
            "from custodian.config import Home\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            "def deaf(name, arguments):\n    child = subprocess.Popen(['sleep', '600'])\n"
            "    Path(arguments[0]).write_text(str(child.pid))\n    time.sleep(600)\n"
            "working._command = deaf\nsys.exit(working.work(Home(Path(sys.argv[1])), sys.argv[2]))\n"
        )
        job = queue.start("audit", [str(tmp_path / "child")])
        until(queue, job, lambda j: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
        child = int((tmp_path / "child").read_text())
        assert birth(child)
        assert queue.cancel(job.id, 0.2).state is State.CANCELLED
        deadline = time.monotonic() + 5
        while birth(child) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert birth(child) is None

    @pytest.mark.slow
    def test_the_daemon_itself_runs_them(self, queue, tmp_path):
        import wire_world

        made = wire_world.World.make(tmp_path / "world")
        daemon = made.start()
        jobs = Jobs(made.home)
        try:
            job = jobs.start("audit", [str(tmp_path / "stop")], by_daemon=True)
            # The daemon's own process is not patched: the real worker runs, and says that there is no cohort.
            ended = until(jobs, job, lambda j: j.state.ended)
            assert ended.state is State.FAILED
            assert ended.standing.exit_code in (2, 3)
            assert daemon.process.poll() is None
        finally:
            made.close()


class TestWhoLives:
    def test_a_process_id_that_was_given_to_another_is_not_taken_for_the_job(self, empty):
        job = Job.make(_folder(empty), "train", (), "/", False)
        job.stand(replace(job.standing, state=State.RUNNING, pid=os.getpid(), born="another boot:1"))
        assert Jobs(empty).find(job.id).state is State.CRASHED
        assert end_group(os.getpid(), "another boot:1", 0.0) is False  # and we are still here

    def test_a_zombie_does_not_live(self):
        process = subprocess.Popen([sys.executable, "-c", ""])
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert birth(process.pid) is None
        process.wait()

    def test_the_lock(self, tmp_path):
        path = tmp_path / "lock"
        assert not is_held(path)
        with held(path) as taken:
            assert taken
            assert is_held(path)
            with held(path, 0.1) as second:
                assert not second
        assert not is_held(path)

    def test_a_job_that_was_killed_while_it_was_cancelled(self, empty):
        job = Job.make(_folder(empty), "train", (), "/", False)
        job.stand(replace(job.standing, state=State.RUNNING, pid=0))
        (job.folder / CANCEL_FILE).touch()
        assert Jobs(empty).find(job.id).state is State.CANCELLED

    @pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"state": "flying"}', b'{"state": "done", "other": 1}'])
    def test_a_damaged_folder_is_left_out_and_named(self, empty, damage):
        job = Job.make(_folder(empty), "train", (), "/", False)
        (job.folder / STATE_FILE).write_bytes(damage)
        assert Jobs(empty).list() == ()
        assert run(empty, "jobs", "show", job.id).exit_code in (3, 4)


def _folder(home):
    home.jobs.mkdir(exist_ok=True)
    return home.jobs / "20260503-142501-train-4f1c"
