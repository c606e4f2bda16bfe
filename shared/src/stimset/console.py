"""What the two command lines have in common: how an error ends, how a result is shown, how long work shows that it lives.

Usage, in a command of either side::

    @app.command()
    @console.reports_errors
    def verify(folder: Path, format: Format = FORMAT_OPTION) -> None:
        release = verifying.verify(folder, root)
        console.show(format, {"release": release.id}, table)
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from stimset.errors import NotAccepted, ReleaseRefused, StimsetError

if TYPE_CHECKING:
    from stimset.release import GateResult

P = ParamSpec("P")
T = TypeVar("T")

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


class Format(StrEnum):
    """How a command prints its result."""

    TEXT = "text"
    JSON = "json"


FORMAT_OPTION = typer.Option(Format.TEXT, "--format", help="text for people, json for scripts (one object on stdout).")


def show(format: Format, document: dict[str, Any], *rendered: RenderableType) -> None:
    """Print a result: `document` as one JSON object, or `rendered` for people."""
    if format is Format.JSON:
        sys.stdout.write(json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n")
        return
    for item in rendered:
        out.print(item)


def gate_notes(gate: GateResult) -> list[Text]:
    """What a person must read before the numbers: an override, loudly, and every warning. Plain text, never markup."""
    notes = []
    if (o := gate.override) is not None:
        people = " and ".join(f"{name} ({role})" for role, name in o.people.items())
        notes.append(Text.assemble(
            ("OVERRIDDEN", "bold white on red"), (f"  The gate refused this set; {people} let it leave all the same.", "bold red"),
            f"\n  failed: {', '.join(o.failed)}\n  reason: {o.reason}",
        ))  # fmt: skip
    return notes + [Text.assemble(("warning  ", "yellow"), warning) for warning in gate.warnings]


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """End a command with one line on stderr and the error's documented exit code (see `stimset.errors`)."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except StimsetError as error:
            lines = [str(error)]
            if isinstance(error, ReleaseRefused | NotAccepted):
                lines += [f"  - {sentence}" for sentence in error.failed]
            err.print(Text.assemble(("error: ", "bold red"), "\n".join(lines)))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            err.print("interrupted; what was finished is kept")
            raise typer.Exit(130) from None

    return wrapper


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Step(Protocol):
    """Tells a progress bar how far the work is: ``step(done, note)``."""

    def __call__(self, done: float, note: str = "") -> None:
        """Report that `done` units of the announced total are finished."""


# Told of every progress bar of its context as well: title, total, done, note. A job writes it down (`custodian.cli.working`).
watcher: ContextVar[Callable[[str, float, float, str], None] | None] = ContextVar("watcher", default=None)


def silent(done: float, note: str = "") -> None:
    """A `Step` for callers that don't watch."""


@contextmanager
def progress(title: str, total: float) -> Iterator[Step]:
    """A progress bar on stderr, so that stdout stays a result."""
    columns = (
        TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(title, total=total, note="")
        watch = watcher.get()

        def step(done: float, note: str = "") -> None:
            bar.update(task, completed=done, note=note)
            if watch is not None:
                watch(title, total, done, note)

        yield step
