"""Make a candidate set, shard by shard.

Shards are seeded by their number alone, written in one step each, and skipped when they are there: work that was killed goes on where
it was, and ends in the same bytes. Who makes them is the pool's business (`custodian.excitation.pools`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from custodian.budget.account import Account
from custodian.cohort import Cohort
from custodian.excitation.assembly import excitation_of
from custodian.excitation.candidates import CandidateSet
from custodian.excitation.editor import kept_editor
from custodian.excitation.order import ORDER_PREFIX, Shard, WorkOrder
from custodian.excitation.pools import Here, Pool
from custodian.excitation.preparation import given, prepare
from custodian.excitation.recipe import Recipe
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.workers.pieces import OnDone
from stimset.errors import ConfigError

JOB_FILE = "job.json"
PREPARED = "prepared"
SHARD_STIMULI = 1000


def excite(
    cohort: Cohort, teacher: TrainedNetwork, identity: Sequence[TrainedNetwork], recipe: Recipe, *, count: int, seed: int, folder: Path,
    batch: int = 500, device: str = "cpu", pool: Pool | None = None, account: Account | None = None,
    on_progress: OnDone = lambda done: None,
    on_preparation: Callable[[str], None] = lambda note: None,
) -> CandidateSet:  # fmt: skip
    """Make ``count`` stimuli in `folder`, or go on with what lies there.

    The same arguments give the same bytes on the same kind of device, however often the work was interrupted and whoever did it.

    Args:
        cohort: whose averages priors and objectives may read.
        teacher: whose neurons are excited.
        identity: networks that inhibition works against.
        recipe: how.
        count: stimuli in all.
        seed: of everything.
        folder: where the set lies, or will.
        batch: stimuli at once: bounds the memory of each worker.
        device: a torch device.
        pool: who makes the shards; this process without one.
        account: pays for the averages that the recipe reads; without one noise is refused, and nothing is entered.
        on_progress: told how many stimuli there are.
        on_preparation: told how far the networks are that the recipe has trained first.

    Raises:
        ConfigError: the folder holds a set made otherwise, or another process is at it; inhibition is asked for without identity networks;
            or a shard can't be made.
        PolicyDenied: the cohort's privacy budget does not allow what the recipe reads; nothing was made.
        TransportError: the pool is a cluster that can't be reached.
    """
    if count < 1:
        raise ConfigError(f"{count} stimuli can't be made; give --count 1 or more")
    used = given(recipe, identity)
    _claim(folder, {
        "recipe": recipe.document(), "count": count, "seed": seed, "batch": batch, "teacher": teacher.digest(),
        "identity": [network.digest() for network in used],
    })  # fmt: skip
    with _alone(folder):
        order = ordered(
            cohort, teacher, used, recipe, seed=seed, folder=folder / PREPARED, batch=batch, device=device, account=account,
            on_preparation=on_preparation,
        )  # fmt: skip
        job = order.excitation()
        shards = [Shard(i, min(SHARD_STIMULI, count - first)) for i, first in enumerate(range(0, count, SHARD_STIMULI))]
        missing = [shard for shard in shards if not (folder / shard.name).is_file()]
        there = count - sum(shard.count for shard in missing)
        on_progress(there)
        (pool or Here()).make(order, job, missing, folder, lambda made: on_progress(there + made))
        candidates = CandidateSet(
            folder, cohort.spec, {shard.name: shard.count for shard in shards}, cohort.simulated, seed, _public_facts(teacher),
            recipe.document(), job.aggregates,
        )  # fmt: skip
        candidates.save()
    return candidates


def ordered(
    cohort: Cohort, teacher: TrainedNetwork, identity: Sequence[TrainedNetwork], recipe: Recipe, *, seed: int, folder: Path,
    batch: int = 500, device: str = "cpu", account: Account | None = None, on_preparation: Callable[[str], None] = lambda note: None,
) -> WorkOrder:  # fmt: skip
    """What every shard is made from: the arguments (see `excite`), and what the recipe has trained first, which `folder` keeps."""

    def on_step(_: int, note: str) -> None:
        on_preparation(note)

    # Read first: a budget that does not allow it is found out before anything is trained.
    kept = excitation_of(cohort, teacher, (), (), recipe, seed=seed, batch=batch, device=device, account=account).kept
    prepared = prepare(
        cohort, teacher, identity, recipe, seed=seed, folder=folder, batch=batch, device=device, kept=kept, on_step=on_step
    )  # fmt: skip
    order = WorkOrder(cohort, teacher, prepared.identity, recipe, seed, batch, device, prepared.references, kept=kept)
    if not recipe.ascent.editor or recipe.method == "generator":
        return order
    return replace(order, editor=kept_editor(order.excitation(), recipe.ascent.editor, folder, on_step=on_step))


def _public_facts(teacher: TrainedNetwork) -> Mapping[str, Any]:
    """What the provenance says of the teacher: how it was trained and how good it is, nothing of persons but their number."""
    private = {"cohort"}
    facts = {key: value for key, value in teacher.facts.items() if key not in private}
    return {"architecture": teacher.architecture, "digest": teacher.digest(), **facts}


def _claim(folder: Path, job: Mapping[str, Any]) -> None:
    """Mark the folder as this job's.

    Raises:
        ConfigError: it is another's.
    """
    digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    marker = folder / JOB_FILE
    if marker.is_file():
        if json.loads(marker.read_text()).get("digest") != digest:
            raise ConfigError(
                f"{folder} holds a set with another recipe, teacher, count, batch or seed; give another --set, or --restart to begin anew"
            )
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and not ours; give another --set")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    marker.write_text(json.dumps({"digest": digest, **job}, indent=1))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the set's lock, which the system lets go of when this process ends, however it ends; then clear what a killed one left.

    Raises:
        ConfigError: another process holds it.
    """
    with (folder / JOB_FILE).open() as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"another process is making the set in {folder}; wait for it, or give another --set"
            ) from None
        for stale in folder.glob(ORDER_PREFIX + "*"):
            shutil.rmtree(stale)
        yield
        for partial in folder.glob(".shard-*"):
            partial.unlink()
