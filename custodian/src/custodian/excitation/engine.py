"""Make a candidate set, shard by shard.

Shards are seeded by their number alone, written in one step each, and skipped when they are there: work that was killed goes on where
it was, and ends in the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from custodian.cohort import Cohort
from custodian.excitation.assembly import objective_of, prior_of
from custodian.excitation.candidates import CandidateSet
from custodian.excitation.recipe import Recipe
from custodian.excitation.shard import Excitation, OnProgress
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.errors import ConfigError

JOB_FILE = "job.json"
SHARD_STIMULI = 1000


def excite(
    cohort: Cohort, teacher: TrainedNetwork, identity: Sequence[TrainedNetwork], recipe: Recipe, *, count: int, seed: int, folder: Path,
    batch: int = 500, device: str = "cpu", on_progress: OnProgress = lambda done: None,
) -> CandidateSet:  # fmt: skip
    """Make ``count`` stimuli in `folder`, or go on with what lies there.

    The same arguments give the same bytes on the same kind of device, however often the work was interrupted.

    Raises:
        ConfigError: the folder holds a set made otherwise, or inhibition is asked for without identity networks.
    """
    if count < 1:
        raise ConfigError(f"{count} stimuli can't be made; give --count 1 or more")
    if recipe.uses_inhibition and not identity:
        raise ConfigError(
            f"recipe '{recipe.name}' inhibits identity, but there are no identity networks; run 'custodian train'"
        )
    used = list(identity) if recipe.uses_inhibition else []
    _claim(folder, {
        "recipe": recipe.document(), "count": count, "seed": seed, "batch": batch, "teacher": teacher.digest(),
        "identity": [network.digest() for network in used],
    })  # fmt: skip
    prior = prior_of(cohort, recipe, seed)
    job = Excitation(
        recipe, cohort.spec, _frozen(teacher, device), [_frozen(n, device) for n in used], prior, objective_of(cohort, recipe), seed,
        batch, device,
    )  # fmt: skip
    shards = {
        f"shard-{number:05d}.safetensors": min(SHARD_STIMULI, count - first)
        for number, first in enumerate(range(0, count, SHARD_STIMULI))
    }
    for number, (name, size) in enumerate(shards.items()):
        before = number * SHARD_STIMULI
        if not (folder / name).is_file():
            data = job.shard(number, size, lambda done, before=before: on_progress(before + done))  # type: ignore[misc]
            partial = folder / f".{name}"
            partial.write_bytes(data)
            partial.replace(folder / name)
        on_progress(before + size)
    candidates = CandidateSet(
        folder, cohort.spec, shards, cohort.simulated, seed, _public_facts(teacher), recipe.document(),
        tuple(prior.aggregates if prior else ()),
    )  # fmt: skip
    candidates.save()
    return candidates


def _frozen(trained: TrainedNetwork, device: str) -> nn.Module:
    return trained.network.eval().requires_grad_(False).to(device)


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
