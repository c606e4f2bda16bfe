"""Run jobs in processes of one thread each, each as soon as what it needs is there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from paper.jobs import Job

from stimset.errors import ConfigError, StimsetError

OnJob = Callable[[Job, str | None], None]
WATCH_SECONDS = 2.0


def run(jobs: Sequence[Job], workers: int, on_job: OnJob) -> dict[str, str]:
    """Run the jobs that are not done yet.

    Args:
        jobs: in the order of importance.
        workers: processes.
        on_job: is told of each job that ended, with its error or None.

    Returns:
        Title -> error of the jobs that failed; jobs that need a failed one are among them.

    Raises:
        ConfigError: a process was killed; what was finished is kept.
    """
    waiting = [job for job in jobs if not job.file.is_file()]
    failed: dict[str, str] = {}
    running: dict[Future[str | None], Job] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_alone, initargs=(os.getpid(),)) as pool:
        try:
            while waiting or running:
                ready = [job for job in waiting if all(path.is_file() for path in job.needs)]
                for job in ready[: workers - len(running)]:
                    waiting.remove(job)
                    running[pool.submit(_run, job)] = job
                if not running:
                    for job in waiting:
                        failed[job.title] = "what it needs was not made"
                        on_job(job, failed[job.title])
                    break
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    job, error = running.pop(future), future.result()
                    if error is not None:
                        failed[job.title] = error
                    on_job(job, error)
        except BrokenProcessPool:
            raise ConfigError("a process of the benchmark was killed (out of memory?); run it again, what was finished is kept") from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _run(job: Job) -> str | None:
    """In the process: the error in one line, or None."""
    try:
        job.run()
    except StimsetError as error:
        return str(error)
    except Exception as error:  # one student's failure must not end a run of hours
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def _alone(parent: int) -> None:
    """Prepare a process: one thread, gone when its parent is, quiet when interrupted."""
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
