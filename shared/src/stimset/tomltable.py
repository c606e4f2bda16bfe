"""Policy files in TOML, read as strictly as JSON from outside: every key is named, nothing is left over, every value has its type.

Usage::

    top = read_toml(file, shipped=resources.files("consumer") / "policies", names=("partner",))
    name, limits = top.text("name"), top.numbers("at_most")
    top.refuse_rest()
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from stimset.errors import ConfigError

MAX_NAMES = 100
MAX_TOML_BYTES = 256 << 10


def read_toml(file: Path, *, shipped: Traversable, names: Sequence[str]) -> Table:
    """The top table of a file, or of a shipped one where `file` is the bare name of one and no such file exists.

    Raises:
        ConfigError: it can't be read, is too long, or is no TOML.
    """
    is_shipped = str(file) in names and not file.exists()
    place = f"the shipped policy '{file}'" if is_shipped else str(file)
    source = shipped / f"{file}.toml" if is_shipped else file
    try:
        with source.open("rb") as opened:
            data = opened.read(MAX_TOML_BYTES + 1)
        if len(data) > MAX_TOML_BYTES:
            raise ConfigError(f"{place}: longer than {MAX_TOML_BYTES} bytes; it is no policy")
        return Table(place, tomllib.loads(data.decode()))
    except FileNotFoundError:
        raise ConfigError(f"{place} does not exist; name a file, or one of the shipped: {', '.join(names)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: {error}") from None


class Table:
    """A table, taken apart key by key.

    Attributes:
        place: the file, and the table in it.
        left: what nobody has asked for yet.

    Raises:
        ConfigError: by every reader, naming the file and the key.
    """

    def __init__(self, place: str, document: Mapping[str, Any]) -> None:
        self.place = place
        self.left = dict(document)

    def _take(self, key: str, kinds: tuple[type, ...], expected: str) -> Any:
        if key not in self.left:
            raise ConfigError(f"{self.place}: '{key}' is missing")
        value = self.left.pop(key)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ConfigError(f"{self.place}: '{key}' must be {expected}")
        return value

    def text(self, key: str) -> str:
        """A text of 1 to 100 characters."""
        value: str = self._take(key, (str,), "a text")
        if not 0 < len(value) <= 100:
            raise ConfigError(f"{self.place}: '{key}' must have 1 to 100 characters")
        return value

    def whole(self, key: str) -> int:
        """A whole number of 1 to 999,999."""
        value: int = self._take(key, (int,), "a whole number")
        if not 0 < value < 1_000_000:
            raise ConfigError(f"{self.place}: '{key}' must be 1 to 999999")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        return bool(self._take(key, (bool,), "true or false"))

    def number(self, key: str) -> float:
        """A finite number."""
        value = float(self._take(key, (int, float), "a number"))
        if not math.isfinite(value):
            raise ConfigError(f"{self.place}: '{key}' must be a finite number")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Different names, at least one and at most `MAX_NAMES`."""
        value = self._take(key, (list,), "a list of names")
        if not all(isinstance(name, str) for name in value) or not 0 < len(set(value)) == len(value) <= MAX_NAMES:
            raise ConfigError(f"{self.place}: '{key}' must be a list of 1 to {MAX_NAMES} different names; an empty one admits anything")
        return tuple(value)

    def numbers(self, key: str) -> dict[str, float]:
        """A table of finite numbers."""
        table = self.table(key)
        return {name: table.number(name) for name in list(table.left)}

    def table(self, key: str) -> Table:
        """A table of this table."""
        return Table(f"{self.place}: [{key}]", self._take(key, (dict,), f"a table [{key}]"))

    def tables(self, key: str) -> dict[str, Table]:
        """A table whose every entry is a table."""
        outer = self.table(key)
        return {name: outer.table(name) for name in list(outer.left)}

    def refuse_rest(self) -> None:
        """Raise where a key was given that nobody asked for."""
        if self.left:
            raise ConfigError(f"{self.place}: '{min(self.left)}' is unknown")
