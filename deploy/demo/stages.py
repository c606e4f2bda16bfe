"""Stages with dependencies, run as real processes in at most two slots, shown while they run.

::

    runner = Runner(stages, folder=Path("build/demo"), console=Console())
    outcomes = runner.run()            # or raises StageFailed with the command and the end of its log

A stage's work is a function that gets a `Shell`; every command that it starts writes to ``logs/NN-name.log``. Stages
of the main path start in their order, one at a time; background stages fill the slot that is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from shell import Shell, end

SLOTS = 2
COLOURS = {"hospital": "cyan", "partner": "magenta", "referee": "yellow"}


@dataclass(frozen=True)
class Stage:
    """One step.

    Attributes:
        name: short, unique; names the log.
        side: who does it, such as ``hospital``, ``partner`` or ``referee``.
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


class Runner:
    """Runs stages and shows them.

    Args:
        stages: in the order in which the main path shows them.
        folder: logs go to ``folder/logs``.
        environments: see `Shell`.
        console: where they are shown; on a terminal with a live line for each running stage.
        colours: by side.
    """

    def __init__(
        self, stages: Sequence[Stage], folder: Path, environments: Mapping[str, Mapping[str, str]], console: Console,
        colours: Mapping[str, str] = COLOURS,
    ) -> None:  # fmt: skip
        self.stages = list(stages)
        self.logs = folder / "logs"
        self.environments = environments
        self.console = console
        self.colours = colours
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
            title = f"[bold {self.colours[stage.side]}]{stage.side}[/] [bold]{stage.name}[/]"
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
                shell.spinner, Text(name, style=self.colours[outcome.side]), Text(f"{now - outcome.started:4.0f} s"),
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
