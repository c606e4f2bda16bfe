"""What a window is, and what a set of them looks like in memory.

A `WindowSpec` is a promise: the same bytes of a recording become the same array on both sides of the border. It is signed with
every release, so a student meets a partner's own recordings in exactly the form that the teacher met the patients'.

Usage::

    spec = WindowSpec(signals=(SignalSpec("rr", unit="ms", valid=(300.0, 2000.0)),), rate_hz=0.5, epoch_s=60.0,
                      before_s=120.0, after_s=120.0, labels=("normal", "apnea"), annotations={"N": "normal", "A": "apnea"})
    spec.shape        # (1, 150)
    spec == WindowSpec.from_document(spec.to_document())
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from stimset.errors import FormatError

Normalisation = Literal["record-robust", "record-centre", "none"]

MAX_SIGNALS = 64
MAX_CLASSES = 64
MAX_SAMPLES = 1 << 20
MAX_ANNOTATIONS = 256
MAX_NAME = 80


@dataclass(frozen=True)
class SignalSpec:
    """One channel of a window.

    Attributes:
        name: the channel's name in the release, and the first name looked for in a recording (case is ignored).
        unit: of the values before normalisation, e.g. ``"ms"``; empty where unknown. A recording that states another unit is refused.
        aliases: other names that recordings use for it.
        valid: values outside this closed range, in `unit`, count as missing; None accepts all finite values.
    """

    name: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    valid: tuple[float, float] | None = None


@dataclass(frozen=True)
class WindowSpec:
    """How a recording becomes labelled windows.

    A window is the labelled epoch with context on either side, each signal averaged over the output sample's interval
    (`stimset.windowing` says exactly how), normalised per recording and clipped.

    Attributes:
        signals: the channels, in order.
        rate_hz: samples per second of the window.
        epoch_s: seconds that one label speaks of.
        before_s: seconds of context before the epoch.
        after_s: seconds of context after it.
        labels: the classes' names; their order is the order of all probabilities.
        annotations: what a recording's annotation is called -> class name; an annotation that is not named here labels nothing.
        normalisation: ``record-robust`` subtracts each recording's own median and divides by its own interquartile range / 1.349;
            ``record-centre`` subtracts the median only; ``none`` leaves the unit.
        clip: after normalisation values are held within ``[-clip, clip]``.
        min_coverage: a window is used when at least this share of it has valid data, in every signal.
        meaning: one sentence for people: what the label says of the epoch, by whose judgement.
    """

    signals: tuple[SignalSpec, ...]
    rate_hz: float
    epoch_s: float
    labels: tuple[str, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    before_s: float = 0.0
    after_s: float = 0.0
    normalisation: Normalisation = "record-robust"
    clip: float = 5.0
    min_coverage: float = 0.5
    meaning: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", MappingProxyType(dict(self.annotations)))
        for problem in self._problems():
            raise FormatError(f"window spec: {problem}")

    def _problems(self) -> list[str]:
        names = [s.name for s in self.signals]
        checks = [
            (1 <= len(names) <= MAX_SIGNALS, f"1 to {MAX_SIGNALS} signals are needed, {len(names)} are given"),
            (len(set(names)) == len(names), "two signals have the same name"),
            (2 <= len(self.labels) <= MAX_CLASSES, f"2 to {MAX_CLASSES} labels are needed, {len(self.labels)} are given"),
            (len(set(self.labels)) == len(self.labels), "two labels have the same name"),
            (all(0 < len(n) <= MAX_NAME for n in (*names, *self.labels)), f"names have 1 to {MAX_NAME} characters"),
            (len(self.annotations) <= MAX_ANNOTATIONS, f"at most {MAX_ANNOTATIONS} annotations can be named"),
            (set(self.annotations.values()) <= set(self.labels), "an annotation is mapped to a label that is not listed"),
            (0 < self.rate_hz < 1e6 and math.isfinite(self.rate_hz), "rate_hz must be positive"),
            (0 < self.epoch_s < 1e6 and math.isfinite(self.epoch_s), "epoch_s must be positive"),
            (0 <= self.before_s < 1e6 and 0 <= self.after_s < 1e6, "before_s and after_s can't be negative"),
            (0 < self.clip < 1e6, "clip must be positive"),
            (0 <= self.min_coverage <= 1, "min_coverage must lie in [0, 1]"),
            (self.normalisation in get_args(Normalisation), f"normalisation must be one of {get_args(Normalisation)}"),
            (
                all(s.valid is None or (len(s.valid) == 2 and s.valid[0] < s.valid[1]) for s in self.signals),
                "valid must be (low, high) with low < high",
            ),
        ]
        problems = [text for holds, text in checks if not holds]
        if not problems:
            exact = self.rate_hz * (self.before_s + self.epoch_s + self.after_s)
            if abs(exact - round(exact)) > 1e-6 or not 2 <= round(exact) <= MAX_SAMPLES:
                problems.append(f"rate_hz x length gives {exact:g} samples; a whole number of 2 to {MAX_SAMPLES} is needed")
        return problems

    @property
    def length_s(self) -> float:
        """Seconds in a window, context included."""
        return self.before_s + self.epoch_s + self.after_s

    @property
    def channels(self) -> int:
        """Number of signals."""
        return len(self.signals)

    @property
    def samples(self) -> int:
        """Samples per signal and window."""
        return round(self.rate_hz * self.length_s)

    @property
    def classes(self) -> int:
        """Number of labels."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int]:
        """``(channels, samples)`` of one window."""
        return self.channels, self.samples

    def to_document(self) -> dict[str, Any]:
        """The spec as plain JSON values; `from_document` reads them back."""
        return {
            "signals": [
                {"name": s.name, "unit": s.unit, "aliases": list(s.aliases), "valid": list(s.valid) if s.valid else None}
                for s in self.signals
            ],
            "rateHz": float(self.rate_hz),
            "epochSeconds": float(self.epoch_s),
            "beforeSeconds": float(self.before_s),
            "afterSeconds": float(self.after_s),
            "labels": list(self.labels),
            "annotations": dict(sorted(self.annotations.items())),
            "normalisation": self.normalisation,
            "clip": float(self.clip),
            "minCoverage": float(self.min_coverage),
            "meaning": self.meaning,
        }

    @classmethod
    def from_document(cls, document: object) -> WindowSpec:
        """Read a spec from JSON values.

        Raises:
            FormatError: a field is missing, unknown, of the wrong type or out of bounds.
        """
        if not isinstance(document, Mapping):
            raise FormatError("window spec: an object is expected")
        expected = {
            "signals", "rateHz", "epochSeconds", "beforeSeconds", "afterSeconds", "labels", "annotations", "normalisation",
            "clip", "minCoverage", "meaning",
        }  # fmt: skip
        if set(document) != expected:
            raise FormatError(f"window spec: fields {sorted(set(document) ^ expected)} are missing or unknown")
        try:
            signals = tuple(
                SignalSpec(
                    name=_text(s["name"]),
                    unit=_text(s["unit"]),
                    aliases=tuple(_text(a) for a in s["aliases"]),
                    valid=None if s["valid"] is None else (float(s["valid"][0]), float(s["valid"][1])),
                )
                for s in document["signals"]
            )
            return cls(
                signals=signals,
                rate_hz=float(document["rateHz"]),
                epoch_s=float(document["epochSeconds"]),
                before_s=float(document["beforeSeconds"]),
                after_s=float(document["afterSeconds"]),
                labels=tuple(_text(name) for name in document["labels"]),
                annotations={_text(k): _text(v) for k, v in document["annotations"].items()},
                normalisation=document["normalisation"],
                clip=float(document["clip"]),
                min_coverage=float(document["minCoverage"]),
                meaning=_text(document["meaning"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise FormatError(f"window spec: malformed field ({error})") from None

    def __reduce__(self) -> tuple[Any, ...]:
        # So that a process beside this one can be given a spec; its read-only mapping can't be copied by itself.
        return WindowSpec.from_document, (self.to_document(),)

    def digest(self) -> str:
        """SHA-256 (hex) over the sorted, compact JSON of `to_document`: two sides with equal digests make equal windows."""
        text = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 2000:
        raise ValueError("a text of at most 2000 characters is expected")
    return value


@dataclass(frozen=True)
class Windows:
    """Labelled windows of several recordings, as arrays.

    Attributes:
        spec: how they were made.
        values: ``(n, channels, samples)`` float32, normalised, within ``[-clip, clip]``, finite.
        labels: ``(n,)`` int64, index into ``spec.labels``.
        record: ``(n,)`` int64, index into `record_names`.
        person: ``(n,)`` int64, index into `person_names`.
        start_s: ``(n,)`` float64, seconds from the recording's beginning to the labelled epoch's.
        coverage: ``(n,)`` float32, the smallest share of valid data over the signals.
    """

    spec: WindowSpec
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    record: NDArray[np.int64]
    person: NDArray[np.int64]
    start_s: NDArray[np.float64]
    coverage: NDArray[np.float32]
    record_names: tuple[str, ...]
    person_names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.values)
        if self.values.shape != (n, *self.spec.shape) or self.values.dtype != np.float32:
            raise FormatError(f"windows: float32 of shape (n, {self.spec.channels}, {self.spec.samples}) is expected")
        for name in ("labels", "record", "person", "start_s", "coverage"):
            if getattr(self, name).shape != (n,):
                raise FormatError(f"windows: {name} must have one entry per window")

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: NDArray[Any]) -> Windows:
        """The windows of these rows (an index or mask array); names keep their numbers."""
        return Windows(
            self.spec, self.values[rows], self.labels[rows], self.record[rows], self.person[rows], self.start_s[rows],
            self.coverage[rows], self.record_names, self.person_names,
        )  # fmt: skip

    def of_persons(self, persons: Sequence[int] | NDArray[np.int64]) -> Windows:
        """The windows of these persons (indices into `person_names`)."""
        return self.select(np.isin(self.person, np.asarray(persons)))

    def class_counts(self) -> NDArray[np.int64]:
        """``(classes,)`` windows of each class."""
        return np.bincount(self.labels, minlength=self.spec.classes).astype(np.int64)
