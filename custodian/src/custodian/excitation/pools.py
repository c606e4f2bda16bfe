"""Who makes the shards: this process, several on this machine (`processes`), or a cluster (`ray_pool`).

A pool gets an order and the shards that are missing, and leaves them in the folder. All pools leave the same bytes (on CPUs; see
`custodian.device.one_thread`), and share one policy for what goes wrong:

- a shard that fails by its own error is reported once, and nothing more is handed out;
- a worker that dies (killed, out of memory, its machine lost) costs nothing but time: its shard is handed out again, at most
  `MAX_ATTEMPTS` times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol

from custodian.device import one_thread
from custodian.excitation.order import Shard, WorkOrder
from custodian.excitation.shard import Excitation
from stimset.errors import ConfigError

MAX_ATTEMPTS = 3
OnStimuli = Callable[[float], None]


class Engine(StrEnum):
    """Where the workers are."""

    LOCAL = "local"
    RAY = "ray"


class Pool(Protocol):
    """Makes shards."""

    def make(
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnStimuli
    ) -> None:
        """Leave every shard in `folder`.

        Args:
            order: what workers elsewhere are given.
            job: the same, assembled here.
            shards: what is missing.
            folder: of the candidate set.
            on_stimuli: told how many stimuli of these shards are made, over all workers.

        Raises:
            ConfigError: a shard fails by its own error, or workers keep dying over it.
        """
        ...


class Here:
    """This process makes one shard after the other."""

    def make(
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnStimuli
    ) -> None:
        """See `Pool.make`."""
        ledger = Ledger(shards, on_stimuli)
        with one_thread():
            while shard := ledger.next():
                shard.write(folder, job.shard(shard.number, shard.count, partial(ledger.progress, shard)))
                ledger.finished(shard)


class Ledger:
    """Which shards are to be made, which are being made, and how far all of them are."""

    def __init__(self, shards: Sequence[Shard], on_stimuli: OnStimuli) -> None:
        self._waiting = deque(shards)
        self._attempts = dict.fromkeys(shards, 0)
        self._done = dict.fromkeys(shards, 0.0)
        self._open = len(shards)
        self._on_stimuli = on_stimuli

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be made."""
        return self._open == 0

    def next(self) -> Shard | None:
        """A shard to make; None where all are made or being made."""
        if not self._waiting:
            return None
        shard = self._waiting.popleft()
        self._attempts[shard] += 1
        return shard

    def progress(self, shard: Shard, done: float) -> None:
        """So many of its stimuli are made."""
        self._done[shard] = done
        self._on_stimuli(sum(self._done.values()))

    def finished(self, shard: Shard) -> None:
        """It is there."""
        self._open -= 1
        self.progress(shard, shard.count)

    def lost(self, shard: Shard, cause: str) -> None:
        """Its worker died: hand it out again, before the others.

        Raises:
            ConfigError: this happened `MAX_ATTEMPTS` times.
        """
        self.progress(shard, 0)
        if self._attempts[shard] >= MAX_ATTEMPTS:
            raise ConfigError(
                f"{MAX_ATTEMPTS} workers died over shard {shard.number} ({cause}); if memory ran out, give a smaller --batch or fewer "
                "--workers; finished shards are kept, the same command goes on"
            )
        self._waiting.appendleft(shard)


def pool_of(engine: Engine, workers: int | None, address: str | None, device: str) -> Pool:
    """The pool that the command line asks for.

    Args:
        engine: where the workers are.
        workers: at most; None is one per core or GPU.
        address: of the Ray cluster's head.
        device: a torch device.

    Raises:
        ConfigError: an address without Ray, or Ray without one.
    """
    if (engine is Engine.RAY) != (address is not None):
        raise ConfigError("--engine ray and --ray-address HOST:PORT belong together")
    if address is not None:
        from custodian.excitation.ray_pool import Cluster

        return Cluster(address, workers)
    from custodian.excitation.processes import Processes, processes_for

    return Processes(workers or processes_for(device))


def own_error(shard: Shard, message: str) -> ConfigError:
    """What is said of a shard that fails by itself; another attempt would end alike."""
    return ConfigError(f"shard {shard.number} can't be made: {message}")
