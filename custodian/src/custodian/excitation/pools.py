"""Who makes the shards: this process, several on this machine (`Processes`), or a Ray cluster (`Cluster`).

A pool gets an order and the shards that are missing, and leaves them in the folder. All pools leave the same bytes (on CPUs; see
`custodian.device.one_thread`); what happens when a shard fails or a worker dies is `custodian.workers.pieces`'s business.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from custodian.device import one_thread
from custodian.excitation.order import ORDER_PREFIX, Shard, WorkOrder
from custodian.excitation.shard import Excitation
from custodian.workers import processes
from custodian.workers.answering import explained
from custodian.workers.cluster import connected
from custodian.workers.orders import Files, files_in, laid_out
from custodian.workers.pieces import Engine, Ledger, OnDone, paired

QUICK_SHARDS = 50
"""So many shards for each worker make it worth starting one for a recipe that takes no steps."""


class Pool(Protocol):
    """Makes shards."""

    def make(
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnDone
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
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnDone
    ) -> None:
        """See `Pool.make`."""
        ledger = Ledger(shards, on_stimuli)
        with one_thread():
            while shard := ledger.next():
                shard.write(folder, job.shard(shard.number, shard.count, partial(ledger.progress, shard)))
                ledger.finished(shard)


@dataclass(frozen=True)
class Processes:
    """So many worker processes on this machine.

    Attributes:
        workers: at most; no more are started than there is work for, and for a single shard none.
    """

    workers: int

    def make(
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnDone
    ) -> None:
        """See `Pool.make`."""
        # Without steps a shard takes a tenth of a second, and starting a worker takes seconds.
        quick = order.recipe.method == "ascent" and order.recipe.ascent.steps == 0
        workers = min(self.workers, len(shards) // QUICK_SHARDS if quick else len(shards))
        if workers < 2:
            Here().make(order, job, shards, folder, on_stimuli)
            return
        # Beside the set, not in /tmp: the order is as private as the set, and belongs to the same disk.
        with tempfile.TemporaryDirectory(prefix=ORDER_PREFIX, dir=folder) as order_folder:
            order.save(Path(order_folder))
            told = (order_folder, str(folder))
            processes.make("custodian.excitation.worker", told, workers, Ledger(shards, on_stimuli), order.device)


@dataclass(frozen=True)
class Cluster:
    """Workers of a Ray cluster.

    Attributes:
        address: of its head, ``host:port``.
        workers: shards in work at once, at most; None is what the cluster has room for.
    """

    address: str
    workers: int | None = None

    def make(
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnDone
    ) -> None:
        """See `Pool.make`. Progress comes shard by shard.

        Raises:
            ConfigError: Ray is not installed, token authentication is off, or a shard can't be made.
            TransportError: the cluster can't be reached, or refuses the token.
        """
        if not shards:
            return
        with connected(self.address) as cluster:
            cluster.make(
                made_shard, packed(order), Ledger(shards, on_stimuli), lambda shard, data: shard.write(folder, data),
                workers=self.workers, pieces=len(shards), device=order.device,
            )  # fmt: skip


def packed(order: WorkOrder) -> Files:
    """The order's files as bytes."""
    with tempfile.TemporaryDirectory(prefix="order-") as name:
        order.save(Path(name))
        return files_in(Path(name))


def made_shard(files: Files, number: int, count: int) -> tuple[str, bytes]:
    """On a worker: why the shard can't be made, or its bytes."""
    try:
        with one_thread():
            return "", _job(_Packed(files)).shard(number, count, lambda done: None)
    except Exception as error:
        return explained(error), b""


class _Packed:
    """The order's files, equal where their bytes are: a worker process serves many shards of one order."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._digest = hashlib.sha256(
            b"".join(hashlib.sha256(data).digest() for _, data in sorted(files.items()))
        ).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Packed) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


@lru_cache(maxsize=1)
def _job(order: _Packed) -> Excitation:
    with tempfile.TemporaryDirectory(prefix="order-") as name:
        laid_out(order.files, Path(name))
        return WorkOrder.load(Path(name)).excitation()


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
    paired(engine, address)
    return Cluster(address, workers) if address is not None else Processes(workers or processes.processes_for(device))
