"""Step 2: records become windows, exactly as a `WindowSpec` says. The same code runs on both sides of the border.

The rules:

* **Resampling.** An output sample is the mean, over its own interval of ``1 / rate_hz`` seconds, of the
  piecewise-linear line through the valid source samples (exact, by its integral). So whatever is faster than the
  output rate averages out instead of folding in. One rule holds for sampled signals, whose samples stand in the middle
  of their intervals, and for event series.
* **Missing data.** NaN, infinities and values outside a signal's valid range are missing. Two valid samples further
  apart than ``max(2 source periods, min(3 s, epoch / 4))`` enclose a gap; the line goes straight through it, and
  beyond the first and the last valid sample the value is held, but neither counts as covered.
* **Coverage** of a window: the share of its labelled epoch that lies outside gaps and between a signal's first and
  last valid data; the smallest over the signals. Windows below ``min_coverage`` are dropped, and so are epochs that
  begin or end outside the recording.
* **Labels.** An annotation with a duration labels the epochs that lie one after another inside it, from its onset; one
  without labels the epoch that starts at its onset. Two annotations that say different things of one epoch are an
  error.
* **Normalisation** is per record and signal: median and quartiles are those of the resampled signal over the whole
  recording, where it is covered. A scale of zero falls back to the standard deviation, then to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from stimset.errors import FormatError, RecordError
from stimset.records.base import Record, SampledSignal, Signal
from stimset.windows import SignalSpec, Windows, WindowSpec

MAX_GAP_S = 3.0
QUARTILES_TO_SIGMA = 1.349
TOLERANCE_S = 1e-3
Array = NDArray[np.float64]


class Line:
    """The piecewise-linear line through a signal's valid samples, and the time that they cover.

    Args:
        times: ``(n,)`` seconds, increasing, at least one.
        values: ``(n,)`` finite.
        max_gap_s: two samples further apart enclose a gap.
        reach_s: how far before the first and behind the last sample the signal is covered (half a source period).
    """

    def __init__(self, times: Array, values: Array, *, max_gap_s: float, reach_s: float) -> None:
        self.offset = float(np.median(values))  # keeps the running integral small, and so exact
        self.times, self.values = times, values - self.offset
        steps = np.diff(times)
        self._integral = np.concatenate([[0.0], np.cumsum(0.5 * steps * (self.values[1:] + self.values[:-1]))])
        self._covered = np.concatenate([[0.0], np.cumsum(np.where(steps > max_gap_s, 0.0, steps))])
        self._gap = np.append(steps > max_gap_s, True)
        self.reach_s = reach_s

    def means(self, edges: Array) -> Array:
        """``(..., n)`` the line's mean between each two of the ``(..., n + 1)`` edges, in seconds."""
        return np.asarray(np.diff(self._primitive(edges), axis=-1) / np.diff(edges, axis=-1) + self.offset)

    def _primitive(self, at: Array) -> Array:
        inside = np.clip(at, self.times[0], self.times[-1])
        if len(self.times) == 1:
            return np.asarray(self.values[0] * (at - self.times[0]))
        k = np.clip(np.searchsorted(self.times, inside, side="right") - 1, 0, len(self.times) - 2)
        past = inside - self.times[k]
        slope = (self.values[k + 1] - self.values[k]) / (self.times[k + 1] - self.times[k])
        held = np.where(at < self.times[0], self.values[0], self.values[-1]) * (at - inside)
        return np.asarray(self._integral[k] + past * (self.values[k] + 0.5 * slope * past) + held)

    def covered(self, start: Array, end: Array) -> Array:
        """The share of each interval, in seconds, in which valid data lie."""
        return (self._covered_until(end) - self._covered_until(start)) / (end - start)

    def _covered_until(self, at: Array) -> Array:
        inside = np.clip(at, self.times[0], self.times[-1])
        k = np.clip(np.searchsorted(self.times, inside, side="right") - 1, 0, len(self.times) - 1)
        partial = np.where(self._gap[k], 0.0, inside - self.times[k])
        return self._covered[k] + partial + np.clip(at - inside, -self.reach_s, self.reach_s)


def make_windows(
    records: Iterable[Record], spec: WindowSpec, *, on_record: Callable[[int, str], None] | None = None
) -> Windows:
    """Every labelled epoch of these records that has enough valid data, as a window.

    Args:
        records: read one after another; a `RecordSet` need not fit into memory.
        spec: how.
        on_record: called with the number of records done and the name of the last.

    Raises:
        RecordError: a record lacks a signal, its labels, or valid data; states another unit or too low a rate;
            contradicts itself; or no record has a window with enough data.
    """
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64], Array, NDArray[np.float32]]] = []
    names: list[str] = []
    persons: dict[str, int] = {}
    owners: list[int] = []
    for number, record in enumerate(records):
        parts.append(record_windows(record, spec))
        names.append(record.name)
        owners.append(persons.setdefault(record.person, len(persons)))
        if on_record is not None:
            on_record(number + 1, record.name)
    if not parts:
        raise RecordError("no records are given; name a folder with recordings")
    if len(set(names)) != len(names):
        raise RecordError(f"two records are called '{next(n for n in names if names.count(n) > 1)}'; rename one")
    counts = np.array([len(labels) for _, labels, _, _ in parts])
    if not counts.sum():
        raise RecordError(
            f"{len(names)} records: no epoch has data for {spec.min_coverage:.0%} of it; lower min_coverage or "
            "look at the data"
        )
    record_index = np.repeat(np.arange(len(parts)), counts)
    return Windows(
        spec=spec,
        values=np.concatenate([p[0] for p in parts]),
        labels=np.concatenate([p[1] for p in parts]),
        record=record_index.astype(np.int64),
        person=np.asarray(owners, dtype=np.int64)[record_index],
        start_s=np.concatenate([p[2] for p in parts]),
        coverage=np.concatenate([p[3] for p in parts]),
        record_names=tuple(names),
        person_names=tuple(persons),
    )


def record_windows(
    record: Record, spec: WindowSpec
) -> tuple[NDArray[np.float32], NDArray[np.int64], Array, NDArray[np.float32]]:
    """One record's windows: values ``(n, channels, samples)``, labels, starts in seconds, coverage (see `Windows`).

    Raises:
        RecordError: as `make_windows`.
    """
    lines = [_line(record, wanted, spec) for wanted in spec.signals]
    starts, labels = labelled_epochs(record, spec)
    coverage = np.min([line.covered(starts, starts + spec.epoch_s) for line in lines], axis=0).clip(0.0, 1.0)
    kept = coverage >= spec.min_coverage - 1e-9
    starts, labels, coverage = starts[kept], labels[kept], coverage[kept]
    values = np.empty((len(starts), *spec.shape), dtype=np.float32)
    edges = (starts - spec.before_s)[:, None] + np.arange(spec.samples + 1) / spec.rate_hz
    for channel, line in enumerate(lines):
        centre, scale = _normaliser(line, record, spec)
        values[:, channel] = np.clip((line.means(edges) - centre) / scale, -spec.clip, spec.clip)
    return values, labels, starts, coverage.astype(np.float32)


def labelled_epochs(record: Record, spec: WindowSpec) -> tuple[Array, NDArray[np.int64]]:
    """When each labelled epoch of a record starts, in seconds and in order, and its label's index.

    Raises:
        RecordError: nothing is labelled, an epoch is labelled twice and differently, or most labels lie outside the
            recording.
    """
    index = {name: i for i, name in enumerate(spec.labels)}
    found: list[tuple[float, int]] = []
    for note in record.annotations:
        name = spec.annotations.get(note.text)
        if name is not None:
            count = int((note.duration_s + TOLERANCE_S) // spec.epoch_s) if note.duration_s > 0 else 1
            found += [(note.onset_s + i * spec.epoch_s, index[name]) for i in range(count)]
    if not found:
        raise RecordError(f"{record.where}: {_why_unlabelled(record, spec)}")
    found.sort()
    starts = np.array([start for start, _ in found])
    labels = np.array([label for _, label in found], dtype=np.int64)
    repeated = np.append(False, np.diff(starts) < TOLERANCE_S)
    if (wrong := np.flatnonzero(repeated[1:] & (np.diff(labels) != 0))).size:
        a, b = spec.labels[labels[wrong[0]]], spec.labels[labels[wrong[0] + 1]]
        raise RecordError(
            f"{record.where}: the epoch at {starts[wrong[0]]:g} s is labelled both '{a}' and '{b}'; keep one annotation"
        )
    starts, labels = starts[~repeated], labels[~repeated]
    inside = (starts >= -TOLERANCE_S) & (starts + spec.epoch_s <= record.duration_s + spec.epoch_s / 2)
    if inside.sum() < len(starts) / 2:
        raise RecordError(
            f"{record.where}: the labels reach to {starts[-1] + spec.epoch_s:g} s, the recording ends at "
            f"{record.duration_s:g} s; "
            "its rate is wrong, or the labels are another recording's"
        )
    return starts[inside], labels[inside]


def check_usable(windows: Windows) -> None:
    """Refuse windows from which nothing can be learnt: one class only, or one person only.

    Raises:
        FormatError: which of them.
    """
    present = [name for name, count in zip(windows.spec.labels, windows.class_counts(), strict=True) if count]
    if len(present) < 2:
        raise FormatError(
            f"all {len(windows)} windows are labelled '{''.join(present)}'; at least two of "
            f"{', '.join(windows.spec.labels)} are needed"
        )
    if (people := len(np.unique(windows.person))) < 2:
        raise FormatError(
            f"the windows come from {people} person; patient-disjoint training needs more: add recordings, or "
            "say who is who in persons.csv"
        )


def _line(record: Record, wanted: SignalSpec, spec: WindowSpec) -> Line:
    signal = _find(record, wanted)
    if wanted.unit and signal.unit and _unit(wanted.unit) != _unit(signal.unit):
        raise RecordError(
            f"{record.where}: signal '{signal.name}' is in {signal.unit}, the windows need {wanted.unit}; convert it"
        )
    times, values = np.asarray(signal.times_s, dtype=np.float64), np.asarray(signal.values, dtype=np.float64)
    low, high = wanted.valid or (-np.inf, np.inf)
    valid = np.isfinite(values) & (values >= low) & (values <= high)
    if not valid.any():
        ranged = f" between {low:g} and {high:g} {wanted.unit}" if wanted.valid else ""
        raise RecordError(
            f"{record.where}: signal '{signal.name}' has no valid value{ranged} (all are NaN or outside); "
            "leave the record out"
        )
    _check_rate(record, spec)
    times, values = times[valid], values[valid]
    period = (
        1.0 / signal.rate_hz
        if isinstance(signal, SampledSignal)
        else float(np.median(np.diff(times)))
        if len(times) > 1
        else 0.0
    )
    # The value of an event speaks of the time up to it; a sample's of half a period on either side.
    gap = max(2.0 * period * (1 + 1e-6), min(MAX_GAP_S, spec.epoch_s / 4))
    return Line(times, values, max_gap_s=gap, reach_s=period / 2 if isinstance(signal, SampledSignal) else period)


def _check_rate(record: Record, spec: WindowSpec) -> None:
    """The fastest of the wanted signals must be about as fast as the windows; slower ones beside it are "
    "filled in between."""
    signals = [_find(record, wanted) for wanted in spec.signals]
    rates = [signal.rate_hz for signal in signals if isinstance(signal, SampledSignal)]
    if len(rates) == len(signals) and max(rates) < 0.5 * spec.rate_hz:
        raise RecordError(
            f"{record.where}: sampled at {max(rates):g} Hz, too slow for windows at {spec.rate_hz:g} Hz; is "
            "its rate stated rightly?"
        )


def _find(record: Record, wanted: SignalSpec) -> Signal:
    for name in (wanted.name, *wanted.aliases):
        for signal in record.signals:
            if signal.name.casefold() == name.casefold():
                return signal
    there = ", ".join(signal.name for signal in record.signals) or "none"
    raise RecordError(
        f"{record.where}: no signal '{wanted.name}'; the recording has {there}; add an alias to the window spec"
    )


def _normaliser(line: Line, record: Record, spec: WindowSpec) -> tuple[float, float]:
    if spec.normalisation == "none":
        return 0.0, 1.0
    # At least one whole interval, where the recording is shorter than that.
    edges = np.arange(max(1, int(record.duration_s * spec.rate_hz + 1e-6)) + 1) / spec.rate_hz
    covered = line.covered(edges[:-1], edges[1:]) >= 0.5
    means = line.means(edges)[covered] if covered.any() else line.values + line.offset
    low, centre, high = np.percentile(means, [25, 50, 75])
    if spec.normalisation == "record-centre":
        return float(centre), 1.0
    smallest = 1e-9 * max(1e-9, float(np.abs(means).max()))
    scales = ((high - low) / QUARTILES_TO_SIGMA, means.std(), 1.0)
    return float(centre), float(next(scale for scale in scales if scale > smallest))


def _unit(text: str) -> str:
    # The micro sign has two code points and an ASCII stand-in.
    return text.strip().replace("\u00b5", "u").replace("\u03bc", "u")


def _why_unlabelled(record: Record, spec: WindowSpec) -> str:
    known = sorted(spec.annotations)
    if not record.annotations:
        return "no labels: it has no annotations; put them beside it, or name their folder"
    if any(a.text in spec.annotations for a in record.annotations):
        longest = max(a.duration_s for a in record.annotations if a.text in spec.annotations)
        return (
            f"no labels: its annotations last at most {longest:g} s, an epoch lasts {spec.epoch_s:g} s; use "
            "a shorter epoch"
        )
    return (
        f"no labels: its annotations are {_some([a.text for a in record.annotations])}, the windows know {_some(known)}"
    )


def _some(texts: Sequence[str]) -> str:
    found = sorted(set(texts))
    return ", ".join(found[:6]) + (" ..." if len(found) > 6 else "")
