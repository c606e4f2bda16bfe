"""One person fewer: who is left, and what counts as within the interval."""

import numpy as np
from bench_removal import AGAIN, Trial, moved
from gatebench import cells


def test_one_person_is_taken_out_and_the_strangers_stay(tmp_path):
    whole = cells.simulated_cohort(8, 10)
    whole.save(tmp_path)
    person = int(whole.training_person_indices[1])
    left = Trial("", tmp_path, person, "prior", "plain", 50, 1)._cohort()
    names = whole.windows.person_names
    assert left.windows.person_names == tuple(name for i, name in enumerate(names) if i != person)
    assert left.training_persons == whole.training_persons - 1
    assert [left.windows.person_names[p] for p in left.validation_persons] == [names[p] for p in whole.validation_persons]
    assert len(left.windows) == len(whole.windows) - int((whole.windows.person == person).sum())
    assert np.array_equal(np.unique(left.windows.person), np.arange(len(names) - 1))
    assert Trial("", tmp_path, None, "prior", "plain", 50, 1)._cohort().training_persons == whole.training_persons


def test_figures_are_held_against_the_whole_cohorts_interval():
    def trial(name, **figures):
        return {"name": name, "figures": {key: {"value": v, "interval": i} for key, (v, i) in figures.items()}}

    found = [
        trial("everybody", gap=(0.1, (0.0, 0.2)), auc=(0.5, None), lost=(None, None)),
        trial(AGAIN, gap=(0.15, None), auc=(0.6, None), lost=(0.1, None)),
        trial("without person 1", gap=(0.3, (0.2, 0.4)), new=(0.1, (0.0, 0.2))),
    ]
    assert [(m["trial"], m["figure"], m["within"]) for m in moved(found)] == [
        (AGAIN, "gap", True), ("without person 1", "gap", False),
    ]  # fmt: skip
