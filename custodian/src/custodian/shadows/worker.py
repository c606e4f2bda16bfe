"""A worker process: ``python -m custodian.shadows.worker FOLDER COHORT PARENT SECONDS`` makes the shadow worlds that it is asked for.

`custodian.workers.processes` is the other end. The plan lies in FOLDER, and each world leaves its scores there. Progress is told by
the clock, since a world takes as long as the others; and a worker whose parent is gone ends, so that the next run never finds a rival
at its world.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from custodian.workers.answering import pipe_of_answers, serve
from custodian.workers.pieces import OnDone

TICK_SECONDS = 1.0
NEARLY = 0.98


def main(folder: Path, cohort_folder: Path, expected_s: float, asked: TextIO, answers: TextIO) -> None:
    """Serve one audit."""

    def make(number: int, count: int, on_done: OnDone) -> None:
        from custodian.device import one_thread
        from custodian.shadows.running import PLAN_FILE, plan_from
        from custodian.shadows.world import World

        world = World(folder, cohort_folder, plan_from((folder / PLAN_FILE).read_bytes()), number)
        with _told_by_the_clock(on_done, expected_s), one_thread():
            world.run()

    serve(asked, answers, make)


@contextmanager
def _told_by_the_clock(on_done: OnDone, expected_s: float) -> Iterator[None]:
    began, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(TICK_SECONDS):
            try:
                on_done(min(NEARLY, (time.monotonic() - began) / max(expected_s, TICK_SECONDS)))
            except BrokenPipeError:
                return

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def end_with(parent: int) -> None:
    """Have this process end within a tick of its parent's end, whatever it is doing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(TICK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with(int(sys.argv[3]))
    with pipe_of_answers() as pipe:
        main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[4]), sys.stdin, pipe)
