"""Workers of an existing Ray cluster (extra ``[ray]``). What that asks of the network: ``shared/adr/0007-ray-inside-the-hospital.md``.

What workers are given travels once as a table of file names and bytes, and lies on a worker's disk only while it is read; results come back
as bytes and are written here. Nothing of ours is pickled, and no class of ours crosses the wire; Ray itself pickles the names of the
functions that it calls, which is why whoever can speak to a cluster can run code on it, and why we insist on its token authentication.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from custodian.workers.answering import explained
from custodian.workers.greeting import AUTHORITY, ENCRYPTION, OWN_CERTIFICATE, OWN_KEY, encrypted, greet
from custodian.workers.orders import Files
from custodian.workers.pieces import Ledger, P, own_error
from stimset.errors import ConfigError, TransportError

AUTHENTICATION = "RAY_AUTH_MODE"
Made = Callable[[Files, int, int], tuple[str, bytes]]
"""A function of an installed package, on a worker: files, number and size to why it can't be made, or the bytes."""
Keep = Callable[[P, bytes], None]
"""Writes what came back."""


def insist_on_encryption() -> None:
    """Hold the environment against what recordings ask for.

    Raises:
        ConfigError: Ray would carry them in clear.
    """
    if not encrypted():
        raise ConfigError(
            f"{ENCRYPTION}=1 is not set: patients' recordings would cross the network in clear; start head, nodes and this command with it "
            f"and with {OWN_CERTIFICATE}, {OWN_KEY} and {AUTHORITY}, or leave --engine ray out"
        )


@dataclass(frozen=True)
class Connected:
    """A cluster that answers.

    Attributes:
        ray: the module.
        address: of its head, ``host:port``.
    """

    ray: Any
    address: str

    def make(
        self, made: Made, files: Files, ledger: Ledger[P], keep: Keep[P], *, workers: int | None, pieces: int, device: str
    ) -> None:
        """Have all pieces made.

        Args:
            made: what a worker runs.
            files: what it is given.
            ledger: of the pieces.
            keep: writes what came back.
            workers: pieces in work at once, at most; None is what the cluster has room for.
            pieces: how many there are.
            device: a torch device.

        Raises:
            ConfigError: the cluster has no such device, a piece fails by its own error, or workers keep dying over it.
        """
        resource = "GPU" if device.startswith("cuda") else "CPU"
        room = int(self.ray.cluster_resources().get(resource, 0))
        if not room:
            raise ConfigError(
                f"the cluster at {self.address} has no {resource}; give another --device, or add nodes"
            )
        options = {"num_cpus": 1, "num_gpus": int(resource == "GPU"), "max_retries": 0}
        remote = self.ray.remote(**options)(made)
        self._run(remote, self.ray.put(files), ledger, keep, min(workers or room, pieces))

    def _run(self, remote: Any, files: Any, ledger: Ledger[P], keep: Keep[P], workers: int) -> None:
        working: dict[Any, P] = {}
        while not ledger.complete:
            while len(working) < workers and (piece := ledger.next()):
                working[remote.remote(files, piece.number, piece.count)] = piece
            ready, _ = self.ray.wait(list(working), num_returns=1)
            piece = working.pop(ready[0])
            try:
                failure, data = self.ray.get(ready[0])
            except self.ray.exceptions.RayError as error:
                # The task answers its own errors: what is raised here is the death of a process, a node or a store.
                ledger.lost(piece, type(error).__name__)
                continue
            if failure:
                raise own_error(piece, failure)
            keep(piece, data)
            ledger.finished(piece)


@contextmanager
def connected(address: str) -> Iterator[Connected]:
    """A connection to a cluster; it ends with the block, and so does what is still running of ours.

    Raises:
        ConfigError: Ray is not installed, or token authentication is off.
        TransportError: the cluster can't be reached, or refuses the token.
    """
    # A mode that the site has set is kept, unless it is none at all.
    if os.environ.setdefault(AUTHENTICATION, "token") == "disabled":
        raise ConfigError(
            f"{AUTHENTICATION}=disabled: whoever reaches such a cluster can run code on it and read the teacher; use {AUTHENTICATION}=token"
        )
    try:
        import ray
    except ImportError:
        raise ConfigError("--engine ray needs Ray; install stimset-custodian[ray] here and on every node") from None
    greet(address)
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except Exception as error:  # Ray names no common root for what can go wrong here
        raise TransportError(
            f"the Ray cluster at {address} can't be reached: {explained(error)[:300]}; is the head up, and is its token in "
            "RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token?"
        ) from None
    try:
        yield Connected(ray, address)
    finally:
        ray.shutdown()
