"""Run worlds in processes of one thread each, each world once; killed at any moment, the next run goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from custodian.device import one_thread
from custodian.shadows.world import World
from stimset.errors import ConfigError, StimsetError

OnStep = Callable[[float, str], None]
TICK_SECONDS = 1.0
WATCH_SECONDS = 2.0
NEARLY = 0.98


def run(worlds: Sequence[World], workers: int, *, expected_s: float, on_step: OnStep) -> None:
    """Run what has no result yet.

    Args:
        worlds: in the order of importance.
        workers: processes; 1 runs everything here.
        expected_s: of one world: a world in the making counts by its time.
        on_step: told how many worlds are done, in fractions.

    Raises:
        StimsetError: a world can't be made; those that were finished are kept.
    """
    waiting = [world for world in worlds if world.result() is None]
    done = len(worlds) - len(waiting)
    on_step(done, "")
    if workers == 1 or len(waiting) < 2:
        for number, world in enumerate(waiting, done + 1):
            with one_thread():
                world.run()
            on_step(number, world.file.stem)
        return
    _in_processes(waiting, min(workers, len(waiting)), done, expected_s, on_step)


def _in_processes(waiting: list[World], workers: int, done: int, expected_s: float, on_step: OnStep) -> None:
    running: dict[Future[str | None], tuple[World, float]] = {}
    took: list[float] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_alone, initargs=(os.getpid(),)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    world = waiting.pop(0)
                    running[pool.submit(_run, world)] = world, time.monotonic()
                ended, _ = wait(running, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
                note = ""
                for future in ended:
                    world, began = running.pop(future)
                    if error := future.result():
                        raise ConfigError(f"{world.file.stem} can't be made: {error}; what was finished is kept")
                    took.append(time.monotonic() - began)
                    done, note = done + 1, world.file.stem
                each = sum(took) / len(took) if took else expected_s
                partly = sum(min(NEARLY, (time.monotonic() - began) / each) for _, began in running.values())
                on_step(done + partly, note)
        except BrokenProcessPool:
            raise ConfigError(
                "a process of the audit was killed (out of memory? give fewer --workers); run it again, what was finished is kept"
            ) from None
        except BaseException:
            for process in list(pool._processes.values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(world: World) -> str | None:
    """In the process: the error in one line, or None."""
    try:
        with one_thread():
            world.run()
    except StimsetError as error:
        return str(error)
    except (ArithmeticError, OSError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _alone(parent: int) -> None:
    """Prepare a process: gone when its parent is, quiet when interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
