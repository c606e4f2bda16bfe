"""Everything that shards are made from, as files: what a worker is given, wherever it runs.

An order is a private folder of safetensors and JSON (`WorkOrder.save`), never a pickle. A worker reads it and makes shards; a shard is a
function of the order and its number alone, so it does not matter who makes it, or how often.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from custodian.cohort import Cohort
from custodian.excitation.aggregates import Floats
from custodian.excitation.assembly import excitation_of
from custodian.excitation.editor import EDITOR_FILE, edited
from custodian.excitation.recipe import Recipe
from custodian.excitation.shard import Excitation
from custodian.teacher.checkpoint import TrainedNetwork
from custodian.workers.orders import hold_versions, revived, versions

ORDER_FILE = "order.json"
KEPT_FILE = "kept.safetensors"
ORDER_PREFIX = ".order-"
TEACHER = "teacher"
IDENTITY = "identity-{}"
REFERENCE = "reference-{}"


@dataclass(frozen=True)
class Shard:
    """One shard: its number, and how many stimuli it holds."""

    number: int
    count: int

    @property
    def name(self) -> str:
        """The file in the candidate set's folder."""
        return f"shard-{self.number:05d}.safetensors"

    @property
    def title(self) -> str:
        """For people."""
        return f"shard {self.number}"

    @property
    def remedy(self) -> str:
        """What to do where workers die over it."""
        return "if memory ran out, give a smaller --batch or fewer --workers"

    def write(self, folder: Path, data: bytes) -> None:
        """Leave the shard in one step: a crash leaves all of it or nothing, and who writes it twice writes the same."""
        partial = folder / f".{self.name}"
        partial.write_bytes(data)
        partial.replace(folder / self.name)


@dataclass(frozen=True)
class WorkOrder:
    """What the shards of one set are made from.

    Attributes:
        cohort: priors and objectives read their averages from it; its recordings stay at home (`save`).
        teacher: whose neurons are excited.
        identity: the networks that inhibition works against; empty where the recipe does not ask for it.
        recipe: how.
        seed: of everything.
        batch: stimuli at once.
        device: a torch device; results are the same bytes on the same kind of device only.
        references: teachers without some of the persons; empty unless the recipe uses them.
        editor: weights of the set's editor (`custodian.excitation.editor`), as safetensors; empty without one.
        kept: sums that were read of patients, noise included (`Excitation.kept`): with these nothing is read again.
    """

    cohort: Cohort
    teacher: TrainedNetwork
    identity: tuple[TrainedNetwork, ...]
    recipe: Recipe
    seed: int
    batch: int
    device: str
    references: tuple[TrainedNetwork, ...] = ()
    editor: bytes = b""
    kept: Mapping[str, Floats] = field(default_factory=dict)

    def excitation(self) -> Excitation:
        """The job whose `shard` makes the bytes."""
        job = excitation_of(
            self.cohort,
            self.teacher,
            self.identity,
            self.references,
            self.recipe,
            seed=self.seed,
            batch=self.batch,
            device=self.device,
            kept=self.kept,
        )
        if self.editor and job.prior:
            return replace(job, prior=edited(job.prior, self.editor, self.batch, self.device))
        return job

    def save(self, folder: Path) -> None:
        """Write the order into a private folder."""
        hollow(self.cohort).save(folder)
        self.teacher.save(folder, TEACHER)
        for i, network in enumerate(self.identity):
            network.save(folder, IDENTITY.format(i))
        for i, network in enumerate(self.references):
            network.save(folder, REFERENCE.format(i))
        (folder / EDITOR_FILE).write_bytes(self.editor)
        # Assembled once more where the order was not: workers, who have no windows, must find every sum.
        kept = self.excitation().kept
        save_file({name: np.ascontiguousarray(sums) for name, sums in kept.items()}, folder / KEPT_FILE)
        document = {
            "recipe": asdict(self.recipe), "identity": len(self.identity), "references": len(self.references), "seed": self.seed,
            "batch": self.batch, "device": self.device, "versions": versions(),
        }  # fmt: skip
        (folder / ORDER_FILE).write_text(json.dumps(document, indent=1, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> WorkOrder:
        """Read what `save` wrote, here or on another machine.

        Raises:
            ConfigError: this machine runs other versions, whose bytes may differ.
        """
        document = json.loads((folder / ORDER_FILE).read_text())
        hold_versions(document["versions"])
        return cls(
            Cohort.load(folder), TrainedNetwork.load(folder, TEACHER),
            tuple(TrainedNetwork.load(folder, IDENTITY.format(i)) for i in range(document["identity"])),
            revived(Recipe, document["recipe"]), document["seed"], document["batch"], document["device"],
            tuple(TrainedNetwork.load(folder, REFERENCE.format(i)) for i in range(document["references"])),
            (folder / EDITOR_FILE).read_bytes(), load_file(folder / KEPT_FILE),
        )  # fmt: skip


def hollow(cohort: Cohort) -> Cohort:
    """The cohort without its recordings, numbers in place of its pseudonyms: only how often whose label occurs is left.

    Everything else that a job reads of windows is among `WorkOrder.kept`, so no window has to travel.
    """
    windows = cohort.windows
    persons, records = (tuple(map(str, range(len(names)))) for names in (windows.person_names, windows.record_names))
    empty = replace(
        windows, values=np.zeros_like(windows.values), start_s=np.zeros_like(windows.start_s), person_names=persons, record_names=records
    )  # fmt: skip
    return replace(cohort, windows=empty)
