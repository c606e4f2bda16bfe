"""Where a command finds its home folder: ``--home``, else the side's environment variable."""

from __future__ import annotations

import os
from pathlib import Path

from stimset.errors import ConfigError


def named(given: Path | None, variable: str) -> Path:
    """The absolute folder that is meant, whether it exists or not.

    Args:
        given: by ``--home``.
        variable: the environment variable that stands in where nothing is given.

    Raises:
        ConfigError: neither names a folder.
    """
    chosen = given or (Path(os.environ[variable]) if os.environ.get(variable) else None)
    if chosen is None:
        raise ConfigError(f"no home folder is named; give --home or set {variable}")
    return chosen.expanduser().resolve()


def existing(given: Path | None, variable: str, settings_file: str, program: str) -> Path:
    """The same, if ``<program> init`` has made it.

    Raises:
        ConfigError: none is named, or it has no settings file.
    """
    folder = named(given, variable)
    if not (folder / settings_file).is_file():
        raise ConfigError(f"{folder} is no {program} home (no {settings_file}); run '{program} init --home {folder}'")
    return folder
