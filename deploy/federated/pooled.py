"""The referee of the federated demo: students on the true windows of all hospitals, pooled, which no party may do.

::

    python deploy/federated/pooled.py TEST_RECORDINGS --hospital HOME --hospital HOME --family cnn --seeds 3 --out rows.json

Each student chooses when to stop on the hospitals' validation persons, which is better than what a partner can do (a tenth of the
stimuli, held out); this favours the true data. It meets the test persons once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))

from referee import Lesson, lesson_of_windows, row

if TYPE_CHECKING:
    from stimset.windows import WindowSpec

TRAINED_ON = "pooled"


def pooled_lesson(homes: list[Path]) -> tuple[Lesson, WindowSpec]:
    """The training windows of all homes with their true labels, validation persons beside, and their common spec.

    Raises:
        ConfigError: a home has no cohort, or the cohorts' windows differ.
    """
    from custodian.cohort import Cohort
    from custodian.config import Home
    from stimset.errors import ConfigError

    cohorts = [Cohort.load(Home.open(home).cohort) for home in homes]
    if any(cohort.spec != cohorts[0].spec for cohort in cohorts):
        raise ConfigError("the hospitals' window specs differ; their windows can't be pooled")
    parts = [lesson_of_windows(cohort, None, None, 0) for cohort in cohorts]
    arrays = [
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("values", "probabilities", "held_values", "held_probabilities")
    ]
    return Lesson(*arrays), cohorts[0].spec


def pooled_rows(recordings: Path, homes: list[Path], family: str, seeds: int) -> list[dict[str, Any]]:
    """One student per seed, each scored once on the test recordings."""
    from stimset.console import progress
    from stimset.learning.families import build
    from stimset.records import open_records
    from stimset.windowing import make_windows

    taught, spec = pooled_lesson(homes)
    test = make_windows(open_records(recordings), spec)
    rows = []
    with progress(f"{family} on pooled true windows", seeds) as step:
        for seed in range(1, seeds + 1):
            began = time.perf_counter()
            student = build(family, *spec.shape, spec.classes, seed)
            student.fit(taught.values, taught.probabilities, (taught.held_values, taught.held_probabilities))
            found = row(family, TRAINED_ON, student.predict_proba(test.values), test, seed)
            rows.append({**found, "seed": seed, "examples": len(taught), "seconds": round(time.perf_counter() - began, 2)})
            step(seed)
    return rows


def main() -> int:
    """Read the options, write the rows."""
    parser = argparse.ArgumentParser(description="Train students on the pooled true windows of all hospitals.")
    parser.add_argument("recordings", type=Path, help="the test persons' recordings")
    parser.add_argument("--hospital", type=Path, action="append", required=True, help="a custodian's home; may be repeated")
    parser.add_argument("--family", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="the rows, as JSON")
    given = parser.parse_args()

    import torch

    from stimset.errors import StimsetError

    torch.set_num_threads(1)
    try:
        rows = pooled_rows(given.recordings, given.hospital, given.family, given.seeds)
    except StimsetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(rows, indent=1, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
