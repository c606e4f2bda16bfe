"""A worker process's end of the pipe: lines of JSON in and out, nothing pickled.

In comes ``{"number": 3, "count": 1000}``; out go lines such as ``{"done": 500}`` while it works, then ``{"finished": true}`` or
``{"failed": "why"}``. `custodian.workers.processes` is the other end.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from custodian.workers.pieces import OnDone
from stimset.errors import StimsetError

Make = Callable[[int, int, OnDone], None]


def serve(asked: TextIO, answers: TextIO, make: Make) -> None:
    """Make pieces until none is asked for any more.

    Args:
        asked, answers: the two pipes.
        make: is given number, size, and whom to tell how much is done (from any thread); what it raises is answered.
    """
    lock = threading.Lock()

    def answer(**what: object) -> None:
        with lock:
            answers.write(json.dumps(what) + "\n")
            answers.flush()

    for line in asked:
        piece = json.loads(line)
        try:
            make(piece["number"], piece["count"], lambda done: answer(done=done))
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


@contextmanager
def pipe_of_answers() -> Iterator[TextIO]:
    """Standard output for the answers alone: what libraries print must not get between them, so everybody else gets stderr."""
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)
        yield pipe
