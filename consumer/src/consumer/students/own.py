"""A user's own file that registers families of models (see `consumer.api`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from stimset.errors import ConfigError


def run_own(file: Path) -> None:
    """Run the user's own file, so that the families it registers are known.

    Raises:
        ConfigError: there is none, or it fails.
    """
    spec = importlib.util.spec_from_file_location(f"own_{file.stem}", file) if file.suffix == ".py" else None
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigError(f"--own {file}: there is no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ConfigError(f"--own {file}: {type(error).__name__}: {error}") from error
