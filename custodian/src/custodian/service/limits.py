"""What the daemon allows, and where ``custodian.toml`` says otherwise::

    [limits]
    calls_per_partner = 16
    calls_per_minute = 2400

Every bound has a default that a hospital's machine carries; none can be turned off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from stimset.errors import ConfigError

MESSAGE_BYTES = 4 << 20
METADATA_BYTES = 8 << 10

# Name -> the least and the most that the settings may ask for.
_RANGES: Mapping[str, tuple[float, float]] = {
    "calls": (1, 4096),
    "calls_per_partner": (1, 1024),
    "calls_per_minute": (1, 1_000_000),
    "burst": (1, 1_000_000),
    "call_seconds": (1, 86_400),
    "drain_seconds": (0, 600),
    "connection_seconds": (10, 86_400),
    "ping_seconds": (1, 3600),
    "jobs": (0, 64),
}


@dataclass(frozen=True)
class Limits:
    """The daemon's bounds.

    Attributes:
        calls: open at once, over all partners; each holds 1 MiB at most.
        calls_per_partner: open at once by one partner.
        calls_per_minute: of one certificate, in the long run.
        burst: calls of one certificate at once after a rest.
        call_seconds: one call's longest life; a longer read goes on with a new call.
        drain_seconds: how long open calls may go on after the signal to stop.
        connection_seconds: a connection's longest life, so that the TLS handshake looks at certificates again.
        ping_seconds: whoever pings more often, with no call open, is cut off.
        jobs: jobs that the daemon runs at once (`custodian jobs start --by-daemon`); 0 runs none.
    """

    calls: int = 256
    calls_per_partner: int = 8
    calls_per_minute: float = 1200.0
    burst: int = 600
    call_seconds: float = 900.0
    drain_seconds: float = 10.0
    connection_seconds: float = 3600.0
    ping_seconds: float = 20.0
    jobs: int = 1

    @classmethod
    def of(cls, settings: Mapping[str, float]) -> Limits:
        """The defaults, but for what the settings say.

        Raises:
            ConfigError: a name is unknown, or a number out of its range.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        chosen: dict[str, float] = {}
        for name, value in settings.items():
            if name not in _RANGES:
                raise ConfigError(f"custodian.toml: [limits] has no '{name[:40]}'; known are {', '.join(_RANGES)}")
            least, most = _RANGES[name]
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not least <= value <= most or (kinds[name] == "int" and value != int(value)):
                raise ConfigError(f"custodian.toml: [limits] '{name}' must be {least:g} to {most:g}")
            chosen[name] = int(value) if kinds[name] == "int" else float(value)
        return replace(cls(), **chosen)  # type: ignore[arg-type]
