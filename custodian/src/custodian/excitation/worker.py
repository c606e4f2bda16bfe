"""A worker process: ``python -m custodian.excitation.worker ORDER SET`` makes the shards that it is asked for, until it is asked no more.

One line of JSON in, ``{"number": 3, "count": 1000}``; lines of JSON out, each ``{"done": 500}`` while it works, then ``{"finished": true}``
or ``{"failed": "why"}``. `custodian.excitation.processes` is the other end. The shards go into the folder SET; no bytes are unpickled.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from stimset.errors import StimsetError


def main(order_folder: Path, set_folder: Path, asked: TextIO, answers: TextIO) -> None:
    """Serve one order; it is read with the first shard, so that what is wrong with it is answered like any other failure."""

    def answer(**what: Any) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    job = None
    for line in asked:
        from custodian.device import one_thread
        from custodian.excitation.order import Shard, WorkOrder

        shard = Shard(**json.loads(line))
        try:
            with one_thread():
                job = job or WorkOrder.load(order_folder).excitation()
                shard.write(set_folder, job.shard(shard.number, shard.count, lambda done: answer(done=done)))
        except BrokenPipeError:
            return  # nobody listens any more; what is unfinished is made again
        except Exception as error:
            answer(failed=explained(error))
            continue
        answer(finished=True)


def explained(error: Exception) -> str:
    """An error in one line; those that were not planned are named by their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, StimsetError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    # What libraries print must not get between the answers: they keep the pipe, everybody else gets stderr.
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.stdin, pipe)
