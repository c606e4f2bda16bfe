"""A stage's commands as real processes: logged, followed while they run, each side with its own environment.

Stderr goes through a pseudo-terminal, so that the commands' progress bars live; what stands there now is `Screen.status`.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rich.spinner import Spinner

if TYPE_CHECKING:
    from stages import Stage

TAIL_LINES = 25
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b\][^\x07]*\x07")


class StageFailed(Exception):
    """A command ended with an error.

    Attributes:
        stage: its name.
        command: as a person would type it.
        code: its exit code.
        log: where everything that it said stands.
        tail: the last lines that it wrote to stderr, or of the log.
    """

    def __init__(self, stage: str, command: str, code: int, log: Path, said: Sequence[str] = ()) -> None:
        super().__init__(f"stage '{stage}' failed: '{command}' ended with exit code {code}; see {log}")
        self.stage, self.command, self.code, self.log = stage, command, code, log
        lines = list(said) or (log.read_text(errors="replace").splitlines() if log.is_file() else [])
        self.tail = lines[-TAIL_LINES:]


class Screen:
    """Follows what a process writes to a terminal: the line that stands there now, and the lines that are finished.

    Progress bars redraw one line again and again; of those only the last state is kept.
    """

    def __init__(self, finished: Callable[[str], None]) -> None:
        self._finished = finished
        self._line = ""
        self._last = ""
        self._shown = ""

    @property
    def status(self) -> str:
        """What a person would see as the last line."""
        return self._line.strip() or self._shown

    def feed(self, data: bytes) -> None:
        """Take in more output."""
        text = _ANSI.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
        for piece in re.split(r"(\r|\n)", text):
            if piece == "\n":
                self.flush()
            elif piece == "\r":
                self._shown = self._line.strip() or self._shown
                self._line = ""
            else:
                self._line += piece

    def flush(self) -> None:
        """Count the line that stands there as finished."""
        line = (self._line or self._shown).rstrip()
        if self._line.strip() and line != self._last:
            self._finished(line)
            self._last = line
        self._shown = line.strip() or self._shown
        self._line = ""


@dataclass
class Shell:
    """Starts a stage's commands.

    Attributes:
        stage: whose.
        log: where their output goes.
        environments: per side, what is added to the environment: the partner's processes never see the hospital's.
        on_command: told each command as a person would type it.
        columns: how wide the commands think that their terminal is.
    """

    stage: Stage
    log: Path
    environments: Mapping[str, Mapping[str, str]]
    on_command: Callable[[Stage, str], None]
    columns: int = 100
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    screen: Screen | None = None
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, *arguments: object, side: str | None = None, shown: Sequence[object] | None = None) -> str:
        """Run a command to its end and return its stdout.

        Args:
            arguments: the program (``custodian`` and ``consumer`` are looked up beside this Python) and what it gets.
            side: whose environment it gets; the stage's where None.
            shown: how the command is shown, where that differs.

        Raises:
            StageFailed: it ended with another exit code than 0.
        """
        words = [str(a) for a in arguments]
        text = typed(shown or words)
        self.on_command(self.stage, text)
        with self.log.open("a") as log:
            log.write(f"$ {text}\n")
            log.flush()
            said: list[str] = []
            code, out = self._follow([program(words[0]), *words[1:]], side or self.stage.side, log, said)
        if code:
            raise StageFailed(self.stage.name, text, code, self.log, said)
        return out

    def json(self, *arguments: object, side: str | None = None) -> dict[str, Any]:
        """Run a command with ``--format json`` and return its one object (shown without the option).

        Raises:
            StageFailed: it ended with another exit code than 0, or printed something else.
        """
        out = self.run(*arguments, "--format", "json", side=side, shown=arguments)
        try:
            document = json.loads(out)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise StageFailed(self.stage.name, typed(arguments), 0, self.log)
        return document

    def spawn(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Start a process that goes on after the stage; whoever asked for it ends it."""
        words = [str(a) for a in arguments]
        self.on_command(self.stage, typed(words))
        with self.log.open("ab") as log:
            log.write(f"$ {typed(words)}\n".encode())
            log.flush()
            return subprocess.Popen(
                [program(words[0]), *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment(self.stage.side), start_new_session=True,
            )  # fmt: skip

    def failed(self, command: str, code: int) -> StageFailed:
        """The error for a command that this shell did not wait for."""
        return StageFailed(self.stage.name, command, code, self.log)

    def _environment(self, side: str) -> dict[str, str]:
        terminal = {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(self.columns), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        return {**os.environ, **terminal, **self.environments.get(side, {})}

    def _follow(self, command: list[str], side: str, log: IO[str], said: list[str]) -> tuple[int, str]:
        """Stderr goes through a pseudo-terminal, so that progress bars live; stdout through a pipe, it is a result."""
        if self.stopping.is_set():
            return 1, ""
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, env=self._environment(side),
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.processes.add(process)

        def finished(line: str) -> None:
            said.append(line)
            log.write(line + "\n")

        self.screen = Screen(finished)
        reader = threading.Thread(target=_pump, args=(master, self.screen), daemon=True)
        reader.start()
        out = process.communicate()[0].decode("utf-8", "replace")
        code = process.returncode
        reader.join(5)
        self.processes.discard(process)
        log.write(out)
        return code, out


def typed(words: Sequence[object]) -> str:
    """A command as a person would type it: paths relative to where the demo was started, and ``python`` by its name."""
    here = f"{Path.cwd()}/"
    texts = ["python" if str(w) == sys.executable else str(w).removeprefix(here) for w in words]
    return shlex.join(texts)


def program(name: str) -> str:
    """The installed command beside this Python, else the name as it is."""
    if "/" in name:
        return name
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


def _pump(descriptor: int, screen: Screen) -> None:
    """Read until every writer closed the terminal (Linux reports that as EIO)."""
    with os.fdopen(descriptor, "rb", buffering=0) as terminal:
        while True:
            try:
                data = terminal.read(65536)
            except OSError:
                break
            if not data:
                break
            screen.feed(data)
    screen.flush()


def end(process: subprocess.Popen[bytes], seconds: float = 5.0) -> int | None:
    """Ask a process to end, and make it end where it does not; returns its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode
