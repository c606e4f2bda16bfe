"""Recordings of simulated persons as a hospital's own device would have written them.

::

    python deploy/federated/devices.py FOLDER --device north --persons 16 --minutes 120 --first-person 0

Three hospitals never own the same recorder, nor do they see the same patients. Here each has a recorder with a clock, a beat detector and a
resolution of its own, so that the same heart would leave another series of RR intervals at each: what a recording's own median and
interquartile range take away (gain, offset) is gone after the window spec's normalisation; noise, a wandering clock, missed beats and
coarse steps are not. And each sees its share of the population: North is a general hospital with mild cases, West a sleep clinic.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stimset.console import progress
from stimset.errors import StimsetError
from stimset.records import EventSeries, Record, simulate, write_npz

WANDER_S = 45.0


@dataclass(frozen=True)
class Device:
    """How a recorder's RR intervals differ from the heart's.

    Attributes:
        gain: a clock that is off by a constant factor.
        offset_ms: added to every interval.
        noise_ms: standard deviation of the place of each beat; an interval has two ends.
        jitter: deviation of the clock's rate, as a share, wandering over `WANDER_S` seconds.
        missed: share of beats that the detector does not see; two intervals become one.
        step_ms: resolution of the intervals; 0 keeps them as they are.
    """

    gain: float = 1.0
    offset_ms: float = 0.0
    noise_ms: float = 0.0
    jitter: float = 0.0
    missed: float = 0.0
    step_ms: float = 0.0

    def record(self, truth: Record, rng: np.random.Generator) -> Record:
        """What this device would have written of the same night; labels stay, since an expert gave them by another signal."""
        series = truth.signals[0]
        if not isinstance(series, EventSeries):
            raise TypeError("a device records beats")
        seen = rng.random(len(series.values)) >= self.missed
        seen[0] = True
        times, intervals = series.times_s[seen], _merged(series.values, seen)
        shift = rng.normal(0.0, self.noise_ms, len(times))
        intervals = intervals + shift - np.concatenate([[0.0], shift[:-1]])
        intervals = self.gain * intervals * (1.0 + self.jitter * _wander(times, rng)) + self.offset_ms
        if self.step_ms:
            intervals = np.round(intervals / self.step_ms) * self.step_ms
        return replace(truth, signals=(replace(series, times_s=times, values=intervals),))


DEVICES = {
    "north": Device(gain=1.01, noise_ms=2.0, step_ms=1.0),
    "south": Device(gain=0.97, offset_ms=12.0, noise_ms=9.0, jitter=0.010, missed=0.005, step_ms=7.8125),
    "west": Device(gain=1.04, offset_ms=-20.0, noise_ms=5.0, jitter=0.015, missed=0.01, step_ms=3.90625),
}
"""128 and 256 samples a second give steps of 7.8 and 3.9 ms."""

CASE_MIX = {"north": (0.05, 0.4), "south": (0.05, 0.9), "west": (0.25, 0.9)}
"""The least and the largest share of apnea in a night of a hospital's patients."""


def nights(hospital: str, persons: int, minutes: int, first_person: int, seed: int) -> Iterator[Record]:
    """Recordings of the first so many persons from this number on whom the hospital would see, by its device."""
    low, high = CASE_MIX[hospital]
    number, found = first_person, 0
    while found < persons:
        (truth,) = simulate(1, minutes, seed, number)
        if low <= apnea_share(truth) <= high:
            rng = np.random.default_rng([seed, number, sorted(DEVICES).index(hospital)])
            yield DEVICES[hospital].record(truth, rng)
            found += 1
        number += 1


def apnea_share(record: Record) -> float:
    """The share of a simulated night's minutes that hold an apnea."""
    minutes = [60.0 if a.duration_s == 0 else a.duration_s for a in record.annotations]
    apnea = sum(length for a, length in zip(record.annotations, minutes, strict=True) if a.text == "A")
    return apnea / max(sum(minutes), 1.0)


def _merged(intervals: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each seen beat's interval, with those of the missed beats before it."""
    total = np.cumsum(intervals)[seen]
    return np.diff(total, prepend=total[0] - intervals[0])


def _wander(times_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Normal values at knots of `WANDER_S`, joined by lines, at these times."""
    if not len(times_s):
        return np.empty(0)
    knots = np.arange(times_s[0], times_s[-1] + 2 * WANDER_S, WANDER_S)
    return np.interp(times_s, knots, rng.normal(size=len(knots)))


def main() -> int:
    """Read the options, write the files."""
    parser = argparse.ArgumentParser(description="Write recordings of simulated persons by a hospital's device.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", choices=sorted(DEVICES), required=True)
    parser.add_argument("--persons", type=int, default=16)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--first-person", type=int, default=0, help="the first whose turn it is; other numbers are other persons")
    parser.add_argument("--seed", type=int, default=1, help="the population; equal seeds give equal persons")
    given = parser.parse_args()
    try:
        with progress(f"recordings by the device of {given.device}", given.persons) as step:
            for done, night in enumerate(nights(given.device, given.persons, given.minutes, given.first_person, given.seed)):
                step(done + 1, write_npz(night, given.folder).name)
    except StimsetError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
