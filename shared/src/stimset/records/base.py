"""What a recording looks like once it is read, whatever file it came from.

Time is in seconds from the recording's beginning; missing values are NaN. Readers make these types,
`stimset.windowing` reads them.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from stimset.errors import ConfigError, RecordError


@dataclass(frozen=True)
class SampledSignal:
    """A signal with a constant rate.

    Attributes:
        name: as the file calls it.
        unit: as the file states it; empty where it says nothing.
        rate_hz: samples per second.
        values: ``(n,)`` float64, NaN = missing. Sample i speaks of the interval from ``start_s + i / rate_hz`` to
            ``start_s + (i + 1) / rate_hz``, and stands in its middle.
        start_s: when its first interval begins.
    """

    name: str
    unit: str
    rate_hz: float
    values: NDArray[np.float64]
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise RecordError(
                f"signal '{self.name}': a rate of {self.rate_hz:g} Hz is impossible; state the true rate in the file"
            )

    @property
    def times_s(self) -> NDArray[np.float64]:
        """``(n,)`` seconds at which the samples stand (the middles of their intervals)."""
        return np.asarray(self.start_s + (np.arange(len(self.values)) + 0.5) / self.rate_hz, dtype=np.float64)


@dataclass(frozen=True)
class EventSeries:
    """Values at irregular times, e.g. each RR interval at the beat that ends it.

    Attributes:
        name: e.g. ``"RR"``.
        unit: e.g. ``"ms"``.
        times_s: ``(n,)`` float64, strictly increasing.
        values: ``(n,)`` float64, NaN = missing.
    """

    name: str
    unit: str
    times_s: NDArray[np.float64]
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.times_s.shape != self.values.shape or self.times_s.ndim != 1:
            raise RecordError(
                f"signal '{self.name}': {len(self.times_s)} times for {len(self.values)} values; give one time "
                "per value"
            )
        if not np.isfinite(self.times_s).all() or (np.diff(self.times_s) <= 0).any():
            raise RecordError(
                f"signal '{self.name}': its times must be finite and increase; sort them and drop duplicates"
            )


Signal = SampledSignal | EventSeries


@dataclass(frozen=True)
class Annotation:
    """What somebody said about a piece of the recording.

    Attributes:
        onset_s: seconds from the beginning.
        duration_s: 0 where the file gives only a point in time: then it speaks of the epoch that starts there.
        text: e.g. ``"A"``, ``"Sleep stage N2"``.
    """

    onset_s: float
    duration_s: float
    text: str


@dataclass(frozen=True)
class Record:
    """One recording.

    Attributes:
        name: of the recording, unique within its folder.
        person: whom it belongs to; the record's own name where nothing says more (each recording its own person).
        signals: in the file's order.
        annotations: sorted by onset.
        duration_s: of the whole recording.
        source: the file or folder that it was read from, for messages.
    """

    name: str
    person: str
    signals: tuple[Signal, ...]
    annotations: tuple[Annotation, ...]
    duration_s: float
    source: str = ""

    @property
    def where(self) -> str:
        """How messages name the record: its file, or its name where it has none."""
        return self.source or self.name


@dataclass(frozen=True)
class RecordEntry:
    """A recording that was found but not yet read: its name, and how to read it."""

    name: str
    read: Callable[[], Record]


@dataclass(frozen=True)
class RecordSet(Sequence[Record]):
    """The recordings of a folder. Each is read when it is asked for, so a big data set never has to fit into memory.

    Attributes:
        entries: what was found, in order of name.
        place: the folder or file, for messages.
    """

    entries: tuple[RecordEntry, ...]
    place: str = field(default="")

    @property
    def names(self) -> tuple[str, ...]:
        """The records' names, without reading them."""
        return tuple(entry.name for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordSet: ...
    def __getitem__(self, index: int | slice) -> Record | RecordSet:
        if isinstance(index, slice):
            return RecordSet(self.entries[index], self.place)
        return self.entries[index].read()

    def __iter__(self) -> Iterator[Record]:
        return (entry.read() for entry in self.entries)


def optional_module(name: str) -> Any:
    """Import a reader's library, which only the extra ``[records]`` brings.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"reading this kind of file needs '{name}'; install it with: pip install 'stimset[records]'"
        ) from None


def runs(texts: Sequence[str], step_s: float, *, start_s: float = 0.0) -> tuple[Annotation, ...]:
    """Labels given one per sample -> one annotation per run of equal, non-empty labels.

    Args:
        texts: one per sample; an empty one labels nothing.
        step_s: seconds between two.
        start_s: when the first begins.
    """
    if not len(texts):
        return ()
    array = np.asarray(texts, dtype=object)
    starts = np.concatenate([[0], np.flatnonzero(array[1:] != array[:-1]) + 1])
    ends = np.concatenate([starts[1:], [len(array)]])
    return tuple(
        Annotation(start_s + float(first) * step_s, float(last - first) * step_s, str(array[first]))
        for first, last in zip(starts, ends, strict=True)
        if array[first]
    )
