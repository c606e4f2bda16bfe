"""Run worlds, each once, on this machine or on a Ray cluster; killed at any moment, the next run goes on."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from custodian.config import write_secret
from custodian.device import one_thread
from custodian.shadows.plan import Plan
from custodian.shadows.world import World
from custodian.workers import processes
from custodian.workers.answering import explained
from custodian.workers.cluster import connected, insist_on_encryption
from custodian.workers.orders import Files, files_in, hold_versions, laid_out, revived, versions
from custodian.workers.pieces import Ledger, own_error
from stimset.errors import ConfigError, StimsetError

OnStep = Callable[[float, str], None]
PLAN_FILE = "plan.json"


def run(worlds: Sequence[World], *, workers: int | None, address: str | None, expected_s: float, on_step: OnStep) -> None:
    """Run what has no result yet.

    Args:
        worlds: in the order of importance.
        workers: worlds in work at once, at most; 1 runs everything here, None takes one per core or GPU, or what the cluster has room for.
        address: of a Ray cluster's head; None is this machine.
        expected_s: of one world: a world in the making counts by its time.
        on_step: told how many worlds are done, in fractions.

    Raises:
        StimsetError: a world can't be made; those that were finished are kept.
        TransportError: the cluster can't be reached.
    """
    waiting = [world for world in worlds if world.result() is None]
    there = len(worlds) - len(waiting)

    def on_done(done: float) -> None:
        on_step(there + done, f"{there + int(done)} of {len(worlds)} worlds")

    on_done(0)
    if not waiting:
        return
    ledger, plan = Ledger(waiting, on_done), waiting[0].plan
    if address is not None:
        _on_cluster(ledger, waiting, address, workers)
        return
    hands = min(workers or processes.processes_for(plan.device), len(waiting))
    if hands == 1:
        _here(ledger)
        return
    folder, cohort_folder = waiting[0].folder, waiting[0].cohort_folder
    write_secret(folder / PLAN_FILE, plan_bytes(plan))
    told = (str(folder), str(cohort_folder), str(os.getpid()), str(expected_s))
    processes.make("custodian.shadows.worker", told, hands, ledger, plan.device)


def _here(ledger: Ledger[World]) -> None:
    while world := ledger.next():
        try:
            with one_thread():
                world.run()
        except StimsetError as error:
            raise own_error(world, str(error)) from None
        ledger.finished(world)


def _on_cluster(ledger: Ledger[World], waiting: Sequence[World], address: str, workers: int | None) -> None:
    insist_on_encryption()
    plan = waiting[0].plan
    with connected(address) as cluster:
        cluster.make(
            made_world, packed(waiting[0].cohort_folder, plan), ledger, lambda world, data: world.keep(data),
            workers=workers, pieces=len(waiting), device=plan.device,
        )  # fmt: skip


def plan_bytes(plan: Plan) -> bytes:
    """The plan for workers, wherever they are."""
    return json.dumps({"plan": asdict(plan), "versions": dict(versions())}, allow_nan=False).encode()


def plan_from(data: bytes) -> Plan:
    """The opposite of `plan_bytes`.

    Raises:
        ConfigError: this machine runs other versions, whose results may differ.
    """
    document = json.loads(data)
    hold_versions(document["versions"])
    plan = revived(Plan, document["plan"])
    if not isinstance(plan, Plan):
        raise ConfigError("the plan of the deep audit is damaged; run the command again")
    return plan


def packed(cohort_folder: Path, plan: Plan) -> Files:
    """What a world is made from: the cohort, recordings and all, and the plan."""
    return files_in(cohort_folder) | {PLAN_FILE: plan_bytes(plan)}


def made_world(files: Files, number: int, count: int) -> tuple[str, bytes]:
    """On a cluster's worker: why the world can't be made, or the bytes of its scores. Nothing is left on its disk."""
    try:
        with tempfile.TemporaryDirectory(prefix="world-") as name, one_thread():
            laid_out(files, Path(name))
            world = World(Path(name), Path(name), plan_from(files[PLAN_FILE]), number)
            world.run()
            return "", world.file.read_bytes()
    except Exception as error:
        return explained(error), b""
