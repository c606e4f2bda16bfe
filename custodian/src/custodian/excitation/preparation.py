"""Before the first shard: the networks that a recipe needs besides those that 'custodian train' left.

They are kept in the set's folder, so that work that was interrupted, and every worker, goes on with the very same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.excitation.aggregates import Floats
from custodian.excitation.assembly import excitation_of
from custodian.excitation.recipe import Recipe
from custodian.inhibition import identity_plans, retrain_identity, train_identity_networks, train_references
from custodian.teacher.checkpoint import TrainedNetwork
from stimset.errors import ConfigError
from stimset.learning.training import predict

OnStep = Callable[[int, str], None]
NETWORK_SEEDS = 1000
"""From one kind of network to the next: seeds of the same set that never meet."""


@dataclass(frozen=True)
class Prepared:
    """What shards are made with besides the teacher.

    Attributes:
        identity: all networks that inhibition works against; empty without inhibition.
        references: teachers without some of the persons; empty unless the recipe uses them.
    """

    identity: tuple[TrainedNetwork, ...]
    references: tuple[TrainedNetwork, ...]


def prepare(
    cohort: Cohort, teacher: TrainedNetwork, identity: Sequence[TrainedNetwork], recipe: Recipe, *, seed: int, folder: Path, batch: int,
    device: str = "cpu", kept: Mapping[str, Floats] | None = None, on_step: OnStep = lambda epoch, note: None,
) -> Prepared:  # fmt: skip
    """Train what the recipe asks for, or load what an earlier call left in `folder`; call it once, before the shards are dealt out.

    The identity networks are the recipe's own or those that 'custodian train' left; each round of re-training adds fresh ones, which have
    learnt to read what the inhibition against all before them leaves (`custodian.inhibition.retraining`).

    Args:
        cohort: whose training persons.
        teacher: whose neurons are excited.
        identity: networks that 'custodian train' left, as `given` found them.
        recipe: how.
        seed: of the set.
        folder: private, of this job alone; it is made when there is something to keep.
        batch: windows at once.
        device: a torch device.
        kept: sums that were read of patients for this job (`custodian.excitation.shard.Excitation`); read here where they are not given.
        on_step: told after each epoch.

    Raises:
        ConfigError: references are asked for on too few persons, or beside a teacher whose guarantee they would undo.
        FormatError: the folder's networks are not those that were saved.
    """
    if recipe.uses_references and "epsilon" in teacher.facts:
        raise ConfigError(
            f"recipe '{recipe.name}': references read patients without noise, which undoes this teacher's epsilon; set 'forget' to 0 and "
            "'labels' to \"teacher\""
        )
    there, settings = Kept(folder), recipe.inhibition
    assembled = partial(excitation_of, cohort, teacher, recipe=recipe, seed=seed, batch=batch, device=device, kept=kept)
    used, references = list(identity), list[TrainedNetwork]()
    if recipe.trains_identity:
        used = there.networks("identity", lambda: train_identity_networks(
            cohort, architectures=settings.architectures, plans=identity_plans(settings), seed=seed + NETWORK_SEEDS, device=device,
            on_epoch=on_step,
        ))  # fmt: skip
    if recipe.uses_references:
        references = there.networks("reference", lambda: train_references(
            cohort, recipe.membership, seed=seed + 2 * NETWORK_SEEDS, device=device, on_epoch=on_step,
        ))  # fmt: skip

    def climb(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        job = assembled(identity=used, references=references)
        return job.climb(windows, predict(job.teacher, windows).astype(np.float32))

    for number in range(1, (settings.rounds if recipe.uses_inhibition else 0) + 1):
        fresh = partial(
            retrain_identity, cohort, settings, climb, seed=seed + (2 + number) * NETWORK_SEEDS, device=device, on_epoch=on_step
        )  # fmt: skip
        used += there.networks(f"round-{number}", fresh)
    return Prepared(tuple(used), tuple(references))


def given(recipe: Recipe, identity: Sequence[TrainedNetwork]) -> tuple[TrainedNetwork, ...]:
    """Those of the identity networks that 'custodian train' left which the recipe uses: all, or none.

    Raises:
        ConfigError: the recipe inhibits identity and there are none.
    """
    if not recipe.uses_inhibition or recipe.trains_identity:
        return ()
    if not identity:
        raise ConfigError(f"recipe '{recipe.name}' inhibits identity, but there are no identity networks; run 'custodian train'")
    return tuple(identity)


@dataclass(frozen=True)
class Kept:
    """Networks in a folder, by kind; a kind is there when its last file, the list, is."""

    folder: Path

    def networks(self, kind: str, make: Callable[[], list[TrainedNetwork]]) -> list[TrainedNetwork]:
        """Those of the folder, or new ones that are then kept there."""
        listing = self.folder / f"{kind}.txt"
        if listing.is_file():
            return [TrainedNetwork.load(self.folder, name) for name in listing.read_text().split()]
        made = make()
        names = [f"{kind}-{i}" for i in range(len(made))]
        for name, network in zip(names, made, strict=True):
            network.save(self.folder, name)
        partial = self.folder / f".{listing.name}"
        partial.write_text("\n".join(names))
        partial.replace(listing)
        return made
