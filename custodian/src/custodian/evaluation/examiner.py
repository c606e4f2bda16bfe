"""The process that reads the held-out windows: ``python -P -m custodian.evaluation.examiner``, started by the daemon for one submission.

It reads one JSON object on stdin, ``{"home", "partner", "fingerprint", "release", "model"}`` (`model` is a path), and writes one on stdout:
``{"report": base64}``, ``{"refused": why}`` about the model, or ``{"denied": why}`` about the budget. Anything else goes to stderr, which
is the daemon's log, with an exit code of `stimset.errors`. """

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from custodian.config import Home
from custodian.evaluation.examining import Submission, examine
from custodian.evaluation.limits import MAX_MODEL_BYTES, EvaluationDenied, ModelRefused
from stimset.errors import StimsetError


def main() -> int:
    """One submission; the exit code is 0 where there is an answer for the partner."""
    asked = json.loads(sys.stdin.buffer.read(1 << 16))
    try:
        with Path(asked["model"]).open("rb") as file:
            model = file.read(MAX_MODEL_BYTES)
        submission = Submission(asked["partner"], asked["fingerprint"], asked["release"], model)
        answer = {"report": base64.b64encode(examine(Home.open(Path(asked["home"])), submission)).decode()}
    except ModelRefused as error:
        answer = {"refused": str(error)}
    except EvaluationDenied as error:
        answer = {"denied": str(error)}
    except StimsetError as error:
        sys.stderr.write(json.dumps({"event": "evaluation failed", "level": "error", "detail": str(error)[:300]}) + "\n")
        return error.exit_code
    sys.stdout.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
