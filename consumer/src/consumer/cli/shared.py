"""What the commands about students have in common."""

from __future__ import annotations

from stimset.errors import ConfigError


def need(*modules: str) -> None:
    """Return when the libraries of the extra ``[train]`` are installed.

    Raises:
        ConfigError: one is not.
    """
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"this needs {', '.join(missing)}; run: pip install 'stimset-consumer[torch]', or [train] without networks"
        )


def mark(simulated: bool) -> str:
    """What stands behind a title where patients are simulated."""
    return " (SIMULATED patients)" if simulated else ""
