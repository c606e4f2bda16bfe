"""The demo's runner: order, slots, logs, live lines, failures; with real processes."""

import io
import sys
import threading
import time

import pytest
from rich.console import Console
from shell import Screen, StageFailed, end, program
from stages import Runner, Stage


def runner(folder, *stages, **environments):
    return Runner(stages, folder, environments, Console(file=io.StringIO(), width=120))


def stage(name, work=lambda shell: "", after=(), background=False, side="hospital"):
    return Stage(name, side, f"why {name}", work, tuple(after), background)


def python(shell, code, **options):
    return shell.run(sys.executable, "-c", code, **options)


def test_the_main_path_runs_in_order_and_one_at_a_time(tmp_path):
    seen, busy = [], threading.Semaphore(1)

    def work(shell):
        assert busy.acquire(blocking=False)
        time.sleep(0.02)
        busy.release()
        seen.append(shell.stage.name)
        return "fine"

    outcomes = runner(tmp_path, *(stage(n, work) for n in "abc")).run()
    assert seen == ["a", "b", "c"]
    assert [(o.name, o.result) for o in outcomes] == [("a", "fine"), ("b", "fine"), ("c", "fine")]
    assert all(o.seconds >= 0.02 for o in outcomes)
    assert outcomes[1].started >= outcomes[0].started + outcomes[0].seconds - 0.01


def test_background_stages_run_beside_it_but_never_more_than_two_at_once(tmp_path):
    running, most, lock = [0], [0], threading.Lock()
    both = threading.Barrier(2, timeout=5)

    def work(shell):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        if shell.stage.name in ("main", "beside1"):
            both.wait()  # passes only when both are alive at once
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return ""

    beside = [stage(f"beside{i}", work, background=True) for i in (1, 2, 3)]
    runner(tmp_path, stage("main", work), *beside).run()
    assert most[0] == 2


def test_a_stage_waits_for_what_it_names(tmp_path):
    seen = []
    slow = stage("slow", lambda s: (time.sleep(0.05), seen.append("slow"))[0] or "", background=True)
    late = stage("late", lambda s: seen.append("late") or "", after=("slow",))
    runner(tmp_path, slow, stage("early", lambda s: seen.append("early") or ""), late).run()
    assert seen == ["early", "slow", "late"]


def test_what_can_never_start_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        runner(tmp_path, stage("a", after=("b",)))
    with pytest.raises(ValueError, match="same name"):
        runner(tmp_path, stage("a"), stage("a"))
    with pytest.raises(ValueError, match="circle"):
        runner(tmp_path, stage("a", after=("b",), background=True), stage("b", after=("a",), background=True)).run()


def test_a_command_is_logged_and_gets_its_sides_environment_only(tmp_path):
    code = "import os, sys; print(os.environ.get('SECRET')); sys.stderr.write('note\\n')"
    said = {}

    def work(shell):
        said["own"] = python(shell, code)
        said["other"] = python(shell, code, side="partner", shown=["shown", "so"])
        return ""

    runner(tmp_path, stage("a", work), hospital={"SECRET": "s3"}, partner={}).run()
    assert said == {"own": "s3\n", "other": "None\n"}
    log = (tmp_path / "logs" / "01-a.log").read_text()
    assert "$ shown so\nnote\nNone\n" in log
    assert log.index("note") < log.index("s3")


def test_a_json_command_hides_its_format_option_and_returns_the_object(tmp_path):
    echo = "import json, sys; print(json.dumps({'args': sys.argv[1:]}))"
    found = {}

    def work(shell):
        found.update(shell.json(sys.executable, "-c", echo, "x"))
        return ""

    runner(tmp_path, stage("a", work)).run()
    assert found == {"args": ["x", "--format", "json"]}
    assert "--format" not in (tmp_path / "logs" / "01-a.log").read_text().splitlines()[0]
    with pytest.raises(StageFailed):
        runner(tmp_path, stage("b", lambda s: str(s.json(sys.executable, "-c", "print('no json')")))).run()


def test_a_failing_command_ends_the_run_and_what_runs_beside_it(tmp_path):
    fail = "import sys, time; time.sleep(0.3); print('a result'); sys.stderr.write('error: no luck\\n'); sys.exit(7)"
    began = time.monotonic()
    sleeping = stage("sleeping", lambda s: python(s, "import time; time.sleep(60)"), background=True)
    with pytest.raises(StageFailed) as caught:
        runner(tmp_path, stage("bad", lambda s: python(s, fail)), sleeping).run()
    assert time.monotonic() - began < 20
    assert (caught.value.stage, caught.value.code, caught.value.tail) == ("bad", 7, ["error: no luck"])
    assert "a result" in caught.value.log.read_text()


def test_a_screen_keeps_the_last_state_of_a_progress_bar():
    lines = []
    screen = Screen(lines.append)
    screen.feed(b"\r\x1b[2K\x1b[1mtraining\x1b[0m 1/9")
    screen.feed(b"\r\x1b[2Ktraining 2/9")
    assert screen.status == "training 2/9"
    screen.feed(b"\r\x1b[2Ktraining 9/9\r\nadmitted\r\nadmitted\r\n\r\n")
    assert lines == ["training 9/9", "admitted"]
    assert screen.status == "admitted"
    screen.feed("half a wörd".encode())
    screen.flush()
    assert lines[-1] == "half a wörd"


def test_a_childs_progress_bar_lives_in_the_terminal_that_it_gets(tmp_path):
    code = (
        "from stimset.console import progress\nimport time\n"
        "with progress('counting', 3) as step:\n    [(step(i), time.sleep(0.15)) for i in (1, 2, 3)]\n"
    )
    states = []

    def work(shell):
        watcher = threading.Thread(target=lambda: watch(shell, states), daemon=True)
        watcher.start()
        python(shell, code)
        return ""

    runner(tmp_path, stage("a", work)).run()
    assert any("counting" in s and "1/3" in s for s in states)
    log = (tmp_path / "logs" / "01-a.log").read_text()
    assert "3/3" in log and "1/3" not in log and "\x1b" not in log


def watch(shell, states):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if shell.screen and shell.screen.status not in states:
            states.append(shell.screen.status)
        time.sleep(0.01)


def test_a_spawned_process_goes_on_until_it_is_ended(tmp_path):
    kept = []

    def work(shell):
        kept.append(shell.spawn(sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"))
        return ""

    runner(tmp_path, stage("a", work)).run()
    assert kept[0].poll() is None
    assert end(kept[0]) == -15
    assert end(kept[0]) == -15


def test_programs_are_those_beside_this_python():
    assert program("custodian").startswith(str(program(sys.executable)).rsplit("/", 1)[0])
    assert program("no-such-program") == "no-such-program"
    assert program("/bin/sh") == "/bin/sh"
