"""A simulated cohort: RR intervals of persons who never lived, with minutes of apnea. Everything in it says that it is
simulated.

Each person has a mean heart rate, a respiratory sinus arrhythmia at their own breathing rate, slower (Mayer) waves, a
drift, ectopic beats, and their own cyclic variation of heart rate during apnea (0.012 to 0.03 Hz, a slow fall and an
abrupt rise). The share of apnea runs from 0 to 0.9 and more between persons. What makes it hard, as in real nights:
apneas with hardly any cyclic variation, periodic heart rate without apnea (leg movements), and episodes that
begin within a minute. A small convolutional network reaches a kappa of about 0.65 on persons it never saw.

The beats come from an integral pulse frequency model: a beat falls whenever the integral of the instantaneous rate
passes a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stimset.errors import FormatError
from stimset.records import apnea_ecg
from stimset.records.base import Annotation, Record
from stimset.records.wfdb import rr_series

PREFIX = "simulated-"
SPEC = replace(apnea_ecg.SPEC_5MIN, meaning="whether the simulated minute holds a simulated apnea; no patient and no expert")
"""Windows like those of the Apnea-ECG database, 1 x 150, with a meaning that claims nothing."""

GRID_HZ = 4.0
MAX_PERSONS = 100_000
# A minute counts as apnea when this share of it is.
LABELLED_SHARE = 0.25


def is_simulated(record: Record) -> bool:
    """Whether this recording is simulated: its name says so."""
    return record.name.startswith(PREFIX)


def simulate(persons: int = 24, minutes: int = 120, seed: int = 0, first_person: int = 0) -> list[Record]:
    """One recording for each of `persons` simulated persons: an RR series in ms, and A or N for every minute.

    Args:
        persons: how many.
        minutes: length of each recording.
        seed: equal seeds give equal persons; a person depends on the seed and their number alone.
        first_person: number of the first, so that another call gives other persons of the same population.

    Raises:
        FormatError: a count is out of range.
    """
    if not (1 <= persons <= MAX_PERSONS and 2 <= minutes <= 1440 and first_person >= 0 and seed >= 0):
        raise FormatError(
            f"simulation: 1 to {MAX_PERSONS} persons and 2 to 1440 minutes are possible, seed and first person from 0"
        )
    return [_record(number, minutes, seed) for number in range(first_person, first_person + persons)]


@dataclass(frozen=True)
class _Person:
    """What stays the same all night. Times in s, rates in Hz, variations as a share of the mean interval."""

    mean_s: float
    breath_hz: float
    breath_depth: float
    mayer_hz: float
    mayer_depth: float
    drift: float
    noise: float
    ectopics_per_s: float
    apnea_share: float
    cycle_hz: float
    cycle_depth: float
    cycle_skew: float
    movement_share: float
    movement_hz: float


def _person(rng: np.random.Generator) -> _Person:
    # A third of the persons hardly has apnea, the others anything up to 0.9 of the night.
    apnea = rng.uniform(0.0, 0.05) if rng.random() < 0.35 else rng.uniform(0.1, 0.9)
    return _Person(
        mean_s=rng.uniform(0.68, 1.12),
        breath_hz=rng.uniform(0.17, 0.33),
        breath_depth=rng.lognormal(np.log(0.02), 0.6),
        mayer_hz=rng.uniform(0.07, 0.12),
        mayer_depth=rng.lognormal(np.log(0.016), 0.5),
        drift=rng.lognormal(np.log(0.026), 0.35),
        noise=rng.lognormal(np.log(0.009), 0.5),
        ectopics_per_s=rng.choice([0.0, 0.0005, 0.004], p=[0.4, 0.4, 0.2]),
        apnea_share=float(apnea),
        cycle_hz=rng.uniform(0.012, 0.03),
        cycle_depth=rng.lognormal(np.log(0.034), 0.45),
        cycle_skew=rng.uniform(0.5, 0.85),
        movement_share=rng.uniform(0.0, 0.3),
        movement_hz=rng.uniform(0.018, 0.045),
    )


def _record(number: int, minutes: int, seed: int) -> Record:
    rng = np.random.default_rng([seed, number])
    person = _person(rng)
    count = int(minutes * 60 * GRID_HZ)
    apnea = _episodes(rng, minutes, person.apnea_share)
    movement = _episodes(rng, minutes, person.movement_share) & ~apnea
    interval = np.clip(person.mean_s * (1.0 + _variation(rng, person, apnea, movement)), 0.4, 1.8)
    phase = np.concatenate([[0.0], np.cumsum(1.0 / interval) / GRID_HZ])
    beats = np.interp(np.arange(1.0, np.floor(phase[-1])), phase, np.arange(count + 1) / GRID_HZ)
    beats = beats + rng.normal(0.0, person.noise * person.mean_s, len(beats)) / 2
    premature = rng.random(len(beats)) < person.ectopics_per_s * person.mean_s
    beats = np.where(premature, beats - rng.uniform(0.2, 0.4, len(beats)) * person.mean_s, beats)
    share = apnea.reshape(minutes, -1).mean(axis=1)
    annotations = tuple(Annotation(60.0 * i, 0.0, "A" if s >= LABELLED_SHARE else "N") for i, s in enumerate(share))
    name = f"{PREFIX}{number:04d}"
    return Record(name, f"{PREFIX}person-{number:04d}", (rr_series(np.sort(beats)),), annotations, 60.0 * minutes, name)


def _episodes(rng: np.random.Generator, minutes: int, share: float) -> NDArray[np.bool_]:
    """``(minutes * 60 * GRID_HZ,)`` true within episodes of 3 to 25 minutes that together last about `share` "
    "of the night."""
    total = int(minutes * 60 * GRID_HZ)
    state = np.zeros(total, dtype=bool)
    if share <= 0:
        return state
    mean_on = 60.0 * rng.uniform(5.0, 15.0)
    mean_off = mean_on * (1.0 - share) / share
    at, on = 0.0, bool(rng.random() < share)
    while at < total:
        # Gamma(2) rather than exponential: few episodes of seconds.
        length = rng.gamma(2.0, (mean_on if on else mean_off) / 2.0) * GRID_HZ
        state[int(at) : int(at + length)] = on
        at, on = at + length, not on
    return state


def _variation(
    rng: np.random.Generator, person: _Person, apnea: NDArray[np.bool_], movement: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The instantaneous RR interval's deviation from the mean, as a share of it."""
    count = len(apnea)
    gain = np.exp(_smooth(rng, count, 240.0) * 0.45)
    breathing = _wave(rng, count, person.breath_hz, 0.06)
    mayer = _wave(rng, count, person.mayer_hz, 0.15)
    out = person.breath_depth * gain * np.sin(breathing) + person.mayer_depth * np.sin(mayer) * np.exp(
        0.5 * _smooth(rng, count, 90.0)
    )
    out += person.drift * (0.6 * _smooth(rng, count, 30.0) + 0.8 * _smooth(rng, count, 300.0))
    # The depth of the cycles wanders, so that some apneas hardly show.
    depth = person.cycle_depth * np.exp(0.75 * _smooth(rng, count, 180.0))
    out += apnea * depth * _sawtooth(_wave(rng, count, person.cycle_hz, 0.18), person.cycle_skew)
    out += movement * 0.7 * person.cycle_depth * _sawtooth(_wave(rng, count, person.movement_hz, 0.15), 0.6)
    return out


def _wave(rng: np.random.Generator, count: int, rate_hz: float, jitter: float) -> NDArray[np.float64]:
    """The phase in radians of an oscillation whose rate wanders by this share."""
    rate = rate_hz * np.exp(jitter * _smooth(rng, count, 60.0))
    return rng.uniform(0.0, 2 * np.pi) + 2 * np.pi * np.cumsum(rate) / GRID_HZ


def _sawtooth(phase: NDArray[np.float64], skew: float) -> NDArray[np.float64]:
    """A slow rise over `skew` of the cycle, a fast fall over the rest, smooth at the turns; within [-1, 1]."""
    place = (phase / (2 * np.pi)) % 1.0
    rising, falling = -np.cos(np.pi * place / skew), np.cos(np.pi * (place - skew) / (1.0 - skew))
    return np.where(place < skew, rising, falling)


def _smooth(rng: np.random.Generator, count: int, scale_s: float) -> NDArray[np.float64]:
    """Noise of unit variance that changes over this many seconds: normal values at knots, joined by lines."""
    knots = int(np.ceil(count / (scale_s * GRID_HZ))) + 2
    values = rng.normal(size=knots)
    at = np.arange(count) / (scale_s * GRID_HZ) + rng.random()
    # Between two knots the variance of their mixture is less than one; 1.22 makes up for it on average.
    return np.asarray(1.22 * np.interp(at, np.arange(knots), values), dtype=np.float64)
