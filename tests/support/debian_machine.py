"""A clean Debian with its own init in a container of the kernel's: real packages, real systemd, real units.

What it takes: root, Debian's ``mmdebstrap`` and ``systemd-container``, and a mirror.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter")
_NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit")
_ENVIRONMENT = (
    "env",
    "-i",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "COLUMNS=120",
)
# A minute and more on an idle machine for the largest wheelhouse; busy ones take ten times as long.
STEP_SECONDS = 1800


def missing() -> str:
    """What keeps this machine from making another; empty where nothing does."""
    if os.geteuid():
        return "root"
    return ", ".join(tool for tool in TOOLS if shutil.which(tool) is None)


@dataclass
class Machine:
    """A booted system.

    Attributes:
        root: its root file system, as seen from here.
        init: its process 1, as seen from here.
        nspawn: what holds it.
    """

    root: Path
    init: int
    nspawn: subprocess.Popen[bytes]

    @staticmethod
    def unpack(folder: Path, suite: str = "bookworm") -> Path:
        """A clean system of essential packages, apt and init, and nothing else."""
        root = folder / "root"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=systemd,systemd-sysv,dbus", suite, root]
        subprocess.run(command, check=True, capture_output=True, timeout=STEP_SECONDS)
        return root

    @staticmethod
    def before_boot(root: Path, command: str) -> None:
        """Run a command that needs the network, of which the booted machine has none."""
        for step in ("apt-get update", command):
            done = subprocess.run(
                [*_NSPAWN, "-D", root, "--pipe", "sh", "-ec", step], capture_output=True, text=True, timeout=STEP_SECONDS,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(f"{step}: {done.stdout[-500:]}{done.stderr[-500:]}")

    @classmethod
    def boot(cls, root: Path, *, medium: Path) -> Machine:
        """Start it without a network but its own loopback, `medium` read-only at ``/media/stimset``."""
        (root / "media" / "stimset").mkdir(parents=True, exist_ok=True)
        command = [*_NSPAWN, "-D", root, "--boot", "--private-network", f"--bind-ro={medium}:/media/stimset"]
        nspawn = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and nspawn.poll() is None:
            children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children").read_text().split()
            machine = cls(root, int(children[0]), nspawn) if children else None
            if machine and machine.call("systemctl is-system-running", check=False).stdout.strip() in (
                "running",
                "degraded",
            ):
                return machine
            time.sleep(0.5)
        nspawn.kill()
        raise RuntimeError("the system did not boot")

    def inside(self, *namespaces: str) -> list[str]:
        """The start of a command that runs in these namespaces of the machine."""
        return ["nsenter", "-t", str(self.init), *namespaces, "--"]

    def call(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as the machine's root.

        Raises:
            RuntimeError: it failed; the text holds the end of what it said.
        """
        line = [*self.inside("-m", "-u", "-i", "-n", "-p"), *_ENVIRONMENT, "sh", "-ec", command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=STEP_SECONDS, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise RuntimeError(f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done

    def stop(self) -> None:
        """Halt it."""
        os.kill(self.init, signal.SIGRTMIN + 4)  # what systemd takes for "power off"
        try:
            self.nspawn.wait(60)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
