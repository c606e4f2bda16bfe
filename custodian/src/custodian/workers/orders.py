"""How what workers are given survives the way: dataclasses as JSON, files as bytes, and the versions that results depend on."""

from __future__ import annotations

import platform
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from stimset.errors import ConfigError

Files = dict[str, bytes]
DISTRIBUTIONS = ("stimset", "stimset-custodian", "torch", "numpy")


def versions() -> Mapping[str, str]:
    """What results depend on besides the order."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version(name) for name in DISTRIBUTIONS},
    }


def hold_versions(there: Mapping[str, str]) -> None:
    """Compare this machine's versions with those of the one that wrote the order.

    Raises:
        ConfigError: they differ, and results might.
    """
    differing = [
        f"{name} {value} instead of {there.get(name)}"
        for name, value in versions().items()
        if there.get(name) != value
    ]
    if differing:
        raise ConfigError(
            f"a worker with {', '.join(differing)} may give other bytes; install the same versions on every machine"
        )


def revived(kind: Any, table: Mapping[str, Any]) -> Any:
    """A dataclass of dataclasses from what `asdict` made of it and JSON kept."""

    def value(hint: Any, kept: Any) -> Any:
        if get_origin(hint) in (Union, types.UnionType) and isinstance(kept, dict):
            hint = next(part for part in get_args(hint) if is_dataclass(part))
        if is_dataclass(hint):
            return revived(hint, kept)
        return tuple(kept) if isinstance(kept, list) else kept

    hints = get_type_hints(kind)
    return kind(**{part.name: value(hints[part.name], table[part.name]) for part in fields(kind)})


def files_in(folder: Path) -> Files:
    """The files of a folder, by name."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


def laid_out(files: Files, folder: Path) -> None:
    """The opposite of `files_in`."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
