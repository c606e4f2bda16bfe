"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from custodian.config import Home
from stimset.errors import ConfigError

HomeOption = Annotated[Path | None, typer.Option("--home", help="The custodian's home folder; else CUSTODIAN_HOME.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, or cuda.")]
SetOption = Annotated[str, typer.Option("--set", help="Name of the candidate set.")]


def set_folder(home: Home, name: str) -> Path:
    """Where the set of this name lies.

    Raises:
        ConfigError: the name can't name a set.
    """
    if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 80:
        raise ConfigError(f"'{name}' can't name a set; use letters, digits, '-' and '_'")
    return home.candidates(name)
