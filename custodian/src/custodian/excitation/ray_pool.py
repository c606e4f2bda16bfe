"""The pool of an existing Ray cluster (extra ``[ray]``). What that asks of the network: ``shared/adr/0007-ray-inside-the-hospital.md``.

The order travels once as a table of file names and bytes, and lies on a worker's disk only while it is read; shards come back as bytes and
are written here. Nothing of ours is pickled, and no class of ours crosses the wire; Ray itself pickles the names of the functions that it
calls, which is why whoever can speak to a cluster can run code on it, and why we insist on its token authentication.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from custodian.device import one_thread
from custodian.excitation.order import Shard, WorkOrder
from custodian.excitation.pools import Ledger, OnStimuli, own_error
from custodian.excitation.shard import Excitation
from custodian.excitation.worker import explained
from stimset.errors import ConfigError, TransportError

Files = dict[str, bytes]
AUTHENTICATION = "RAY_AUTH_MODE"


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
        self, order: WorkOrder, job: Excitation, shards: Sequence[Shard], folder: Path, on_stimuli: OnStimuli
    ) -> None:
        """See `custodian.excitation.pools.Pool.make`. Progress comes shard by shard.

        Raises:
            ConfigError: Ray is not installed, token authentication is off, or a shard can't be made.
            TransportError: the cluster can't be reached, or refuses the token.
        """
        if not shards:
            return
        ray = _connected(self.address)
        try:
            resource = "GPU" if order.device.startswith("cuda") else "CPU"
            room = int(ray.cluster_resources().get(resource, 0))
            if not room:
                raise ConfigError(
                    f"the cluster at {self.address} has no {resource}; give another --device, or add nodes"
                )
            options = {"num_cpus": 1, "num_gpus": int(resource == "GPU"), "max_retries": 0}
            remote = ray.remote(**options)(made_shard)
            files = ray.put(packed(order))
            _run(ray, remote, files, Ledger(shards, on_stimuli), folder, min(self.workers or room, len(shards)))
        finally:
            ray.shutdown()


def _connected(address: str) -> Any:
    """The module ``ray``, connected to the cluster."""
    # A mode that the site has set is kept, unless it is none at all.
    if os.environ.setdefault(AUTHENTICATION, "token") == "disabled":
        raise ConfigError(
            f"{AUTHENTICATION}=disabled: whoever reaches such a cluster can run code on it and read the teacher; use {AUTHENTICATION}=token"
        )
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray; install stimset-custodian[ray] here and on every node") from None
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray names no common root for what can go wrong here
        raise TransportError(
            f"the Ray cluster at {address} can't be reached: {explained(error)[:300]}; is the head up, and is its token in "
            "RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token?"
        ) from None
    return ray


def _run(ray: Any, remote: Any, files: Any, ledger: Ledger, folder: Path, workers: int) -> None:
    working: dict[Any, Shard] = {}
    while not ledger.complete:
        while len(working) < workers and (shard := ledger.next()):
            working[remote.remote(files, shard.number, shard.count)] = shard
        ready, _ = ray.wait(list(working), num_returns=1)
        shard = working.pop(ready[0])
        try:
            failure, data = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            # The task answers its own errors (below): what is raised here is the death of a process, a node or a store.
            ledger.lost(shard, type(error).__name__)
            continue
        if failure:
            raise own_error(shard, failure)
        shard.write(folder, data)
        ledger.finished(shard)


def packed(order: WorkOrder) -> Files:
    """The order's files as bytes."""
    with tempfile.TemporaryDirectory(prefix="order-") as name:
        order.save(Path(name))
        return {file.name: file.read_bytes() for file in sorted(Path(name).iterdir())}


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
        for file, data in order.files.items():
            (Path(name) / file).write_bytes(data)
        return WorkOrder.load(Path(name)).excitation()
