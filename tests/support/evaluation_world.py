"""A custodian with a release and held-out patients in the same window spec, where evaluations start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tiny_release
import wire_world
from custodian.cohort import Cohort
from custodian.config import Home
from stimset.windows import Windows, WindowSpec

PATIENTS, PER_PATIENT = 40, 12


def windows(
    persons: int = PATIENTS, per_person: int = PER_PATIENT, *, seed: int = 0, spec: WindowSpec = tiny_release.SPEC, prefix: str = "held-out"
) -> Windows:  # fmt: skip
    """Windows whose mean has the label's sign, nine times out of ten."""
    rng = np.random.default_rng(seed)
    n = persons * per_person
    labels = rng.integers(spec.classes, size=n)
    sign = np.where(rng.random(n) < 0.9, 2 * labels - 1, 1 - 2 * labels)
    values = rng.normal(size=(n, *spec.shape)) + sign[:, None, None]
    person = np.repeat(np.arange(persons), per_person)
    names = tuple(f"{prefix}-{i}" for i in range(persons))
    return Windows(
        spec, values.clip(-spec.clip, spec.clip).astype(np.float32), labels.astype(np.int64), person, person, np.zeros(n),
        np.ones(n, np.float32), names, names,
    )  # fmt: skip


def cohort(made: Windows) -> Cohort:
    """All of them on the held-out side."""
    return Cohort(made, tuple(range(len(made.person_names))), simulated=True)


def set_up(home: Home, made: Windows | None = None, **settings: float) -> None:
    """Give a home held-out patients and settings for their evaluation."""
    cohort(windows() if made is None else made).save(home.evaluation)
    lines = [f"evaluation_{name} = {value}" for name, value in settings.items()]
    home.settings_file.write_text(home.settings_file.read_text() + "\n".join(lines) + "\n")


def world(root: Path, **settings: float) -> wire_world.World:
    """Both sides, with patients to be evaluated on; no daemon yet."""
    made = wire_world.World.make(root)
    set_up(made.home, **settings)
    return made
