"""The custodian's policy: what a set must satisfy to leave, as a TOML file; its digest is signed with every release."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from stimset.errors import ConfigError
from stimset.learning.families import family
from stimset.release import canonical_json


@dataclass(frozen=True)
class Policy:
    """Limits of the gate.

    Attributes:
        name: as it stands in the provenance.
        attackers: families of the identity attackers.
        certainty_gap_at_most: how much more certain, in probability, an attacker may be of a stimulus than of a stranger's window.
        control_lift_at_least: how much better than the label alone an attacker must name owners: the positive control.
        students: families of the utility check.
        kappa_loss_at_most: kappa of the student on true windows less that of the student on stimuli.
        true_kappa_at_least: below it the comparison says nothing.
    """

    name: str
    attackers: tuple[str, ...]
    certainty_gap_at_most: float
    control_lift_at_least: float
    students: tuple[str, ...]
    kappa_loss_at_most: float
    true_kappa_at_least: float

    def __post_init__(self) -> None:
        if not self.attackers or not self.students:
            raise ConfigError(f"policy '{self.name}': a gate without attackers or without students admits anything; name some")
        for name in (*self.attackers, *self.students):
            family(name)

    def digest(self) -> str:
        """SHA-256 (hex) over the policy's canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()


_LAYOUT: dict[str, dict[str, type]] = {
    "identity": {"attackers": tuple, "certainty_gap_at_most": float, "control_lift_at_least": float},
    "utility": {"students": tuple, "kappa_loss_at_most": float, "true_kappa_at_least": float},
}


def load_policy(file: Path | None = None) -> Policy:
    """The policy of this TOML file, or the shipped one.

    Raises:
        ConfigError: it can't be read, or a key is missing, unknown or of the wrong type.
    """
    place = str(file) if file else "the shipped policy"
    try:
        text = file.read_text() if file else (resources.files("custodian.gate") / "policies" / "default.toml").read_text()
        document: dict[str, Any] = tomllib.loads(text)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{place}: {error}") from None
    if set(document) != {"name", *_LAYOUT} or not isinstance(document["name"], str):
        raise ConfigError(f"{place}: exactly 'name', {', '.join(f'[{t}]' for t in _LAYOUT)} are expected")
    values: dict[str, Any] = {"name": document["name"]}
    for table, keys in _LAYOUT.items():
        if set(document[table]) != set(keys):
            raise ConfigError(f"{place}: [{table}] must have exactly {', '.join(keys)}")
        for key, kind in keys.items():
            try:
                values[key] = kind(document[table][key])
            except (TypeError, ValueError):
                raise ConfigError(f"{place}: [{table}] {key} is of the wrong type") from None
    return Policy(**values)
