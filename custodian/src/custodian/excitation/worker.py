"""A worker process: ``python -m custodian.excitation.worker ORDER SET`` makes the shards that it is asked for into the folder SET.

`custodian.workers.processes` is the other end, `custodian.workers.answering` what they say to each other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from custodian.workers.answering import pipe_of_answers, serve
from custodian.workers.pieces import OnDone


def main(order_folder: Path, set_folder: Path, asked: TextIO, answers: TextIO) -> None:
    """Serve one order; it is read with the first shard, so that what is wrong with it is answered like any other failure."""
    job = None

    def make(number: int, count: int, on_done: OnDone) -> None:
        nonlocal job
        from custodian.device import one_thread
        from custodian.excitation.order import Shard, WorkOrder

        with one_thread():
            job = job or WorkOrder.load(order_folder).excitation()
            Shard(number, count).write(set_folder, job.shard(number, count, on_done))

    serve(asked, answers, make)


if __name__ == "__main__":
    with pipe_of_answers() as pipe:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.stdin, pipe)
