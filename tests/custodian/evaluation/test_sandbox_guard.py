"""The sandbox: what it takes away, what it refuses, when it ends. Real processes throughout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import student_models
from custodian.evaluation.box import Sandbox
from custodian.evaluation.checks import BATCH, check_model
from custodian.evaluation.limits import Limits, ModelRefused

SHAPE = (1, 10)
# Refused by the checks alone, without a process; the others need onnxruntime to try.
RUNNING = {"wrong answers", "no numbers", "overflow in float16", "minutes of work", "twenty million nodes"}
PARSED = sorted(set(student_models.HOSTILE) - RUNNING - {"truncated", "wrong magic", "gzip", "zip bomb"})

_TRY = """
import os, socket, sys
from custodian.evaluation import guard
from custodian.evaluation.limits import Limits
alone = guard.isolate()
held = guard.confine(Limits(memory_bytes=64 << 20))
def tried(what):
    try:
        what()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "allowed"
found = {
    "calls": held, "network": alone, "open": tried(lambda: os.open("/etc/hostname", os.O_RDONLY)),
    "write": tried(lambda: os.open("/tmp/stimset-guard", os.O_CREAT | os.O_WRONLY)),
    "socket": tried(lambda: socket.socket()), "fork": tried(os.fork), "memory": tried(lambda: bytes(256 << 20)),
    "kill": tried(lambda: os.kill(os.getppid(), 0)), "list": tried(lambda: os.listdir("/")),
}
sys.stdout.write(repr(found))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def honest():
    return student_models.by_mean()


def test_a_confined_process_reaches_nothing():
    done = subprocess.run([sys.executable, "-P", "-c", _TRY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"'(\w+)': (?:'(\w+)'|True|False)", done.stdout))
    assert found["memory"] == "MemoryError"
    if "'calls': True" not in done.stdout:
        pytest.skip("this kernel lets nobody filter system calls")
    assert {k: found[k] for k in ("open", "write", "socket", "fork", "kill", "list")} == dict.fromkeys(
        ("open", "write", "socket", "fork", "kill", "list"), "PermissionError"
    )


@pytest.mark.parametrize("name", PARSED)
def test_the_checks_name_what_is_wrong(name):
    make, reason = student_models.HOSTILE[name]
    with pytest.raises(ModelRefused, match=reason):
        check_model(onnx.load_model_from_string(make()), *SHAPE, 2)


def test_the_checks_let_honest_models_pass(honest):
    check_model(onnx.load_model_from_string(honest), *SHAPE, 2)
    check_model(onnx.load_model_from_string(student_models.near(np.ones((3, *SHAPE), np.float32))), *SHAPE, 2)


def test_answers_are_those_of_the_model(honest):
    windows = np.random.default_rng(0).normal(size=(BATCH, *SHAPE)).astype(np.float32)
    with Sandbox(Limits()) as box:
        box.load(honest, SHAPE, 2)
        assert any(box.holds.values())
        found = box.answers(windows, 10)
    z = 8 * windows.mean(axis=(1, 2))
    assert found[:, 1] == pytest.approx(1 / (1 + np.exp(-2 * z)), abs=1e-5)
    assert not box.alive


@pytest.mark.parametrize("name", ["wrong answers", "wrong magic", "zip bomb"])
def test_a_refusal_leaves_the_sandbox_alive(honest, name):
    make, reason = student_models.HOSTILE[name]
    with Sandbox(Limits()) as box:
        with pytest.raises(ModelRefused, match=reason):
            box.load(make(), SHAPE, 2)
            box.answers(np.zeros((2, *SHAPE), np.float32), 10)
        box.load(honest, SHAPE, 2)
        assert box.answers(np.zeros((2, *SHAPE), np.float32), 10).shape == (2, 2)


def test_what_takes_too_long_is_stopped_in_time_and_can_begin_again(honest):
    with Sandbox(Limits()) as box:
        began = time.monotonic()
        with pytest.raises(ModelRefused, match=r"takes longer than 0\.5 s"):
            box.load(student_models.slow(), SHAPE, 2)
            box.answers(np.zeros((BATCH, *SHAPE), np.float32), 0.5)
        assert time.monotonic() - began < 25
        assert not box.alive
        with pytest.raises(ModelRefused, match="was stopped before"):
            box.answers(np.zeros((1, *SHAPE), np.float32), 1)
        box.again()
        assert box.alive


def test_processor_time_and_memory_are_bounded():
    with Sandbox(replace(Limits(), cpu_seconds=1)) as box, pytest.raises(ModelRefused, match="1 s of processor time"):
        box.load(student_models.slow(), SHAPE, 2)
        box.answers(np.zeros((BATCH, *SHAPE), np.float32), 60)
    with Sandbox(replace(Limits(), memory_bytes=32 << 20, load_seconds=120.0)) as box, pytest.raises(ModelRefused, match="memory"):
        box.load(student_models.many_nodes(), SHAPE, 2)


def test_no_sandbox_outlives_its_examiner(honest):
    """It is told by the kernel, even where the examiner is killed without a word."""
    code = (
        "import sys, time\nfrom custodian.evaluation.box import Sandbox\nfrom custodian.evaluation.limits import Limits\n"
        "box = Sandbox(Limits()).__enter__()\nsys.stdout.write(str(box._process.pid) + '\\n')\nsys.stdout.flush()\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return  # its new parent has not looked yet
        time.sleep(0.05)
    pytest.fail("the sandbox lives on")
