"""A candidate set: stimuli on the custodian's disk that the gate has not judged yet.

A folder with shards ``shard-00000.safetensors`` (`values`, `probabilities`) and ``candidates.json``, which is written last: a folder
without it is unfinished work that `custodian.excitation.engine` goes on with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from stimset.errors import ConfigError
from stimset.release import StimulusArrays
from stimset.windows import WindowSpec

CANDIDATES_FILE = "candidates.json"


@dataclass(frozen=True)
class CandidateSet:
    """A finished candidate set.

    Attributes:
        folder: where the shards lie.
        spec: what the stimuli imitate.
        shards: file name -> number of stimuli, in order.
        simulated: true where the cohort is simulated.
        seed: of the excitation.
        teacher: what the provenance says of the teacher (plain JSON values, nothing about persons).
        recipe: the recipe's document with its name and digest.
        aggregates: the statistics of patients that were read (see `stimset.release.Predicate`).
    """

    folder: Path
    spec: WindowSpec
    shards: Mapping[str, int]
    simulated: bool
    seed: int
    teacher: Mapping[str, Any]
    recipe: Mapping[str, Any]
    aggregates: tuple[Mapping[str, Any], ...]

    @property
    def count(self) -> int:
        """Stimuli in all."""
        return sum(self.shards.values())

    def arrays(self, shard: str | None = None) -> StimulusArrays:
        """The stimuli of one shard, or of all."""
        names = [shard] if shard else list(self.shards)
        loaded = [load_file(self.folder / name) for name in names]
        return StimulusArrays(
            np.concatenate([x["values"] for x in loaded]), np.concatenate([x["probabilities"] for x in loaded])
        )

    def digest(self) -> str:
        """SHA-256 (hex) over the description and every shard's bytes: what the gate's verdict speaks of."""
        whole = hashlib.sha256((self.folder / CANDIDATES_FILE).read_bytes())
        for name in self.shards:
            with (self.folder / name).open("rb", buffering=0) as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()

    def save(self) -> None:
        """Write ``candidates.json``: the set is finished."""
        document = {
            "windowSpec": self.spec.to_document(), "shards": dict(self.shards), "simulated": self.simulated, "seed": self.seed,
            "teacher": dict(self.teacher), "recipe": dict(self.recipe), "aggregates": [dict(a) for a in self.aggregates],
        }  # fmt: skip
        partial = self.folder / f".{CANDIDATES_FILE}"
        partial.write_text(json.dumps(document, indent=1, allow_nan=False))
        partial.replace(self.folder / CANDIDATES_FILE)

    @classmethod
    def load(cls, folder: Path) -> CandidateSet:
        """Read a finished set.

        Raises:
            ConfigError: there is none in this folder, or it is unfinished.
        """
        try:
            d = json.loads((folder / CANDIDATES_FILE).read_text())
        except (OSError, ValueError):
            raise ConfigError(f"{folder} holds no finished candidate set; run 'custodian excite' (it resumes)") from None
        return cls(
            folder, WindowSpec.from_document(d["windowSpec"]), d["shards"], d["simulated"], d["seed"], d["teacher"], d["recipe"],
            tuple(d["aggregates"]),
        )  # fmt: skip
