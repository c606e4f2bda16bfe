"""A finished demo's numbers, invented: for tests of its report, table and verdict."""

from __future__ import annotations

import numpy as np

FAMILIES = ["cnn", "lstm", "mlp", "random_forest", "svm", "knn", "logistic_regression"]
KINDS = ("stimuli", "true_hard", "true_soft", "noise", "paper")


def row(family, kind, kappa, classes=2):
    metrics = {"accuracy": 0.5 + kappa / 2, "kappa": kappa, "sensitivity": 0.8, "specificity": None, "auroc": 0.9}
    intervals = {m: None if v is None else [v - 0.06, v + 0.05] for m, v in metrics.items()}
    confusion = (np.full((classes, classes), 40) + 700 * np.eye(classes, dtype=int)).tolist()
    return {"family": family, "trained_on": kind, **metrics, "intervals": intervals, "confusion": confusion}


def summary(labels=("normal", "apnea"), families=FAMILIES, **kappas):
    """The summary of a demo; `kappas` sets the kappa of a kind of training data."""
    level = {"stimuli": 0.62, "true_hard": 0.64, "true_soft": 0.66, "noise": 0.2, "paper": 0.1} | kappas
    rows = [row(f, k, level[k] - 0.02 * i, len(labels)) for k in KINDS for i, f in enumerate(families)]
    check = {"value": 0.41, "limit": 0.5, "rule": "<=", "passed": True, "meaning": "How sure a fresh attacker is <b>."}
    stages = [
        {"name": n, "seconds": 10.0, "started": 5.0 * i, "side": side, "background": i == 1, "result": ""}
        for i, (n, side) in enumerate((("ingest", "hospital"), ("referee-noise", "referee"), ("pull", "partner")))
    ]
    return {
        "students": rows,
        "gate": {"admitted": True, "policy": "default", "checks": [{"name": "identity-certainty", **check}], "measurements": {}},
        "stages": stages, "release_folder": "build/demo/partner/releases/apnea-0001", "consumer_home": "build/demo/partner",
        "custodian_home": "build/demo/hospital", "simulated": True, "data": "simulated: 24 persons", "note": "", "release": "apnea-0001",
        "root_fingerprint": "ab" * 32, "recipe": "spectral", "teacher_kappa": 0.66, "families": list(families), "labels": list(labels),
        "counts": {"stimuli": 4000, "noise": 4000, "paper": 300, "cap": 4000, "test_windows": 2880, "test_persons": 24, "test_records": 24},
        "seed": 1, "seconds": 231.0,
    }  # fmt: skip


def arrays(classes=2, signals=1, count=400, samples=150, seed=0):
    """Stimuli-like values and beliefs."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.normal(size=(count, signals, samples)), axis=-1).astype(np.float32) / 4
    return np.clip(values, -5, 5), rng.dirichlet(np.ones(classes), size=count).astype(np.float32)
