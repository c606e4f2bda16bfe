"""A window spec for a data set that nobody has described: taken from what its recordings have in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from stimset.errors import RecordError
from stimset.records.base import Annotation, Record, SampledSignal
from stimset.windows import MAX_CLASSES, MAX_NAME, MAX_SIGNALS, SignalSpec, WindowSpec

MAX_WINDOW_SAMPLES = 512
EVENT_RATE_HZ = 2.0
MIN_EPOCH_S = 0.5
_UNSCORED = frozenset({"", "?", "unknown", "unscored", "sleep stage ?", "nan", "none"})
_RR_RANGE_MS = (300.0, 2000.0)


def guess_spec(records: Iterable[Record]) -> WindowSpec:
    """What can be guessed: the signals that all records have, their labels, the epoch, a rate of at most 512 samples.

    The epoch is the largest that divides the annotations' durations (or the spacing of their onsets, where they have
    none); the rate a whole fraction of the fastest signal's; labels are the annotations' texts in sorted order (numbers
    by value), without ``?``, without ``-1`` beside numbers from 0, and with sleep stages only the stages.

    Raises:
        RecordError: no record, no signal or unit in common, or fewer than two labels.
    """
    common: list[str] | None = None
    rates: dict[str, float] = {}
    units: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    texts: Counter[str] = Counter()
    spacings: list[float] = []
    place = ""
    for record in records:
        place = place or record.where
        mine = [s.name.casefold() for s in record.signals if s.name]
        common = mine if common is None else [name for name in common if name in mine]
        for signal in record.signals:
            key = signal.name.casefold()
            names.setdefault(key, signal.name)
            units.setdefault(key, set()).update({signal.unit} - {""})
            rates[key] = max(
                rates.get(key, 0.0), signal.rate_hz if isinstance(signal, SampledSignal) else EVENT_RATE_HZ
            )
        labels = _stages(record.annotations)
        texts.update(a.text for a in labels)
        spacings += _spacings(labels)
    if not common:
        raise RecordError(
            f"{place or 'no record'}: the recordings have no signal in common; state the signals in a window spec"
        )
    common = list(dict.fromkeys(common))[:MAX_SIGNALS]
    for key in common:
        if len(units[key]) > 1:
            raise RecordError(
                f"{place}: signal '{names[key]}' comes in the units {', '.join(sorted(units[key]))}; bring them to one"
            )
    labels_found = _labels(texts)
    if len(labels_found) < 2:
        raise RecordError(
            f"{place}: all recordings have {len(labels_found)} class of label ({', '.join(labels_found)}); two are needed"
        )
    epoch_s = _epoch(spacings, place)
    signals = tuple(
        SignalSpec(
            names[key], next(iter(units[key]), ""), valid=_RR_RANGE_MS if key == "rr" and units[key] == {"ms"} else None
        )
        for key in common
    )
    return WindowSpec(
        signals=signals,
        rate_hz=_rate(epoch_s, max(rates[key] for key in common)),
        epoch_s=epoch_s,
        labels=tuple(labels_found),
        annotations={text: text for text in labels_found},
        meaning=f"guessed from the recordings: the annotation's own text for each {epoch_s:g} s; nobody stated more",
    )


def _stages(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Where sleep stages are scored, other annotations (lights off, arousals) are no classes."""
    stages = [a for a in annotations if a.text.casefold().startswith("sleep stage")]
    return [a for a in stages or annotations if a.text.casefold() not in _UNSCORED and len(a.text) <= MAX_NAME]


def _spacings(annotations: Sequence[Annotation]) -> list[float]:
    durations = [a.duration_s for a in annotations if a.duration_s > 0]
    if durations:
        return durations
    onsets = np.unique([a.onset_s for a in annotations])
    return [float(step) for step in np.diff(onsets)]


def _labels(texts: Counter[str]) -> list[str]:
    kept = [text for text, _ in texts.most_common(MAX_CLASSES)]
    try:
        numbers = {text: float(text) for text in kept}
    except ValueError:
        return sorted(kept)
    if "0" in numbers and min(numbers.values()) == -1.0:
        numbers.pop("-1", None)
    return sorted(numbers, key=lambda text: numbers[text])


def _epoch(spacings: Sequence[float], place: str) -> float:
    """The greatest common divisor in milliseconds, or the commonest spacing where that is too small to be meant."""
    milliseconds = Counter(round(1000 * s) for s in spacings if s > 0)
    if not milliseconds:
        raise RecordError(
            f"{place}: nothing says how long a label lasts; state epoch_s in the recordings or in a window spec"
        )
    common = math.gcd(*milliseconds)
    # A divisor far below the commonest spacing comes from rounding or a stray label, not from the scorer.
    usual = milliseconds.most_common(1)[0][0]
    return (common if common >= 1000 * MIN_EPOCH_S and usual % common == 0 and 40 * common > usual else usual) / 1000


def _rate(epoch_s: float, fastest_hz: float) -> float:
    """A whole fraction of the fastest rate that gives a whole number of samples, at most 512; else the "
    "number of samples decides."""
    factor = max(1, math.ceil(fastest_hz * epoch_s / MAX_WINDOW_SAMPLES - 1e-9))
    for k in range(factor, 2 * factor + 1):
        samples = fastest_hz / k * epoch_s
        if abs(samples - round(samples)) < 1e-6 and samples >= 2:
            return round(samples) / epoch_s
    return max(2, min(MAX_WINDOW_SAMPLES, math.floor(fastest_hz * epoch_s))) / epoch_s
