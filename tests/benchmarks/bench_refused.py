"""Sets that must not leave: raw windows, windows under a tenth of noise, and what an overfitted generator makes of them.

::

    python tests/benchmarks/bench_refused.py                                      # simulated persons
    python tests/benchmarks/bench_refused.py --data ../shared/data/apnea-ecg      # about two minutes

Each is judged by the quick gate and the shipped policy; the checks that it fails say why. The exit code is 1 where one was admitted.
Leaves build/bench/refused.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from stimset import console

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are loaded
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "benchmarks")]
PER_PERSON = 540


@console.reports_errors
def main(
    data: Annotated[Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")] = None,
    count: Annotated[int, typer.Option("--count", min=50, help="Windows of each set.")] = 3000,
    seed: Annotated[int, typer.Option("--seed", help="Of everything.")] = 1,
    out: Annotated[Path, typer.Option("--out", help="Where the numbers go.")] = ROOT / "build" / "bench" / "refused.json",
) -> None:
    """Judge what leaks, and say why it is refused."""
    from gatebench import cells
    from rich.table import Table

    from custodian.gate.attacks import controls
    from custodian.gate.judging import judge
    from custodian.gate.policy import load_policy
    from overfitted import overfitted_generator
    from stimset.learning.training import soft_targets
    from stimset.release import StimulusArrays

    cohort = cells.apnea_cohort(data, PER_PERSON) if data else cells.simulated_cohort(20, 60)
    training, rng, policy = cohort.training, np.random.default_rng(seed), load_policy()
    rows = rng.permutation(len(training))[:count]
    values, labels = training.values[rows], soft_targets(training.labels[rows], cohort.spec.classes)
    sets = {
        controls.RAW: StimulusArrays(values, labels),
        controls.NOISED: StimulusArrays(controls.noised(values, rng), labels),
        "overfitted generator": overfitted_generator(cohort, count, seed=seed),
    }
    found = {}
    table = Table("set", "verdict", "because of", title="Sets that must not leave", title_justify="left")
    with console.progress("judging", len(sets)) as step:
        for done, (name, stimuli) in enumerate(sets.items(), 1):
            result = judge(stimuli, cohort, policy, seed=seed).result
            failed = {check.name: check.value for check in result.checks if not check.passed}
            found[name] = {"admitted": result.admitted, "failed": failed}
            reasons = ", ".join(f"{check} {'-' if value is None else f'{value:.2f}'}" for check, value in failed.items())
            table.add_row(name, "admitted" if result.admitted else "refused", reasons)
            step(done, name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    console.out.print(table, f"{out}")
    if any(row["admitted"] for row in found.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
