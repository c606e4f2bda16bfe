"""Workers of this machine: how many there are, and which GPU each sees."""

import os

from custodian.device import GPUS, visible_gpus
from custodian.workers import processes
from custodian.workers.pieces import Ledger


def test_gpus_are_named_as_the_environment_names_them(monkeypatch):
    monkeypatch.setenv(GPUS, "2,GPU-abc")
    assert visible_gpus() == ["2", "GPU-abc"]
    assert processes.processes_for("cuda") == 2
    assert processes.processes_for("cpu") == len(os.sched_getaffinity(0))


def test_each_worker_sees_one_gpu_in_turn(monkeypatch):
    monkeypatch.setenv(GPUS, "2,5")
    seen = []

    class Seen:
        def __init__(self, command, gpu):
            seen.append(gpu)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(processes, "Worker", Seen)
    monkeypatch.setattr(processes, "_run", lambda crew, ledger: None)
    for device in ("cuda", "cpu"):
        processes.make("some.module", [], 3, Ledger([], lambda done: None), device)
    assert seen == ["2", "5", "2", None, None, None]
