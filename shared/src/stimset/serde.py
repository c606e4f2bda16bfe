"""Windows as a file: safetensors, with the spec and the names as JSON in its header.

No pickle, and every bound is checked on the way in.

Such a file is private data: it is written for its owner alone, and never leaves the custodian.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from stimset.errors import FormatError
from stimset.windows import Windows, WindowSpec

KIND = "stimset-windows-v1"
MAX_WINDOWS = 50_000_000
MAX_NAMES = 1_000_000
MAX_NAME = 1000
_TENSORS = {
    "values": "float32",
    "labels": "int64",
    "record": "int64",
    "person": "int64",
    "start_s": "float64",
    "coverage": "float32",
}


def save_windows(path: Path, windows: Windows) -> None:
    """Write windows to `path`, readable by their owner alone, in one step: a crash leaves the old file or the new one.

    Raises:
        FormatError: they break a bound that `load_windows` checks.
    """
    from safetensors.numpy import save

    _check(str(path), windows)
    metadata = {
        "kind": KIND,
        "spec": json.dumps(windows.spec.to_document()),
        "record_names": json.dumps(windows.record_names),
        "person_names": json.dumps(windows.person_names),
    }
    data = save({name: np.ascontiguousarray(getattr(windows, name)) for name in _TENSORS}, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_windows(path: Path) -> Windows:
    """Read windows that `save_windows` wrote.

    Raises:
        FormatError: the file is missing, truncated or something else, or a value is out of bounds.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != KIND or set(file.keys()) != set(_TENSORS):
                raise FormatError(f"{path}: not a file of windows ({KIND}); ingest the recordings again")
            arrays = {name: file.get_tensor(name) for name in _TENSORS}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        cause = (str(error).splitlines() or [""])[0][:160]
        raise FormatError(f"{path}: can't be read as windows ({cause}); ingest the recordings again") from None
    for name, dtype in _TENSORS.items():
        if arrays[name].dtype != dtype:
            raise FormatError(f"{path}: '{name}' is {arrays[name].dtype}, not {dtype}; ingest the recordings again")
    spec = WindowSpec.from_document(_json(path, metadata, "spec"))
    record_names, person_names = (_names(path, _json(path, metadata, key)) for key in ("record_names", "person_names"))
    try:
        windows = Windows(spec=spec, record_names=record_names, person_names=person_names, **arrays)
    except FormatError as error:
        raise FormatError(f"{path}: {error}; ingest the recordings again") from None
    _check(str(path), windows)
    return windows


def _check(place: str, windows: Windows) -> None:
    n = len(windows)
    values, clip = windows.values, windows.spec.clip
    checks = [
        (n <= MAX_WINDOWS, f"more than {MAX_WINDOWS} windows"),
        (bool(np.isfinite(values).all()), "a value is not finite"),
        (not n or bool(np.abs(values).max() <= clip * (1 + 1e-6)), f"a value lies outside [-{clip:g}, {clip:g}]"),
        (_within(windows.labels, windows.spec.classes), "a label is not one of the spec's"),
        (_within(windows.record, len(windows.record_names)), "a window belongs to no record"),
        (_within(windows.person, len(windows.person_names)), "a window belongs to no person"),
        (bool(np.isfinite(windows.start_s).all()), "a start is not finite"),
        (bool(((windows.coverage >= 0) & (windows.coverage <= 1)).all()), "a coverage lies outside [0, 1]"),
        (len(set(windows.record_names)) == len(windows.record_names), "two records have the same name"),
        (len(set(windows.person_names)) == len(windows.person_names), "two persons have the same name"),
    ]
    for holds, problem in checks:
        if not holds:
            raise FormatError(f"{place}: {problem}; ingest the recordings again")


def _within(index: Any, count: int) -> bool:
    return bool(((index >= 0) & (index < count)).all())


def _json(path: Path, metadata: dict[str, str], key: str) -> Any:
    try:
        return json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError):
        raise FormatError(f"{path}: '{key}' is missing or broken; ingest the recordings again") from None


def _names(path: Path, document: Any) -> tuple[str, ...]:
    if not isinstance(document, list) or len(document) > MAX_NAMES:
        raise FormatError(f"{path}: a list of at most {MAX_NAMES} names is expected; ingest the recordings again")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in document):
        raise FormatError(f"{path}: a name is empty or too long; ingest the recordings again")
    return tuple(document)
