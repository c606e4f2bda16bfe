"""Stages with dependencies, run as real processes in at most two slots, shown while they run.

::

    runner = Runner(stages, folder=Path("build/demo"), console=Console())
    outcomes = runner.run()            # or raises StageFailed with the command and the end of its log

A stage's work is a function that gets a `Shell`; every command that it starts writes to ``logs/NN-name.log``. Stages
of the main path start in their order, one at a time; background stages fill the slot that is left.
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
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

SLOTS = 2
TAIL_LINES = 25
COLOURS = {"hospital": "cyan", "partner": "magenta", "referee": "yellow"}
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


@dataclass(frozen=True)
class Stage:
    """One step.

    Attributes:
        name: short, unique; names the log.
        side: ``hospital``, ``partner`` or ``referee``: who does it.
        why: one or two sentences for somebody who sees this for the first time.
        work: does it and returns one line of result.
        after: names of the stages that must be done.
        background: true where it may run beside the main path.
    """

    name: str
    side: str
    why: str
    work: Callable[[Shell], str]
    after: tuple[str, ...] = ()
    background: bool = False


@dataclass
class Outcome:
    """What became of a stage: `started` in seconds from the beginning of the run, `seconds`, the line of result."""

    name: str
    side: str
    background: bool
    started: float
    seconds: float = 0.0
    result: str = ""

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name, "seconds": round(self.seconds, 2), "started": round(self.started, 2), "side": self.side,
            "background": self.background, "result": self.result,
        }  # fmt: skip


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


class Runner:
    """Runs stages and shows them.

    Args:
        stages: in the order in which the main path shows them.
        folder: logs go to ``folder/logs``.
        environments: see `Shell`.
        console: where they are shown; on a terminal with a live line for each running stage.
    """

    def __init__(
        self, stages: Sequence[Stage], folder: Path, environments: Mapping[str, Mapping[str, str]], console: Console
    ) -> None:
        self.stages = list(stages)
        self.logs = folder / "logs"
        self.environments = environments
        self.console = console
        self._began = time.monotonic()
        self._outcomes: dict[str, Outcome] = {}
        self._shells: dict[str, Shell] = {}
        self._stopping = threading.Event()
        self._check()

    def _check(self) -> None:
        names = {s.name for s in self.stages}
        if len(names) != len(self.stages):
            raise ValueError("two stages have the same name")
        for stage in self.stages:
            if missing := [name for name in stage.after if name not in names]:
                raise ValueError(f"stage '{stage.name}' waits for '{missing[0]}', which does not exist")

    def run(self) -> list[Outcome]:
        """Run them all.

        Returns:
            One outcome per stage, in their order.

        Raises:
            StageFailed: the first that failed; what else was running is ended.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        running: dict[Future[str], Stage] = {}
        with (
            ThreadPoolExecutor(SLOTS) as pool,
            Live(console=self.console, get_renderable=self._view, refresh_per_second=4, transient=True)
            if self.console.is_terminal
            else _NoLive(),
        ):
            try:
                while len(self._outcomes) < len(self.stages) or running:
                    for stage in self._startable(list(running.values())):
                        running[pool.submit(self._perform, stage)] = stage
                    if not running:
                        raise ValueError("the stages wait for each other in a circle")
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._finish(running.pop(future), future.result())
            except BaseException:
                self._end_all()
                raise
        return [self._outcomes[s.name] for s in self.stages]

    def _startable(self, running: list[Stage]) -> list[Stage]:
        """What may start now: the first unfinished stage of the main path if it can, then background stages."""
        busy = {s.name for s in running}
        finished = {n for n, o in self._outcomes.items() if n not in busy}
        waiting = [s for s in self.stages if s.name not in finished and s.name not in busy]
        ready = [s for s in waiting if set(s.after) <= finished]
        main = next((s for s in waiting if not s.background), None)
        chosen = [main] if main in ready and all(r.background for r in running) else []
        chosen += [s for s in ready if s.background]
        return [s for s in chosen if s is not None][: max(0, SLOTS - len(running))]

    def _perform(self, stage: Stage) -> str:
        number = self.stages.index(stage) + 1
        shell = Shell(stage, self.logs / f"{number:02d}-{stage.name}.log", self.environments, self._show_command)
        shell.columns = max(60, self.console.width - 2 - 16 - 8)  # what the live line leaves beside name and seconds
        shell.stopping = self._stopping
        self._shells[stage.name] = shell
        self._outcomes[stage.name] = Outcome(stage.name, stage.side, stage.background, time.monotonic() - self._began)
        if not stage.background:
            self.console.print()
            title = f"[bold {COLOURS[stage.side]}]{stage.side}[/] [bold]{stage.name}[/]"
            self.console.print(f"[dim]{number:2d}/{len(self.stages)}[/] {title}")
            self.console.print(Text(stage.why), style="default", highlight=False)
        return stage.work(shell)

    def _show_command(self, stage: Stage, command: str) -> None:
        if not stage.background:
            self.console.print(Text(f"  $ {command}", style="dim"), highlight=False, overflow="fold")

    def _finish(self, stage: Stage, result: str) -> None:
        outcome = self._outcomes[stage.name]
        outcome.seconds = time.monotonic() - self._began - outcome.started
        outcome.result = result
        self._shells.pop(stage.name)
        beside = f"[dim]beside it, {stage.name}:[/] " if stage.background else ""
        self.console.print(f"  [green]done[/] [dim]{outcome.seconds:6.1f} s[/]  {beside}{escape(result)}", highlight=False)

    def _view(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        now = time.monotonic() - self._began
        for name, shell in list(self._shells.items()):
            status = shell.screen.status if shell.screen else ""
            outcome = self._outcomes[name]
            table.add_row(
                shell.spinner, Text(name, style=COLOURS[outcome.side]), Text(f"{now - outcome.started:4.0f} s"),
                Text(status, style="dim", no_wrap=True, overflow="ellipsis"),
            )  # fmt: skip
        return Group(Text(), table, Text(f"  {now:.0f} s so far", style="dim"))

    def _end_all(self) -> None:
        self._stopping.set()
        for shell in list(self._shells.values()):
            for process in list(shell.processes):
                end(process)


class _NoLive:
    """In place of a live display where there is no terminal."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


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
