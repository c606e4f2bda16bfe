"""What is to be made, what is being made, and one policy for what goes wrong, on every engine:

- a piece that fails by its own error is reported once, and nothing more is handed out;
- a worker that dies (killed, out of memory, its machine lost) costs nothing but time: its piece is handed out again, at most
  `MAX_ATTEMPTS` times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from stimset.errors import ConfigError

MAX_ATTEMPTS = 3
OnDone = Callable[[float], None]


class Engine(StrEnum):
    """Where the workers are."""

    LOCAL = "local"
    RAY = "ray"


class Piece(Protocol):
    """One piece of work; equal pieces are the same work."""

    @property
    def number(self) -> int:
        """What tells it from the others."""
        ...

    @property
    def count(self) -> int:
        """Its size, in the unit that progress is told in."""
        ...

    @property
    def title(self) -> str:
        """For people."""
        ...

    @property
    def remedy(self) -> str:
        """What to do where workers die over it."""
        ...


P = TypeVar("P", bound=Piece)


class Ledger(Generic[P]):
    """Which pieces are to be made, which are being made, and how far all of them are."""

    def __init__(self, pieces: Sequence[P], on_done: OnDone) -> None:
        self._waiting = deque(pieces)
        self._attempts = dict.fromkeys(pieces, 0)
        self._done = dict.fromkeys(pieces, 0.0)
        self._open = len(pieces)
        self._on_done = on_done

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be made."""
        return self._open == 0

    def next(self) -> P | None:
        """A piece to make; None where all are made or being made."""
        if not self._waiting:
            return None
        piece = self._waiting.popleft()
        self._attempts[piece] += 1
        return piece

    def progress(self, piece: P, done: float) -> None:
        """So much of it is made."""
        self._done[piece] = done
        self._on_done(sum(self._done.values()))

    def finished(self, piece: P) -> None:
        """It is there."""
        self._open -= 1
        self.progress(piece, piece.count)

    def lost(self, piece: P, cause: str) -> None:
        """Its worker died: hand it out again, before the others.

        Raises:
            ConfigError: this happened `MAX_ATTEMPTS` times.
        """
        self.progress(piece, 0)
        if self._attempts[piece] >= MAX_ATTEMPTS:
            raise ConfigError(
                f"{MAX_ATTEMPTS} workers died over {piece.title} ({cause}); {piece.remedy}; what was finished is kept, "
                "the same command goes on"
            )
        self._waiting.appendleft(piece)


def own_error(piece: Piece, message: str) -> ConfigError:
    """What is said of a piece that fails by itself; another attempt would end alike."""
    return ConfigError(f"{piece.title} can't be made: {message}")


def paired(engine: Engine, address: str | None) -> None:
    """Hold the options against each other.

    Raises:
        ConfigError: an address without Ray, or Ray without one.
    """
    if (engine is Engine.RAY) != (address is not None):
        raise ConfigError("--engine ray and --ray-address HOST:PORT belong together")
