"""From arrays to a `Record`: the rules that NPZ and CSV files share.

The arrays go by the names of the schema in `stimset.records.arrays`; this module holds the rules about their shapes
and lengths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stimset.errors import RecordError
from stimset.records.base import Annotation, EventSeries, Record, SampledSignal, Signal, runs

RATE_NAMES = (
    "rate_hz", "rate", "fs", "hz", "sampling_hz", "sampling_rate", "sampling_rate_hz", "sample_rate",
    "sample_rate_hz", "sfreq",
    "sampling_frequency", "frequency_hz",
)  # fmt: skip
MIN_LABELLED_SHARE = 0.5
EVEN = 0.01


class Source(Protocol):
    """Where the arrays come from."""

    @property
    def place(self) -> str:
        """The file's path, as messages name it."""

    def fail(self, cause: str) -> RecordError:
        """An error that names the file, this cause, what was found and what is accepted."""


def build_record(
    source: Source, name: str, person: str, signals: NDArray[Any] | None, arrays: Mapping[str, NDArray[Any] | None]
) -> Record:
    """One recording from its arrays (see the module's docstring).

    Raises:
        RecordError: something is missing, of the wrong type, or the lengths don't fit each other.
    """
    if signals is None or signals.dtype.kind not in "iufb" or not 1 <= signals.ndim <= 2 or not signals.size:
        raise source.fail(f"recording '{name}': signals must be numbers of shape (channels, samples)")
    named = arrays.get("channels")
    values = oriented(signals, named.size if named is not None else 0).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    count, samples = values.shape
    names = [text_of(v) for v in named.reshape(-1)] if named is not None else [f"channel{i + 1}" for i in range(count)]
    stated = arrays.get("units")
    units = [text_of(v) for v in stated.reshape(-1)] if stated is not None else [""]
    units = units * count if len(units) == 1 else units
    if len(names) != count or len(units) != count:
        raise source.fail(
            f"recording '{name}': {len(names)} channel names and {len(units)} units for signals of shape "
            f"{signals.shape}"
        )
    labels = label_texts(source, name, arrays.get("labels"), arrays.get("label_names"))
    times = arrays.get("times_s")
    if times is not None and arrays.get("rate_hz") is None:
        at = _times(source, name, times, samples)
        step = even_step(at)
        if step:
            arrays = {**arrays, "rate_hz": np.array(1.0 / step)}
            times = None
    if times is not None and arrays.get("rate_hz") is None:
        series = [EventSeries(n, u, at, v) for n, u, v in zip(names, units, values, strict=True)]
        epoch_s = number(source, "epoch_s", arrays.get("epoch_s")) if arrays.get("epoch_s") is not None else 0.0
        length = max(float(at[-1]), epoch_s * len(labels)) if samples else 0.0
        return Record(
            name, person or name, tuple(series), _placed(source, name, labels, arrays, epoch_s), length, source.place
        )
    rate, epoch_s = _rate_and_epoch(source, name, samples, labels, arrays)
    sampled: tuple[Signal, ...] = tuple(
        SampledSignal(n, u, rate, v) for n, u, v in zip(names, units, values, strict=True)
    )
    if len(labels) == samples and arrays.get("onsets_s") is None and samples > 1:
        annotations = runs(labels, 1.0 / rate)
    else:
        annotations = _placed(source, name, labels, arrays, epoch_s)
        _check_lengths(source, name, samples / rate, annotations)
    return Record(name, person or name, sampled, annotations, samples / rate, source.place)


def even_step(times: NDArray[np.float64]) -> float:
    """The seconds between two of these times, where they are even to within one per cent; else 0."""
    steps = np.diff(times)
    if not len(steps) or float(np.abs(steps - np.median(steps)).max()) > EVEN * float(np.median(steps)):
        return 0.0
    return float(steps.mean())


def _times(source: Source, name: str, times: NDArray[Any], samples: int) -> NDArray[np.float64]:
    if times.dtype.kind not in "iuf" or times.size != samples:
        raise source.fail(
            f"recording '{name}': {times.size} times for {samples} samples; give one time in seconds for each"
        )
    at = times.reshape(-1).astype(np.float64)
    if not np.isfinite(at).all() or (np.diff(at) <= 0).any():
        raise source.fail(f"recording '{name}': times must be numbers that increase from one to the next")
    return at


def _rate_and_epoch(
    source: Source, name: str, samples: int, labels: Sequence[str], arrays: Mapping[str, NDArray[Any] | None]
) -> tuple[float, float]:
    rate_array, epoch_array = arrays.get("rate_hz"), arrays.get("epoch_s")
    even = len(labels) > 0 and samples % len(labels) == 0
    rate = number(source, "rate_hz", rate_array) if rate_array is not None else 0.0
    epoch_s = number(source, "epoch_s", epoch_array) if epoch_array is not None else 0.0
    if rate_array is None:
        if not (even and epoch_s and len(labels) < samples):
            raise source.fail(f"recording '{name}': no sampling rate; accepted are " + ", ".join(RATE_NAMES[:6]))
        rate = samples / len(labels) / epoch_s
    placed = arrays.get("onsets_s") is not None or len(labels) in (0, samples)
    if epoch_array is None and not placed:
        if not even:
            raise source.fail(
                f"recording '{name}': no epoch_s, and {len(labels)} labels don't divide {samples} samples evenly"
            )
        epoch_s = samples / len(labels) / rate
    return rate, epoch_s


def _placed(
    source: Source, name: str, labels: Sequence[str], arrays: Mapping[str, NDArray[Any] | None], epoch_s: float
) -> tuple[Annotation, ...]:
    onsets, durations = arrays.get("onsets_s"), arrays.get("durations_s")
    if onsets is None:
        if labels and not epoch_s > 0:
            raise source.fail(f"recording '{name}': no epoch_s says how long a label lasts")
        return tuple(Annotation(i * epoch_s, epoch_s, text) for i, text in enumerate(labels) if text)
    lasting = durations if durations is not None else np.full(len(labels), epoch_s)
    if onsets.size != len(labels) or lasting.size not in (1, len(labels)):
        raise source.fail(
            f"recording '{name}': {onsets.size} onsets and {lasting.size} durations for {len(labels)} labels"
        )
    lasting = np.broadcast_to(lasting.reshape(-1), (len(labels),))
    found = (
        Annotation(float(o), float(d), t) for o, d, t in zip(onsets.reshape(-1), lasting, labels, strict=True) if t
    )
    return tuple(sorted(found, key=lambda a: a.onset_s))


def _check_lengths(source: Source, name: str, duration_s: float, annotations: Sequence[Annotation]) -> None:
    """A wrong rate or epoch shows itself: the labels then speak of another length of time than the signals."""
    if not annotations:
        return
    end = max(a.onset_s + a.duration_s for a in annotations)
    longest = max(a.duration_s for a in annotations)
    if end > duration_s + longest + 1e-6 or end < MIN_LABELLED_SHARE * duration_s:
        raise source.fail(
            f"recording '{name}': the labels last {end:g} s, the signals {duration_s:g} s; rate_hz, epoch_s or "
            "a length is wrong"
        )


def oriented(signals: NDArray[Any], channels: int) -> NDArray[Any]:
    """``(channels, samples)``, whichever way round they came (see the module's docstring)."""
    if signals.ndim == 1:
        return signals[None]
    rows, columns = signals.shape
    if channels and (rows == channels) != (columns == channels):
        return signals if rows == channels else signals.T
    return signals if rows <= columns else signals.T


def number(source: Source, name: str, array: NDArray[Any] | None) -> float:
    """The one positive number in this array."""
    try:
        value = float("nan") if array is None else float(np.unique(array.astype(np.float64)).item())
    except (ValueError, TypeError):
        value = float("nan")
    if not (math.isfinite(value) and value > 0):
        raise source.fail(f"{name} must be one positive number")
    return value


def label_texts(source: Source, name: str, labels: NDArray[Any] | None, label_names: NDArray[Any] | None) -> list[str]:
    """Labels as texts; an empty one labels nothing."""
    if labels is None:
        return []
    if labels.ndim > 1 and max(labels.shape) != labels.size:
        raise source.fail(f"recording '{name}': labels have shape {labels.shape}, but one per epoch is expected")
    texts = [text_of(value) for value in labels.reshape(-1)]
    if label_names is None or labels.dtype.kind not in "iufb":
        return texts
    called = [text_of(value) for value in label_names.reshape(-1)]
    if any(t and not (t.isdigit() and int(t) < len(called)) for t in texts):
        raise source.fail(f"recording '{name}': a label is no index into the {len(called)} label_names")
    return [called[int(t)] if t else "" for t in texts]


def text_of(value: Any) -> str:
    """A label, name or person as text: ``3`` and ``3.0`` become ``"3"``, NaN becomes ``""``."""
    if isinstance(value, bytes | np.bytes_):
        return bytes(value).decode("utf-8", "replace").strip()
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value).strip()
