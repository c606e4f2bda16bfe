"""A trained student as it lies in the home folder, and as it answers: an ONNX file with its lineage.

Every student is turned into ONNX when it is trained, and only that form is kept. What is benchmarked is therefore byte
for byte what is exported and deployed, nothing on disk can run code when it is read (no pickle), and a student answers
without the library that trained it. ``HOME/students/NAME/``::

    student.onnx         windows (batch, channels, samples) -> probabilities (batch, classes)
    probe.safetensors    held-out stimuli with the answers of the model in memory: what parity is checked against, at any time
    student.json         family, seed, parameters, lineage, training; SHA-256 of the two files; written last
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from stimset.errors import ConfigError, ContentMismatch, FormatError, StimsetError
from stimset.release import StimulusArrays
from stimset.windows import WindowSpec

MODEL_FILE, PROBE_FILE, STUDENT_FILE = "student.onnx", "probe.safetensors", "student.json"
INPUT, OUTPUT = "windows", "probabilities"
JOINT = "+"
MAX_MODEL_BYTES = 1 << 30
MAX_DOCUMENT_BYTES = 4 << 20
_BATCH = 512


@dataclass(frozen=True)
class Lineage:
    """Which release a student learned from, or which releases of several custodians: then each text joins theirs, in one order.

    Attributes:
        release: its id; ids joined by ``+``, which no id holds.
        custodian: who signed it; names joined by `` + ``.
        statement_sha256: of the signed statement's canonical bytes: this names the content, not only the id. Joined by ``+``.
        root_fingerprint: SHA-256 of the root that was pinned when it was verified. Joined by ``+``.
        simulated: true where a release's patients are simulated.
        parts: each release apart where there are several, else empty; see `origins`.
    """

    release: str
    custodian: str
    statement_sha256: str
    root_fingerprint: str
    simulated: bool
    parts: tuple[Lineage, ...] = ()

    @classmethod
    def joined(cls, origins: Sequence[Lineage]) -> Lineage:
        """The lineage of a student that learned from all of these; of one, that one."""
        if len(origins) == 1:
            return origins[0]
        return cls(
            JOINT.join(o.release for o in origins), f" {JOINT} ".join(o.custodian for o in origins),
            JOINT.join(o.statement_sha256 for o in origins), JOINT.join(o.root_fingerprint for o in origins),
            any(o.simulated for o in origins), tuple(origins),
        )  # fmt: skip

    @property
    def origins(self) -> tuple[Lineage, ...]:
        """One entry per release, in order."""
        return self.parts or (self,)

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values; the releases apart only where there are several."""
        document = {
            "release": self.release, "custodian": self.custodian, "statementSha256": self.statement_sha256,
            "rootFingerprint": self.root_fingerprint, "simulated": self.simulated,
        }  # fmt: skip
        return document | ({"origins": [part.to_document() for part in self.parts]} if self.parts else {})

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Lineage:
        """Read what `to_document` gave; other fields are ignored. Raises KeyError or TypeError where it is not that."""
        if parts := document.get("origins"):
            return cls.joined([cls.from_document(part) for part in parts])
        return cls(
            document["release"], document["custodian"], document["statementSha256"], document["rootFingerprint"],
            bool(document["simulated"]),
        )  # fmt: skip


@dataclass(frozen=True)
class Student:
    """A trained student.

    Attributes:
        name: ``RELEASE-FAMILY-SEED``; see `consumer.students.together.called`.
        family: see `stimset.learning.families`.
        seed: of its training.
        parameters: those of the family that were not the defaults.
        lineage: what it learned from.
        spec: which windows it expects.
        training: counts of stimuli, seconds, and how it agrees with the teacher on held-out stimuli: plain JSON values.
        model: the ONNX file's bytes.
        probe: held-out stimuli, and the probabilities that the model in memory gave for them.
    """

    name: str
    family: str
    seed: int
    parameters: Mapping[str, Any]
    lineage: Lineage
    spec: WindowSpec
    training: Mapping[str, Any]
    model: bytes
    probe: StimulusArrays

    def predict_proba(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities ``(n, classes)`` of windows ``(n, channels, samples)``, by onnxruntime.

        Raises:
            FormatError: the windows are not float32 of the student's shape.
            StimsetError: onnxruntime can't run the model.
        """
        return answers(self.session, self.name, self.spec, windows)

    @functools.cached_property
    def session(self) -> Any:
        """The onnxruntime session (one thread, CPU)."""
        return open_session(self.model, self.name)

    def __getstate__(self) -> dict[str, Any]:
        # Processes side by side open sessions of their own.
        return {key: value for key, value in vars(self).items() if key != "session"} | {"parameters": dict(self.parameters)}

    def to_document(self) -> dict[str, Any]:
        """What ``student.json`` holds, without the digests."""
        return {
            "name": self.name, "family": self.family, "seed": self.seed, "parameters": dict(self.parameters),
            **self.lineage.to_document(), "windowSpec": self.spec.to_document(), "training": dict(self.training),
        }  # fmt: skip

    def save(self, students: Path) -> Path:
        """Write the student's folder below `students`; a student of the same name is replaced.

        Returns:
            The folder.
        """
        folder = students / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STUDENT_FILE).unlink(missing_ok=True)
        # safetensors writes the memory as it lies: anything but C order would be another array when it is read.
        arrays = {"values": self.probe.values, "probabilities": self.probe.probabilities}
        probe = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        document = self.to_document() | {"files": {MODEL_FILE: _sha256(self.model), PROBE_FILE: _sha256(probe)}}
        write_whole(folder / MODEL_FILE, self.model)
        write_whole(folder / PROBE_FILE, probe)
        text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
        write_whole(folder / STUDENT_FILE, text.encode())
        return folder

    @classmethod
    def load(cls, folder: Path) -> Student:
        """Read a student's folder.

        Raises:
            ConfigError: there is no student in it.
            FormatError: a file is malformed.
            ContentMismatch: a file was changed after training.
        """
        if not (folder / STUDENT_FILE).is_file():
            raise ConfigError(f"{folder} holds no trained student (no {STUDENT_FILE}); run 'consumer train'")
        try:
            document = json.loads(bounded(folder / STUDENT_FILE, MAX_DOCUMENT_BYTES))
            model, probe = (
                bounded(folder / MODEL_FILE, MAX_MODEL_BYTES),
                bounded(folder / PROBE_FILE, MAX_MODEL_BYTES),
            )
            for name, data in ((MODEL_FILE, model), (PROBE_FILE, probe)):
                if document["files"][name] != _sha256(data):
                    raise ContentMismatch(f"{folder / name} was changed after training; train the student again")
            arrays = load(probe)
            lineage = Lineage.from_document(document)
            spec = WindowSpec.from_document(document["windowSpec"])
            return cls(
                str(document["name"]), str(document["family"]), int(document["seed"]), dict(document["parameters"]),
                lineage, spec, dict(document["training"]), model, StimulusArrays(arrays["values"],
                arrays["probabilities"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise FormatError(f"{folder}: not a student's folder ({type(error).__name__}: {error})") from None


def open_session(model: bytes, name: str) -> Any:
    """An onnxruntime session of a model (one thread, CPU).

    Raises:
        ConfigError: onnxruntime is not installed.
        FormatError: onnxruntime can't load it.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ConfigError("this needs onnxruntime; run: pip install 'stimset-consumer[train]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise FormatError(f"{name}: onnxruntime can't load the model: {str(error).splitlines()[0]}") from None


def answers(session: Any, name: str, spec: WindowSpec, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities ``(n, classes)`` that a session gives for windows ``(n, channels, samples)``.

    Raises:
        FormatError: the windows are not float32 of the spec's shape.
        StimsetError: the model answers with something else than probabilities.
    """
    if windows.dtype != np.float32 or windows.shape[1:] != spec.shape:
        raise FormatError(f"{name} expects float32 windows of shape (n, {spec.channels}, {spec.samples})")
    if not len(windows):
        return np.empty((0, spec.classes))
    parts = [session.run([OUTPUT], {INPUT: windows[i : i + _BATCH]})[0] for i in range(0, len(windows), _BATCH)]
    found: NDArray[np.float64] = np.concatenate(parts).astype(np.float64)
    if found.shape != (len(windows), spec.classes) or not np.isfinite(found).all():
        raise StimsetError(f"{name} answers with something else than probabilities; train it again")
    return found


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: a crash leaves the old one or the new one.

    Raises:
        ConfigError: the place can't be written to.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bounded(path: Path, most: int) -> bytes:
    """A file's bytes.

    Raises:
        FormatError: it has more than `most`.
    """
    size = path.stat().st_size
    if size > most:
        raise FormatError(f"{path} has {size} bytes; at most {most} are allowed")
    return path.read_bytes()
