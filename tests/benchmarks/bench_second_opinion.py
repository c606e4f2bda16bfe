"""A second opinion on the gate's membership attack: sacroml's worst-case attack on the same students, in an environment of its own.

::

    python tests/benchmarks/bench_second_opinion.py --data ../shared/data/apnea-ecg
    python tests/benchmarks/bench_second_opinion.py --python /path/to/an/environment/with/sacroml/bin/python

Persons are cut into two halves. Each half trains a teacher and makes a release; students learn from the release, from the half's raw
windows (what must be caught) and from noise that an untrained network labelled (in which there is nothing to find). Both attacks see how
probable a student finds the true class of windows inside and outside. Leaves build/bench/second_opinion.json: AUC of both attacks on the
answers of both halves together: everybody is inside once and outside once, so that what makes a person easy cancels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Annotated, Any

import typer

from stimset import console

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and NumPy are loaded
ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("knn", "mlp")
SETS = ("raw", "release", "noise")


@console.reports_errors
def main(
    data: Annotated[Path | None, typer.Option("--data", help="The Apnea-ECG database; without it persons are simulated.")] = None,
    python: Annotated[Path | None, typer.Option("--python", help="Of an environment with sacroml; else one is made.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Of the release.")] = "prior",
    count: Annotated[int, typer.Option("--count", min=100, help="Stimuli of each release.")] = 3000,
    per_person: Annotated[int, typer.Option("--per-person", min=20, help="Windows of each person at most.")] = 200,
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = ROOT / "build" / "bench",
) -> None:
    """Ask both attacks."""
    import numpy as np
    from gatebench.cells import apnea_cohort, simulated_cohort
    from sklearn.metrics import roc_auc_score

    cohort = apnea_cohort(data, per_person) if data else simulated_cohort(16, 60)
    work = out / "second-opinion"
    work.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Any]] = {}
    with console.progress("students", 2 * len(SETS) * len(FAMILIES)) as step:
        for half in (0, 1):
            for name, inside, outside in _world(cohort, half, recipe, count, work):
                parts.setdefault(f"{name}:in", []).append(inside)
                parts.setdefault(f"{name}:out", []).append(outside)
                step(sum(map(len, parts.values())) / 2, name)
    answers = {name: np.concatenate(both) for name, both in parts.items()}
    np.savez(work / "answers.npz", **answers)
    executable = python or _environment(work / "environment")
    subprocess.run(
        [executable, Path(__file__).parent / "secondopinion" / "attack.py", work / "answers.npz", work / "sacroml.json"], check=True
    )
    theirs = json.loads((work / "sacroml.json").read_text())
    rows = []
    for kind in SETS:
        for family in FAMILIES:
            inside, outside = (answers[f"{kind}/{family}:{side}"] for side in ("in", "out"))
            ours = roc_auc_score(np.repeat([1, 0], [len(inside), len(outside)]), np.concatenate([inside, outside]))
            rows.append({"set": kind, "student": family, "ours": float(ours), "sacroml": theirs[f"{kind}/{family}"]})
    document = {"simulated": data is None, "recipe": recipe, "stimuli": count, "rows": rows}
    (out / "second_opinion.json").write_text(json.dumps(document, indent=1))
    for row in rows:
        console.err.print(f"{row['set']:8} {row['student']:4} AUC: ours {row['ours']:.3f}, sacroml {row['sacroml']:.3f}")


def _world(cohort: Any, half: int, recipe: str, count: int, work: Path) -> Any:
    """Students of one half: ``(set/family, chance of the true class inside, outside)``."""
    import shutil

    import numpy as np
    import torch

    from custodian.cohort import Cohort, split_persons
    from custodian.excitation import engine
    from custodian.excitation.recipe import load_recipe
    from custodian.inhibition import train_identity_networks
    from custodian.teacher.training import train_teacher
    from stimset.learning.families import build
    from stimset.learning.networks import build_network
    from stimset.learning.training import predict, soft_targets

    windows = cohort.windows
    persons = np.random.default_rng(0).permutation(np.unique(windows.person))
    chosen = np.isin(windows.person, persons[: len(persons) // 2]) ^ bool(half)
    mine = windows.select(chosen)
    own = Cohort(mine, split_persons(mine, seed=half), cohort.simulated)
    teacher = train_teacher(own, seed=half)
    wanted = load_recipe(recipe)
    identity = train_identity_networks(own, seed=half) if wanted.uses_inhibition else []
    folder = work / f"set-{half}"
    shutil.rmtree(folder, ignore_errors=True)
    release = engine.excite(own, teacher, identity, wanted, count=count, seed=half, folder=folder).arrays()
    inside, outside = own.training, windows.select(~chosen)
    rng = np.random.default_rng(half)
    rows = rng.permutation(len(inside))[:count]
    noise = rng.standard_normal((count, *windows.spec.shape)).astype(np.float32)
    with torch.random.fork_rng(devices=[]):
        untrained = build_network("cnn", *windows.spec.shape, windows.spec.classes, seed=0).eval()
    lessons = {
        "raw": (inside.values[rows], soft_targets(inside.labels[rows], windows.spec.classes)),
        "release": (release.values, release.probabilities),
        "noise": (noise, predict(untrained, noise).astype(np.float32)),
    }
    sample = [some_of(side, rng) for side in (inside, outside)]
    for kind, (values, targets) in lessons.items():
        for family in FAMILIES:
            student = build(family, *windows.spec.shape, windows.spec.classes, seed=half)
            student.fit(values, targets)
            found = [student.predict_proba(v)[np.arange(len(y)), y] for v, y in sample]
            yield f"{kind}/{family}", *found


def some_of(windows: Any, rng: Any) -> tuple[Any, Any]:
    """At most 2,000 windows of one side, at random, and their labels."""
    rows = rng.permutation(len(windows))[:2000]
    return windows.values[rows], windows.labels[rows]


def _environment(folder: Path) -> Path:
    """An environment with sacroml, made on first use."""
    executable = folder / "bin" / "python"
    if not executable.is_file():
        venv.create(folder, with_pip=True)
        pip = [executable, "-m", "pip", "install", "-q"]
        torch = next(line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
        subprocess.run([*pip, torch], check=True)
        subprocess.run([*pip, "sacroml>=2.0.1"], check=True)
    return executable


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "deploy" / "demo"))
    typer.run(main)
