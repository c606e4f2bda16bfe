"""Environments of their own for libraries that don't go together with the project's, made once and kept.

The name of an environment's folder holds a digest of its requirements: changed requirements make a new one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stimset.errors import ConfigError

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared" / "src"
INSTALL_SECONDS = 1800.0
STAMP = ".complete"
TELLING = re.compile(r"(Error|Exception)\b|details = ")


@dataclass(frozen=True)
class Environment:
    """A virtual environment for one library.

    Attributes:
        name: of the file of requirements.
        root: where environments lie.
        with_torch: whether it also sees the packages of the benchmark's own environment, behind its own: the arithmetic is then the
            same torch's, and a second one, of a gigabyte, is not needed.
    """

    name: str
    root: Path
    with_torch: bool = False

    @property
    def requirements(self) -> Path:
        """What is installed."""
        return HERE / "requirements" / f"{self.name}.txt"

    @property
    def folder(self) -> Path:
        """Where it lies, or will."""
        return self.root / f"{self.name}-{hashlib.sha256(self.requirements.read_bytes()).hexdigest()[:8]}"

    @property
    def ready(self) -> bool:
        """Whether it was made, as a whole."""
        return (self.folder / STAMP).is_file()

    def make(self) -> None:
        """Install what is required; nothing where that was done.

        Raises:
            ConfigError: it can't be installed.
        """
        if self.ready:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        python = self.folder / "bin" / "python"
        _installed([sys.executable, "-m", "venv", str(self.folder)], self.name)
        _installed([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(self.requirements)], self.name)
        if self.with_torch:
            own = next((self.folder / "lib").glob("python*/site-packages"))
            (own / "host.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{sysconfig.get_paths()['platlib']}\n")
        (self.folder / STAMP).touch()

    def start(self, script: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a script of this folder in the environment, of one thread; what it says goes to `log`."""
        command = [str(self.folder / "bin" / "python"), str(HERE / script), *arguments]
        with log.open("wb") as file:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=_variables(os.environ))

    def run(self, script: str, *arguments: str, log: Path, timeout_s: float) -> None:
        """Run a script of this folder to its end.

        Raises:
            ConfigError: the environment can't be made, or the script failed or took too long.
        """
        self.make()
        process = self.start(script, *arguments, log=log)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ConfigError(f"{script} took more than {timeout_s:.0f} s and was stopped; {log} holds what it said") from None
        finally:
            stop([process])
        if code:
            raise ConfigError(f"{script} failed: {last_line(log)}")


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that still run."""
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """The last line of what a process wrote that names an error, or else the very last."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["it said nothing"]
    telling = [line for line in lines if TELLING.search(line)]
    return (telling or lines)[-1][:200]


def _variables(given: Mapping[str, str]) -> dict[str, str]:
    """One thread, the shared package beside the library, and no report to its makers."""
    return {**given, "PYTHONPATH": str(SHARED), "OMP_NUM_THREADS": "1", "FLWR_TELEMETRY_ENABLED": "0"}


def _installed(command: list[str], name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"the environment of '{name}' was not there after {INSTALL_SECONDS:.0f} s; run it again") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"the environment of '{name}' can't be made: {said[:200]}; leave the approach out with --approaches")
