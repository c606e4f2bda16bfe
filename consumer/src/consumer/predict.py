"""An exported model on recordings: every epoch gets probabilities and a label, as a table and as a picture.

Usage::

    model = Model.load(Path("apnea.onnx"))
    for record in open_records(Path("night.edf")):
        night = predict(model, record)
        write_table(night, Path("night.csv"))
        write_picture(night, Path("night.svg"))

The ONNX file alone is needed: the window spec in its properties says how a recording becomes windows. Labels in the recording aren't
needed; where there are some, they stand beside the model's. An epoch without enough valid data gets no label.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consumer.students.student import INPUT, MAX_MODEL_BYTES, OUTPUT, answers, bounded, open_session, write_whole
from stimset.errors import ConfigError, FormatError, RecordError
from stimset.metrics import cohen_kappa
from stimset.records.base import Annotation, Record
from stimset.windowing import TOLERANCE_S, labelled_epochs, record_windows
from stimset.windows import WindowSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EVERY = "epoch"


@dataclass(frozen=True)
class Model:
    """An exported student.

    Attributes:
        name: the file's.
        data: the file's bytes.
        spec: which windows it expects.
        family, release, custodian, statement_sha256: its lineage, as the file states it.
        simulated: whether its release's patients are simulated.
    """

    name: str
    data: bytes
    spec: WindowSpec
    family: str
    release: str
    custodian: str
    statement_sha256: str
    simulated: bool

    @classmethod
    def load(cls, file: Path) -> Model:
        """Read an ONNX file that ``consumer export`` wrote.

        Raises:
            ConfigError: it is not there.
            FormatError: it is no such file.
        """
        if not file.is_file():
            raise ConfigError(f"{file}: no such model; 'consumer export' writes one")
        data = bounded(file, MAX_MODEL_BYTES)
        session = open_session(data, file.name)
        found = dict(session.get_modelmeta().custom_metadata_map)
        try:
            spec = WindowSpec.from_document(json.loads(found["stimset.window_spec"]))
            made = cls(
                file.name, data, spec, found["stimset.family"], found["stimset.release"], found["stimset.custodian"],
                found["stimset.statement_sha256"], found["stimset.simulated"] == "true",
            )  # fmt: skip
        except (KeyError, ValueError) as error:
            raise FormatError(f"{file}: no model of ours (its properties lack {error}); export it by 'consumer export'") from None
        shapes = {part.name: list(part.shape[1:]) for part in (*session.get_inputs(), *session.get_outputs())}
        if shapes != {INPUT: list(spec.shape), OUTPUT: [spec.classes]}:
            raise FormatError(f"{file}: its inputs and outputs {shapes} don't fit its window spec; export it again")
        return made

    @functools.cached_property
    def session(self) -> Any:
        """The onnxruntime session."""
        return open_session(self.data, self.name)

    def predict_proba(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities ``(n, classes)`` of windows ``(n, channels, samples)``; raises what `Student.predict_proba` raises."""
        return answers(self.session, self.name, self.spec, windows)


@dataclass(frozen=True)
class Night:
    """What a model says of one recording.

    Attributes:
        recording: its name.
        model: which model.
        start_s: ``(n,)`` where each epoch begins.
        probabilities: ``(n, classes)``.
        decided: ``(n,)`` index of the most probable label; -1 without enough valid data.
        coverage: ``(n,)`` share of valid data.
        labelled: ``(n,)`` index of the recording's own label; -1 where it has none.
    """

    recording: str
    model: Model
    start_s: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    decided: NDArray[np.int64]
    coverage: NDArray[np.float32]
    labelled: NDArray[np.int64]

    @property
    def kappa(self) -> float | None:
        """Agreement with the recording's own labels; None where there are none, or where it is not defined."""
        both = (self.decided >= 0) & (self.labelled >= 0)
        return cohen_kappa(self.labelled[both], self.decided[both], self.model.spec.classes) if both.any() else None

    def rows(self) -> list[dict[str, Any]]:
        """One row per epoch: begin and end in seconds, label, probability of each label, coverage, the recording's own label."""
        labels, length = self.model.spec.labels, self.model.spec.epoch_s
        return [
            {
                "start_s": round(float(start), 3), "end_s": round(float(start) + length, 3), "label": labels[k] if k >= 0 else None,
                **{f"p_{label}": round(float(p), 6) for label, p in zip(labels, chances, strict=True)},
                "coverage": round(float(coverage), 4), "labelled": labels[own] if own >= 0 else None,
            }
            for start, chances, k, coverage, own in zip(
                self.start_s, self.probabilities, self.decided, self.coverage, self.labelled, strict=True
            )
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Counts of each label, epochs without enough data, and with two labels the rate of the last one an hour."""
        spec, valid = self.model.spec, int((self.decided >= 0).sum())
        counts = {label: int((self.decided == k).sum()) for k, label in enumerate(spec.labels)}
        hours = valid * spec.epoch_s / 3600
        rate = counts[spec.labels[1]] / hours if spec.classes == 2 and valid else None
        return {
            "recording": self.recording, "epochs": len(self.decided), "hours": round(hours, 4), "counts": counts,
            "without_data": len(self.decided) - valid, "per_hour": None if rate is None else round(rate, 3), "kappa": self.kappa,
        }  # fmt: skip


def predict(model: Model, record: Record) -> Night:
    """Label every whole epoch of a recording.

    Epochs follow each other from the recording's beginning; where it is labelled, they fall on its labels' epochs. The windows are
    exactly those that a benchmark makes of the same epochs.

    Raises:
        RecordError: a signal is missing, in another unit, too slow, or has no valid value; or the recording is too short.
    """
    spec = model.spec
    own_starts, own_labels = _own_labels(record, spec)
    first = float(own_starts[0] % spec.epoch_s) if len(own_starts) else 0.0
    if abs(first - spec.epoch_s) < TOLERANCE_S:
        first = 0.0
    # As with labels: the last epoch may reach beyond the recording's end by half.
    count = int((record.duration_s - first + spec.epoch_s / 2 + TOLERANCE_S) // spec.epoch_s)
    if count < 1:
        raise RecordError(f"{record.where}: lasts {record.duration_s:g} s, an epoch {spec.epoch_s:g} s; it is too short")
    everything = replace(record, annotations=(Annotation(first, count * spec.epoch_s, _EVERY),))
    widened = replace(spec, annotations={_EVERY: spec.labels[0]}, min_coverage=0.0)
    values, _, starts, coverage = record_windows(everything, widened)
    chances = model.predict_proba(values)
    decided = np.where(coverage >= spec.min_coverage - 1e-9, chances.argmax(axis=1), -1)
    labelled = np.full(len(starts), -1, dtype=np.int64)
    if len(own_starts):
        nearest = np.abs(starts[:, None] - own_starts[None]).argmin(axis=1)
        same = np.abs(own_starts[nearest] - starts) < max(TOLERANCE_S, 0.01 * spec.epoch_s)
        labelled[same] = own_labels[nearest[same]]
    return Night(record.name, model, starts, chances, decided.astype(np.int64), coverage, labelled)


def _own_labels(record: Record, spec: WindowSpec) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The recording's own labels; none where it has none that the spec knows."""
    if not any(note.text in spec.annotations for note in record.annotations):
        return np.empty(0), np.empty(0, dtype=np.int64)
    return labelled_epochs(record, spec)


def file_name(recording: str) -> str:
    """A recording's name as the name of a file: letters, digits and ``.-_`` stay."""
    return re.sub(r"[^\w.-]+", "_", recording).lstrip(".") or "recording"


def write_table(night: Night, file: Path) -> None:
    """Write the epochs as CSV or JSON, as the file's ending says.

    Raises:
        ConfigError: another ending, or the place can't be written to.
    """
    rows = night.rows()
    if file.suffix == ".json":
        model = night.model
        document = night.summary() | {
            "model": model.name, "release": model.release, "statement_sha256": model.statement_sha256, "simulated": model.simulated,
            "rows": rows,
        }  # fmt: skip
        write_whole(file, json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False).encode())
    elif file.suffix == ".csv":
        text = io.StringIO()
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        write_whole(file, text.getvalue().encode())
    else:
        raise ConfigError(f"{file}: a table is written as .csv or .json")


def write_picture(night: Night, file: Path) -> None:
    """Write the picture as SVG or PNG, as the file's ending says.

    Raises:
        ConfigError: another ending, or the place can't be written to.
    """
    import matplotlib

    if file.suffix not in (".svg", ".png"):
        raise ConfigError(f"{file}: a picture is written as .svg or .png")
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "stimset"}):
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        picture(night).savefig(buffer, format=file.suffix[1:], dpi=150, facecolor="white", metadata=metadata)
    write_whole(file, buffer.getvalue())


def picture(night: Night) -> Figure:
    """A hypnogram: the label of each epoch over hours, the recording's own label under it, and below how sure the model is."""
    from consumer.report import ACCENT, FAINT, INK, new_axes

    spec, valid = night.model.spec, night.decided >= 0
    hours, width = night.start_s / 3600, spec.epoch_s / 3600
    figure, (above, below) = new_axes(9.5, 1.5 + 0.34 * spec.classes + 1.3, rows=2, heights=(0.34 * spec.classes + 0.5, 1.3))
    level = np.where(valid, night.decided, np.nan)
    above.stairs(level, np.append(hours, hours[-1] + width), baseline=None, color=ACCENT, linewidth=1.5, label="model")
    if (own := night.labelled >= 0).any():
        dashes = (0, (1.2, 1.2))
        placed = np.where(own, night.labelled - 0.12, np.nan)
        edges = np.append(hours, hours[-1] + width)
        above.stairs(placed, edges, baseline=None, color=FAINT, linewidth=1.2, linestyle=dashes, label="recording's own")
        above.legend(loc="upper right", bbox_to_anchor=(1, 1.32), ncols=2, fontsize=8, frameon=False)
    above.set_yticks(range(spec.classes), spec.labels)
    above.set_ylim(-0.5, spec.classes - 0.5)
    title = f"{night.recording}, by {night.model.name}" + (" (SIMULATED patients)" if night.model.simulated else "")
    above.set_title(title, loc="left", fontsize=10, color=INK)
    sure = night.probabilities[:, 1] if spec.classes == 2 else night.probabilities.max(axis=1)
    below.stairs(np.where(valid, sure, 0), np.append(hours, hours[-1] + width), fill=True, color=ACCENT, alpha=0.35)
    below.set_ylim(0, 1)
    below.set_ylabel(f"p({spec.labels[1]})" if spec.classes == 2 else "p of its label", fontsize=9, color=INK)
    below.set_xlabel("hours from the beginning", fontsize=9, color=INK)
    for axes in (above, below):
        axes.set_xlim(0, float(hours[-1] + width))
        axes.grid(axis="x", color="#dde3e9", linewidth=0.8)
        for start in hours[~valid]:
            axes.axvspan(start, start + width, color="#eef1f4", linewidth=0)
    return figure
