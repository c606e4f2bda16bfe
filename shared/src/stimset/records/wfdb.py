"""WFDB (PhysioNet): signals, annotations, and RR intervals from beat annotations.

A record is a header ``NAME.hea``. Everything else is optional, and what is there is used:

* ``NAME.dat`` (or whatever files the header names): the signals. Where a signal file is absent the record has only its
  annotations; where it is shorter than the header says, the record is refused.
* labels: the first of ``.apn .st .stage .hyp .atr .ann`` that exists, in the folder of labels if one is given, else
  beside the header. An annotation's text is its note (``aux``) if it has one, else its symbol. Beats label nothing,
  except in ``.apn``, where A and N say whether the minute that starts there has an apnea. A rhythm change ``(AFIB``
  lasts until the next one.
* beats: the first of ``.qrs .ecg .beat .atr .ari`` that exists and holds beats. From them comes the event series
  ``RR`` in ms: each interval at the beat that ends it, without those outside 0.3 to 2.0 s and those more than 30 % off
  the median of the 11 intervals around.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stimset.errors import RecordError
from stimset.records.base import Annotation, EventSeries, Record, SampledSignal, Signal, optional_module

LABEL_EXTENSIONS = ("apn", "st", "stage", "hyp", "atr", "ann")
BEAT_EXTENSIONS = ("qrs", "ecg", "beat", "atr", "ari")
BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")

RR_RANGE_S = (0.3, 2.0)
RR_NEIGHBOURS = 11
RR_TOLERANCE = 0.3


def read_wfdb(header: Path, *, person: str = "", labels: Path | None = None) -> Record:
    """Read one WFDB record.

    Args:
        header: the ``.hea`` file.
        person: whom it belongs to; empty takes the record's name.
        labels: a folder that holds the label annotations, where they don't lie beside the header.

    Raises:
        RecordError: the header, a signal file or an annotation file is broken, or there is neither a signal nor a beat.
        ConfigError: the extra ``[records]`` is not installed.
    """
    wfdb = optional_module("wfdb")
    stem = header.with_suffix("")
    try:
        head = wfdb.rdheader(str(stem))
    except Exception as error:
        raise RecordError(f"{header}: not a WFDB header ({_cause(error)}); fetch the record again") from None
    rate = float(head.fs or 0)
    if not rate > 0:
        raise RecordError(f"{header}: the header states no sampling rate; add it to the header's first line")
    listed = len(getattr(head, "file_name", None) or getattr(head, "seg_name", None) or [])
    if head.n_sig and not listed:
        raise RecordError(f"{header}: truncated: it promises {head.n_sig} signals and describes none; fetch it again")
    signals: list[Signal] = _signals(wfdb, header, head)
    beats = _beats(wfdb, stem, rate)
    if beats is not None and not any(s.name.casefold() == "rr" for s in signals):
        signals.append(rr_series(beats))
    if not signals:
        raise RecordError(
            f"{header}: neither a signal file nor beat annotations lie beside the header; fetch the .dat or .qrs file"
        )
    ends = [float(head.sig_len or 0) / rate, *(float(s.times_s[-1]) for s in signals if len(s.values))]
    annotations = _annotations(wfdb, stem, rate, max(ends), labels)
    return Record(stem.name, person or stem.name, tuple(signals), annotations, max(ends), str(header))


def is_usable(header: Path) -> bool:
    """Whether signals or beats lie beside this header: a header alone (or with labels only) is no recording."""
    stem = header.with_suffix("")
    if any(_beside(stem, extension).is_file() for extension in BEAT_EXTENSIONS):
        return True
    try:
        text = header.read_text(encoding="latin-1")
    except OSError:
        return True  # reading it will say what is wrong
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    # A header without signal lines is broken, which reading it will say; a multi-segment one ("NAME/3") names records.
    if len(lines) < 2 or "/" in lines[0][0]:
        return True
    return any((header.parent / parts[0]).is_file() for parts in lines[1:])


def rr_series(beat_times_s: NDArray[np.float64]) -> EventSeries:
    """The RR intervals of these beats, without implausible ones (see above).

    Args:
        beat_times_s: ``(n,)`` seconds, increasing.
    """
    times = np.unique(np.asarray(beat_times_s, dtype=np.float64))
    intervals = np.diff(times)
    if not len(intervals):
        return EventSeries("RR", "ms", np.empty(0), np.empty(0))
    half = RR_NEIGHBOURS // 2
    around = np.median(sliding_window_view(np.pad(intervals, half, mode="edge"), RR_NEIGHBOURS), axis=1)
    low, high = RR_RANGE_S
    kept = (intervals >= low) & (intervals <= high) & (np.abs(intervals - around) <= RR_TOLERANCE * around)
    return EventSeries("RR", "ms", times[1:][kept], 1000.0 * intervals[kept])


def _signals(wfdb: Any, header: Path, head: Any) -> list[Signal]:
    names = [name for name in (getattr(head, "file_name", None) or []) if name and name != "~"]
    multi_segment = bool(getattr(head, "seg_name", None))
    if not multi_segment and (not names or not all((header.parent / name).is_file() for name in names)):
        return []
    _check_sizes(header, head, names)
    try:
        record = wfdb.rdrecord(str(header.with_suffix("")), smooth_frames=False)
        frames, per_frame = record.e_p_signal, record.samps_per_frame
        if frames is None:  # a multi-segment record comes back joined, at the frame's rate
            frames, per_frame = list(np.asarray(record.p_signal).T), [1] * record.n_sig
    except Exception as error:
        raise RecordError(
            f"{header}: the signal file can't be read ({_cause(error)}); it is truncated or not what the header says"
        ) from None
    return [
        SampledSignal(str(name), str(unit or ""), float(record.fs) * int(k), np.asarray(values, dtype=np.float64))
        for name, unit, k, values in zip(record.sig_name, record.units, per_frame, frames, strict=True)
    ]


def _check_sizes(header: Path, head: Any, names: list[str]) -> None:
    """Refuse a signal file that is shorter than the header promises (only formats with a fixed number of "
    "bits per sample)."""
    bits = {"8": 8, "80": 8, "16": 16, "61": 16, "160": 16, "24": 24, "32": 32, "212": 12, "310": 32 / 3, "311": 32 / 3}
    formats = list(getattr(head, "fmt", None) or [])
    if not head.sig_len or any(f not in bits for f in formats):
        return
    per_frame = list(head.samps_per_frame or [1] * len(formats))
    for name in set(names):
        rows = [i for i, n in enumerate(head.file_name) if n == name]
        need = int(head.sig_len * sum(per_frame[i] * bits[formats[i]] for i in rows) / 8)
        have = (header.parent / name).stat().st_size
        if have < need:
            raise RecordError(
                f"{header.parent / name}: truncated: {have} bytes where the header promises {need}; fetch the "
                "file again"
            )


def _read_annotations(
    wfdb: Any, stem: Path, extension: str, rate: float
) -> tuple[NDArray[np.float64], list[str], list[str]]:
    """Onsets in seconds, symbols, notes."""
    path = _beside(stem, extension)
    size = path.stat().st_size
    if size < 2 or size % 2:
        raise RecordError(f"{path}: truncated annotation file ({size} bytes); fetch it again")
    try:
        found = wfdb.rdann(str(stem), extension)
    except Exception as error:
        raise RecordError(f"{path}: not a WFDB annotation file ({_cause(error)}); fetch it again") from None
    onsets = np.asarray(found.sample, dtype=np.float64) / float(found.fs or rate)
    notes = [str(note or "").replace("\x00", "").strip() for note in (found.aux_note or [""] * len(onsets))]
    return onsets, [str(symbol) for symbol in found.symbol], notes


def _beats(wfdb: Any, stem: Path, rate: float) -> NDArray[np.float64] | None:
    for extension in BEAT_EXTENSIONS:
        if _beside(stem, extension).is_file():
            onsets, symbols, _ = _read_annotations(wfdb, stem, extension, rate)
            beats: NDArray[np.float64] = onsets[np.array([symbol in BEATS for symbol in symbols], dtype=bool)]
            if len(beats) >= 2:
                return beats
    return None


def _annotations(wfdb: Any, stem: Path, rate: float, end_s: float, labels: Path | None) -> tuple[Annotation, ...]:
    # Labels in a folder of their own win over those beside the header.
    for folder in (labels, stem.parent):
        for extension in LABEL_EXTENSIONS if folder else ():
            source = (folder or stem.parent) / stem.name
            if _beside(source, extension).is_file():
                onsets, symbols, notes = _read_annotations(wfdb, source, extension, rate)
                found = _label_texts(onsets, symbols, notes, end_s, minutes=extension == "apn")
                if found:
                    return found
    return ()


def _label_texts(
    onsets: NDArray[np.float64], symbols: list[str], notes: list[str], end_s: float, *, minutes: bool
) -> tuple[Annotation, ...]:
    out = []
    rhythms = [
        i for i, (symbol, note) in enumerate(zip(symbols, notes, strict=True)) if symbol == "+" and note.startswith("(")
    ]
    until = dict(zip(rhythms, [*(float(onsets[i]) for i in rhythms[1:]), end_s], strict=True)) if rhythms else {}
    for i, (onset, symbol, note) in enumerate(zip(onsets, symbols, notes, strict=True)):
        if symbol in BEATS and not note and not minutes:
            continue
        duration = max(0.0, until[i] - float(onset)) if i in until else 0.0
        out.append(Annotation(float(onset), duration, note or symbol))
    return tuple(sorted(out, key=lambda a: a.onset_s))


def _beside(stem: Path, extension: str) -> Path:
    """The record's file of this kind; `Path.with_suffix` would cut a name that holds a dot."""
    return stem.with_name(f"{stem.name}.{extension}")


def _cause(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160] or type(error).__name__
