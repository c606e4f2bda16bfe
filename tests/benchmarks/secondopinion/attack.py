"""Runs in an environment of its own (``pip install sacroml``): sacroml's worst-case attack on what students answer.

``python attack.py ANSWERS.npz RESULTS.json``: for each ``NAME:in`` and ``NAME:out`` in the file, ``(n,)`` probabilities
that a student gives the true class, inside and outside, the attack's AUC.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
from sacroml.attacks.target import Target
from sacroml.attacks.worst_case_attack import WorstCaseAttack


def area(inside, outside):
    """Mean AUC over the attack's repetitions."""
    both = [np.stack([p, 1 - p], axis=1) for p in (inside, outside)]
    # Unsorted: the first column stays the true class's.
    attack = WorstCaseAttack(
        n_reps=5, n_dummy_reps=0, sort_probs=False, write_report=False, output_dir=tempfile.mkdtemp(),
        attack_model_params={"min_samples_leaf": 50, "n_estimators": 100, "random_state": 0},
    )  # fmt: skip
    found = attack.attack(Target(proba_train=both[0], proba_test=both[1]))
    instances = found["attack_experiment_logger"]["attack_instance_logger"].values()
    return float(np.mean([float(instance["AUC"]) for instance in instances]))


if __name__ == "__main__":
    logging.disable(logging.INFO)
    answers = np.load(sys.argv[1])
    names = sorted({key.rsplit(":", 1)[0] for key in answers})
    found = {name: area(answers[f"{name}:in"], answers[f"{name}:out"]) for name in names}
    Path(sys.argv[2]).write_text(json.dumps(found, indent=1))
