"""A student leaves as one ONNX file, after it was proven again that the file answers as the trained model did.

The file's properties (``metadata_props``) hold the window spec, the labels, the release's id and statement digest and
the family, so that it explains itself wherever it goes.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consumer.students.student import INPUT, OUTPUT, Student, write_whole
from consumer.students.training import PARITY
from stimset.errors import ConfigError, FormatError, StimsetError

_RUNS = 50


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how it was checked.

    Attributes:
        path: the file.
        bytes: its size.
        sha256: its digest (hex).
        max_difference: largest absolute difference of a probability between onnxruntime and the trained model.
        stimuli: how many held-out stimuli that was measured on.
        window_ms: median time for one window, on one CPU thread.
        batch_ms: time per window in a batch of `stimuli` windows.
        opset: ONNX operator set of the standard domain.
    """

    path: Path
    bytes: int
    sha256: str
    max_difference: float
    stimuli: int
    window_ms: float
    batch_ms: float
    opset: int

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"path": str(self.path)}


def export(student: Student, path: Path, *, tolerance: float = PARITY) -> ExportReport:
    """Check a student's ONNX file and write it to `path`.

    Raises:
        StimsetError: the graph is not valid, says something else of itself than the student, or answers differently.
        ConfigError: `path` can't be written.
    """
    opset = check(student)
    values = student.probe.values
    difference = float(np.abs(student.predict_proba(values) - student.probe.probabilities).max())
    if not difference < tolerance:
        raise StimsetError(
            f"{student.name}: onnxruntime differs from the trained model by {difference:.2g}, more than {tolerance:g}; "
            "nothing was exported"
        )
    window_ms, batch_ms = latency(student)
    write_whole(path, student.model)
    digest = hashlib.sha256(student.model).hexdigest()
    return ExportReport(path, len(student.model), digest, difference, len(values), window_ms, batch_ms, opset)


def kappas_of(file: Path) -> dict[str, float | None]:
    """Kappa by student, from the JSON that ``consumer benchmark`` left.

    Raises:
        ConfigError: it is not there.
        FormatError: it is something else.
    """
    try:
        results = json.loads(file.read_text())["results"]
        return {str(r["student"]): None if r["metrics"]["kappa"] is None else float(r["metrics"]["kappa"]) for r in results}
    except OSError as error:
        raise ConfigError(f"{file} can't be read: {error.strerror}; 'consumer benchmark --out' writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{file}: not the JSON of a benchmark ({type(error).__name__})") from None


def check(student: Student) -> int:
    """Check a student's graph by onnx's checker, its inputs, outputs and properties; returns its operator set.

    Raises:
        StimsetError: something does not hold.
    """
    import onnx

    try:
        model = onnx.load_from_string(student.model)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf's and onnx's errors have no common base
        raise StimsetError(f"{student.name}: not a valid ONNX file: {str(error).splitlines()[0]}") from None
    properties = {p.key: p.value for p in model.metadata_props}
    expected = {
        "stimset.family": student.family,
        "stimset.release": student.lineage.release,
        "stimset.statement_sha256": student.lineage.statement_sha256,
        "stimset.window_spec": json.dumps(student.spec.to_document(), sort_keys=True, ensure_ascii=False),
    }
    for key, value in expected.items():
        if properties.get(key) != value:
            raise StimsetError(f"{student.name}: the ONNX file's property '{key}' is not the student's; train it again")
    shapes = {p.name: _shape(p) for p in (*model.graph.input, *model.graph.output)}
    if shapes != {INPUT: (None, *student.spec.shape), OUTPUT: (None, student.spec.classes)}:
        raise StimsetError(f"{student.name}: the ONNX file's inputs and outputs are {shapes}; train it again")
    return next(int(o.version) for o in model.opset_import if o.domain == "")


def latency(student: Student) -> tuple[float, float]:
    """Milliseconds for one window (median), and per window in one batch, on one CPU thread."""
    values = student.probe.values
    student.predict_proba(values[:1])
    times = []
    for i in range(_RUNS):
        began = time.perf_counter()
        student.predict_proba(values[i % len(values) :][:1])
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    student.predict_proba(values)
    return 1000 * float(np.median(times)), 1000 * (time.perf_counter() - began) / len(values)


def _shape(value: Any) -> tuple[int | None, ...]:
    """A tensor's shape; None for a dimension that is free."""
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)
