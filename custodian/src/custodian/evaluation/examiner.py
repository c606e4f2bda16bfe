"""The process that reads the held-out windows: ``python -P -m custodian.evaluation.examiner``, started by the daemon for one submission.

It reads one JSON object on stdin, ``{"home", "partner", "fingerprint", "release", "model"}`` (`model` is a path), and writes one on stdout:
``{"report": base64}``, ``{"refused": why}`` about the model, or ``{"denied": why}`` about the budget. Anything else goes to stderr, which
is the daemon's log, with an exit code of `stimset.errors`.

Where the daemon must not see what is private, ``custodian evaluation work`` answers the same questions in a service of its own (`work`).
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from custodian.config import Home, write_secret
from custodian.evaluation.examining import Submission, examine
from custodian.evaluation.limits import MAX_MODEL_BYTES, EvaluationDenied, ModelRefused
from custodian.evaluation.receiving import LOOK_SECONDS, Spool
from stimset.errors import StimsetError


def answer(question: Mapping[str, str]) -> dict[str, str]:
    """What the daemon may pass on; raises what `examine` raises of the custodian's own."""
    try:
        with Path(question["model"]).open("rb") as file:
            model = file.read(MAX_MODEL_BYTES)
        submission = Submission(question["partner"], question["fingerprint"], question["release"], model)
        return {"report": base64.b64encode(examine(Home.open(Path(question["home"])), submission)).decode()}
    except ModelRefused as error:
        return {"refused": str(error)}
    except EvaluationDenied as error:
        return {"denied": str(error)}


def work(home: Home, on_answer: Callable[[str], None], *, once: bool = False) -> None:
    """Answer the daemon's questions, one after the other, for ever; or those that wait now.

    Args:
        home: whose daemon asks.
        on_answer: is told, for each, the partner and what became of it in one word.
        once: return when no question is left.

    Raises:
        ConfigError: another worker is at it already.
    """
    spool = Spool(home)
    with spool.working():
        while True:
            for path in spool.questions():
                try:
                    question = json.loads(path.read_bytes())
                    found = answer(question)
                except (StimsetError, OSError, ValueError, KeyError) as error:
                    question, found = {}, {"failed": f"{type(error).__name__}: {error}"[:300]}
                if path.exists():  # else nobody waits any more
                    write_secret(spool.answer_to(path), json.dumps(found).encode())
                    path.unlink(missing_ok=True)
                on_answer(f"{question.get('partner', '?')}: {next(iter(found))}")
            if once:
                return
            time.sleep(LOOK_SECONDS)


def main() -> int:
    """One submission; the exit code is 0 where there is an answer for the partner."""
    try:
        found = answer(json.loads(sys.stdin.buffer.read(1 << 16)))
    except StimsetError as error:
        sys.stderr.write(json.dumps({"event": "evaluation failed", "level": "error", "detail": str(error)[:300]}) + "\n")
        return error.exit_code
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
