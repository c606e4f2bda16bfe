"""The private windows: pseudonyms instead of names, and a split in which no patient stands on both sides.

The cohort never leaves the home folder. Persons and records carry keyed hashes, so that not even the home holds a name; the key lies in
``keys/pseudonym.key``. Three kinds of code read a cohort: the teacher, the statistics of the priors, and the gate.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stimset.errors import ConfigError, FormatError
from stimset.serde import load_windows, save_windows
from stimset.windows import Windows, WindowSpec

WINDOWS_FILE = "windows.safetensors"
COHORT_FILE = "cohort.json"
SPLIT_DRAWS = 500


@dataclass(frozen=True)
class Cohort:
    """The custodian's windows.

    Attributes:
        windows: all of them; `person_names` and `record_names` are pseudonyms.
        validation_persons: indices of the persons on whom nothing is trained: they choose the teacher's epoch, and the gate compares
            the stimuli with them.
        simulated: true where the persons are simulated.
        attributes: what is known of the persons besides, in groups only: name (``sex``, ``age``, ``bmi``) -> each person's group in the
            order of ``windows.person_names``, empty where unknown. The gate alone reads it, to see whether a release gives it away.
    """

    windows: Windows
    validation_persons: tuple[int, ...]
    simulated: bool
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def spec(self) -> WindowSpec:
        """How the windows were made."""
        return self.windows.spec

    @property
    def training(self) -> Windows:
        """Windows of the persons on whom teachers, identity networks and statistics may be trained."""
        return self.windows.select(~np.isin(self.windows.person, self.validation_persons))

    @property
    def validation(self) -> Windows:
        """Windows of the persons whom nobody trained on."""
        return self.windows.of_persons(self.validation_persons)

    @property
    def training_persons(self) -> int:
        """How many persons the training side has."""
        return len(self.windows.person_names) - len(self.validation_persons)

    @property
    def training_person_indices(self) -> NDArray[np.int64]:
        """The training persons' indices into ``windows.person_names``, ascending."""
        everybody = np.arange(len(self.windows.person_names))
        return everybody[~np.isin(everybody, self.validation_persons)]

    def seal(self, key: bytes) -> str:
        """A keyed digest of the cohort: tells whether a teacher was trained on this very one, and tells nobody else anything."""
        whole = hmac.new(key, json.dumps(self.validation_persons).encode(), hashlib.sha256)
        for array in (self.windows.values, self.windows.labels, self.windows.person):
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    def save(self, folder: Path) -> None:
        """Write the cohort into a private folder."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        save_windows(folder / WINDOWS_FILE, self.windows)
        document = {
            "validationPersons": list(self.validation_persons), "simulated": self.simulated,
            "attributes": {name: list(groups) for name, groups in self.attributes.items()},
        }  # fmt: skip
        (folder / COHORT_FILE).write_text(json.dumps(document))

    @classmethod
    def load(cls, folder: Path) -> Cohort:
        """Read what `save` wrote.

        Raises:
            ConfigError: there is no cohort in this folder.
        """
        try:
            document = json.loads((folder / COHORT_FILE).read_text())
        except (OSError, ValueError):
            raise ConfigError(f"{folder} holds no cohort; run 'custodian ingest' first") from None
        windows = load_windows(folder / WINDOWS_FILE)
        attributes = {name: tuple(groups) for name, groups in document.get("attributes", {}).items()}
        return cls(windows, tuple(document["validationPersons"]), bool(document["simulated"]), attributes)


def pseudonym(key: bytes, name: str) -> str:
    """A person's or record's pseudonym: the first 16 hex digits of HMAC-SHA-256 under the home's own key."""
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:16]


def pseudonymised(windows: Windows, key: bytes) -> Windows:
    """The same windows with pseudonyms for the names of persons and records."""
    return Windows(
        windows.spec, windows.values, windows.labels, windows.record, windows.person, windows.start_s, windows.coverage,
        tuple(pseudonym(key, f"record:{name}") for name in windows.record_names),
        tuple(pseudonym(key, f"person:{name}") for name in windows.person_names),
    )  # fmt: skip


def attributes_of(
    windows: Windows, demographics: Mapping[str, Mapping[str, str]], key: bytes
) -> dict[str, tuple[str, ...]]:
    """What a table of persons says of those in the windows, which carry pseudonyms already.

    Args:
        windows: under pseudonyms.
        demographics: person, as the recordings name them -> attribute -> group (`stimset.records.demographics`).
        key: of the pseudonyms.
    """
    hidden = {pseudonym(key, f"person:{name}"): groups for name, groups in demographics.items()}
    of_person = [hidden.get(name, {}) for name in windows.person_names]
    names = sorted({name for groups in of_person for name in groups})
    return {name: tuple(groups.get(name, "") for groups in of_person) for name in names}


def split_persons(windows: Windows, *, share: float = 0.2, seed: int = 0) -> tuple[int, ...]:
    """Choose the validation persons.

    Among `SPLIT_DRAWS` random choices the one is taken whose class counts come nearest to `share` of the cohort's, so that a small
    cohort's validation side has every class. The patients' labels are all that is looked at.

    Raises:
        FormatError: fewer than three persons, or no choice leaves every class on both sides.
    """
    persons = len(windows.person_names)
    if persons < 3:
        raise FormatError(
            f"{persons} person(s) can't be split into training and validation; at least 3 are needed (10 or more are advised)"
        )
    per_person = np.zeros((persons, windows.spec.classes))
    np.add.at(per_person, (windows.person, windows.labels), 1)
    total = per_person.sum(0)
    size = min(max(2, round(share * persons)), persons - 1)
    rng = np.random.default_rng(seed)
    best: tuple[float, Sequence[int]] | None = None
    for _ in range(SPLIT_DRAWS):
        chosen = rng.choice(persons, size, replace=False)
        counts = per_person[chosen].sum(0)
        if (counts == 0).any() or (counts == total).any():
            continue
        distance = float(np.abs(np.log(counts / total / share)).max())
        if best is None or distance < best[0]:
            best = (distance, sorted(int(p) for p in chosen))
    if best is None:
        lacking = [windows.spec.labels[k] for k in np.argsort((per_person > 0).sum(0))[:1]]
        raise FormatError(
            f"no patient-disjoint split has every class on both sides; the class '{lacking[0]}' occurs in too few persons, "
            "leave it out of the window spec or add persons"
        )
    return tuple(best[1])


def person_shares(windows: Windows, persons: NDArray[np.int64]) -> NDArray[np.float32]:
    """``(classes, len(persons))``: of each class's windows, which share is whose; rows sum to 1.

    This is what an attacker could say of a window's person from the label alone.
    """
    counts = np.stack(
        [[np.sum((windows.person == p) & (windows.labels == k)) for p in persons] for k in range(windows.spec.classes)]
    ).astype(np.float32)
    counts += 0.5  # a person without windows of a class is unlikely, not impossible
    return counts / counts.sum(1, keepdims=True)  # type: ignore[no-any-return]
