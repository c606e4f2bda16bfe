"""The process that sees a partner's model: ``python -P -m custodian.evaluation.sandbox``, started by `custodian.evaluation.box`.

It gives up its rights before the first byte of the model is read, and answers frames (`custodian.evaluation.frames`) until its stdin ends.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from custodian.evaluation import frames, guard
from custodian.evaluation.limits import Limits, ModelRefused


def main() -> None:
    """Isolate, load the libraries, confine, then answer."""
    alone = guard.isolate()
    from custodian.evaluation.running import Runner, warm_up

    warm_up()
    limits = Limits(**json.loads(sys.argv[1]))
    filtered = guard.confine(limits)
    _say(frames.CONFINED, json.dumps({"network": alone, "calls": filtered}).encode())
    runner: Any = None
    shape = (0, 0, 0)
    while (frame := frames.read(sys.stdin.buffer)) is not None:
        kind, data = frame
        try:
            if kind == frames.SHAPE:
                channels, samples, classes = json.loads(data)
                shape = channels, samples, classes
            elif kind == frames.MODEL:
                runner = Runner(data, *shape)
                _say(frames.READY, b"")
            elif kind == frames.WINDOWS and runner is not None:
                _say(frames.ANSWERS, runner.answers(data))
        except ModelRefused as error:
            _say(frames.REFUSED, str(error).encode())
        except MemoryError:
            _say(frames.REFUSED, b"the model needs more memory than it may have")
        except Exception as error:  # a check that a hostile model makes fail is a refusal too
            _say(frames.REFUSED, f"the model is refused: its check fails ({type(error).__name__})".encode())


def _say(kind: bytes, data: bytes) -> None:
    sys.stdout.buffer.write(frames.packed(kind, data))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
