"""Federated training by Flower on this machine: a server and one process for each site, over gRPC on the loopback address."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from baselines.environments import Environment, last_line, stop
from baselines.fedavg import FINAL, Task, with_weights
from numpy.typing import NDArray
from torch import nn

from stimset.errors import ConfigError

SCRIPT = "flower_side.py"
LOOPBACK = "127.0.0.1"
TICK_SECONDS = 0.2
GRACE_SECONDS = 30.0
TIMEOUT_SECONDS = 1800.0

Site = tuple[NDArray[np.float32], NDArray[np.int64]]


def train_by_flower(environment: Environment, task: Task, sites: Sequence[Site], *, timeout_s: float = TIMEOUT_SECONDS) -> nn.Module:
    """The network after all rounds.

    Args:
        environment: with Flower in it.
        task: what the sites agree on.
        sites: each one's windows ``(n, channels, samples)`` and labels ``(n,)``.
        timeout_s: after which everything is stopped.

    Raises:
        ConfigError: Flower is not there, or a process failed, or it took too long.
    """
    environment.make()
    with tempfile.TemporaryDirectory(prefix="stimset-flower-") as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps({"task": asdict(task), "sites": len(sites)}))
        for number, (values, labels) in enumerate(sites):
            np.savez(folder / f"site-{number}.npz", values=values, labels=labels)
        port, ends = _free_port(), time.monotonic() + timeout_s
        address = f"{LOOPBACK}:{port}"
        logs = [folder / "server.log", *(folder / f"site-{number}.log" for number in range(len(sites)))]
        processes = [environment.start(SCRIPT, "server", address, name, log=logs[0])]
        try:
            _listening(processes[0], port, ends)  # a site that comes too early gives up
            for number, log in enumerate(logs[1:]):
                processes.append(environment.start(SCRIPT, "site", address, name, str(number), log=log))
            _wait(processes, logs, ends)
        finally:
            stop(processes)
        if not (folder / FINAL).is_file():
            raise ConfigError(f"Flower: the server failed: {last_line(logs[0])}")
        with np.load(folder / FINAL, allow_pickle=False) as file:
            weights = [file[key] for key in file.files]
    return with_weights(task.network(), weights).eval()


def _listening(server: subprocess.Popen[bytes], port: int, ends: float) -> None:
    """Until the server takes connections, or has ended, or it is `ends` by the monotonic clock."""
    while server.poll() is None and time.monotonic() < ends:
        with socket.socket() as one:
            if one.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(TICK_SECONDS)


def _wait(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], ends: float) -> None:
    """Until the server, the first of the processes, has ended.

    A site may find the server gone at the end and say so as an error; only a server that goes on waiting after it has lost a site.

    Raises:
        ConfigError: the server waits for a site that has failed, or for too long.
    """
    lost = float("inf")
    while processes[0].poll() is None:
        failed = [log for process, log in zip(processes, logs, strict=True) if process.poll()]
        lost = min(lost, time.monotonic()) if failed else float("inf")
        if time.monotonic() - lost > GRACE_SECONDS:
            raise ConfigError(f"Flower: {failed[0].stem} failed: {last_line(failed[0])}")
        if time.monotonic() > ends:
            raise ConfigError("Flower took too long and was stopped")
        time.sleep(TICK_SECONDS)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((LOOPBACK, 0))
        return int(one.getsockname()[1])
