"""What a cohort may spend in all, as the settings say it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from custodian.config import Home, change_settings
from stimset.errors import ConfigError


@dataclass(frozen=True)
class Limit:
    """What a cohort may spend in all (`custodian.toml`: budget_epsilon, budget_delta); None is no limit.

    Attributes:
        epsilon: bound on the composed epsilon at `delta`; no entry without noise is then allowed.
        delta: at which that epsilon is read; entries with a stated delta use it up.
    """

    epsilon: float | None = None
    delta: float | None = None

    def __post_init__(self) -> None:
        if (self.epsilon is None) != (self.delta is None):
            raise ConfigError("custodian.toml: budget_epsilon and budget_delta go together; give both or neither")
        if self.epsilon is not None and not (isfinite(self.epsilon) and self.epsilon > 0 and 0 < (self.delta or 0) < 1):
            raise ConfigError("custodian.toml: budget_epsilon must be positive, and budget_delta lie between 0 and 1")

    @classmethod
    def of(cls, home: Home) -> Limit:
        """The limit in a home's settings; none in a home that has no settings yet.

        Raises:
            ConfigError: the settings can't be read, or hold half a limit.
        """
        if not home.settings_file.exists():
            return cls()
        settings = home.settings()
        return cls(settings.budget_epsilon, settings.budget_delta)

    def write(self, home: Home) -> None:
        """Put it into ``custodian.toml``; every other line stays as it is."""
        change_settings(home, {"budget_epsilon": self.epsilon, "budget_delta": self.delta})
