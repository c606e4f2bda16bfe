"""A cohort that is small enough for tests and still learnable: simulated persons, windows of 1 x 60."""

from __future__ import annotations

from functools import cache

import numpy as np

from custodian.cohort import Cohort, split_persons
from stimset.windows import SignalSpec, Windows, WindowSpec

SPEC = WindowSpec(
    signals=(SignalSpec("rr", unit="ms"), SignalSpec("flow")), rate_hz=1.0, epoch_s=60.0, labels=("calm", "slow", "fast"),
    annotations={"c": "calm", "s": "slow", "f": "fast"},
)  # fmt: skip


@cache
def cohort(persons: int = 8, per_person: int = 60, seed: int = 0) -> Cohort:
    """Three classes that differ in rhythm; each person has a rhythm of their own on top. Two channels that move together."""
    rng = np.random.default_rng(seed)
    n = persons * per_person
    person = np.repeat(np.arange(persons), per_person)
    labels = rng.integers(3, size=n)
    t = np.arange(60)
    rhythm = np.array([0.0, 0.05, 0.15])[labels]
    own = np.linspace(0.25, 0.45, persons)[person]
    phase = rng.uniform(0, 2 * np.pi, (3, n, 1))
    wave = 1.5 * np.sin(2 * np.pi * rhythm[:, None] * t + phase[0]) * (labels > 0)[:, None]
    wave = wave + 0.7 * np.sin(2 * np.pi * own[:, None] * t + phase[1])
    first = wave + 0.4 * rng.standard_normal((n, 60))
    second = 0.8 * wave + 0.4 * rng.standard_normal((n, 60))
    values = np.clip(np.stack([first, second], 1), -5, 5).astype(np.float32)
    names = tuple(f"person-{p}" for p in range(persons))
    windows = Windows(
        SPEC, values, labels.astype(np.int64), person.astype(np.int64), person.astype(np.int64), np.zeros(n), np.ones(n, np.float32),
        names, names,
    )  # fmt: skip
    return Cohort(windows, split_persons(windows, share=0.25), simulated=True)
