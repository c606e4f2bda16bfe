"""The custodian's policy: what a set must satisfy to leave, as a TOML file; its digest is signed with every release."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path

from stimset.errors import ConfigError
from stimset.learning.families import family
from stimset.release import canonical_json
from stimset.tomltable import Table, read_toml

QUICK = ("identity", "linkage", "reconstruction")
DEEP = ("membership", "attribute", "canary")
SHIPPED = ("default", "strict")


@dataclass(frozen=True)
class AttackRule:
    """What one attack may find.

    Attributes:
        required: whether the set fails where the attack did not run. What has run is held to the limits in any case.
        at_most: of the attack's headline.
        upper_at_most: of the upper end of the headline's 95 % interval; None asks for no interval.
        variants: the attack runs once for each (of ``identity``: families); none where it has no variants.
        also_at_most: limits of further measurements, by name.
        positive_control_at_least: of the headline on a set that is known to leak; None: it must be refused by `at_most`.
        negative_control_at_most: of the headline on noise; None: it must pass `at_most`.
    """

    required: bool
    at_most: float
    upper_at_most: float | None = None
    variants: tuple[str, ...] = ()
    also_at_most: Mapping[str, float] = field(default_factory=dict)
    positive_control_at_least: float | None = None
    negative_control_at_most: float | None = None

    @property
    def positive_limit(self) -> float:
        """What the positive control must reach: by default the least number that `at_most` refuses."""
        return math.nextafter(self.at_most, math.inf) if self.positive_control_at_least is None else self.positive_control_at_least

    @property
    def negative_limit(self) -> float:
        """What the negative control must keep."""
        return self.at_most if self.negative_control_at_most is None else self.negative_control_at_most


@dataclass(frozen=True)
class Policy:
    """Limits of the gate.

    Attributes:
        name, version: as they stand in the provenance; raise the version with every change.
        attacks: attack -> rule; of `QUICK` and `DEEP`.
        half_width_at_most: of the AUC's interval that the cohort's size allows; beyond it the verdict carries a warning.
        students: families of the utility check.
        kappa_loss_at_most: kappa of the student on true windows less that of the student on stimuli.
        true_kappa_at_least: below it the comparison says nothing.
    """

    name: str
    version: int
    attacks: Mapping[str, AttackRule]
    half_width_at_most: float
    students: tuple[str, ...]
    kappa_loss_at_most: float
    true_kappa_at_least: float

    def __post_init__(self) -> None:
        if not any(rule.required for rule in self.attacks.values()) or not self.students:
            raise ConfigError(f"policy '{self.name}': a gate without a required attack or without students admits anything; name some")
        if strangers := sorted(set(self.attacks) - {*QUICK, *DEEP}):
            raise ConfigError(f"policy '{self.name}': no attack '{strangers[0]}'; known are {', '.join((*QUICK, *DEEP))}")
        identity = self.attacks.get("identity")
        for name in (*(identity.variants if identity else ()), *self.students):
            family(name)

    @property
    def title(self) -> str:
        """Name and version, as the provenance has them."""
        return f"{self.name}-{self.version}"

    def digest(self) -> str:
        """SHA-256 (hex) over the policy's canonical JSON."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()


def load_policy(file: Path | None = None) -> Policy:
    """The policy of this TOML file; without one the shipped ``default``, and for the bare name of a shipped one that.

    Raises:
        ConfigError: it can't be read, or a key is missing, unknown or of the wrong type.
    """
    top = read_toml(file or Path(SHIPPED[0]), shipped=resources.files("custodian.gate") / "policies", names=SHIPPED)
    cohort, utility = top.table("cohort"), top.table("utility")
    policy = Policy(
        name=top.text("name"),
        version=top.whole("version"),
        attacks={name: _rule(table) for name, table in top.tables("attacks").items()},
        half_width_at_most=cohort.number("half_width_at_most"),
        students=utility.texts("students"),
        kappa_loss_at_most=utility.number("kappa_loss_at_most"),
        true_kappa_at_least=utility.number("true_kappa_at_least"),
    )
    for table in (top, cohort, utility):
        table.refuse_rest()
    return policy


def _rule(table: Table) -> AttackRule:
    given = [name for name in ("upper_at_most", "positive_control_at_least", "negative_control_at_most") if name in table.left]
    rule = AttackRule(
        required=table.flag("required"),
        at_most=table.number("at_most"),
        variants=table.texts("variants") if "variants" in table.left else (),
        also_at_most=table.numbers("also_at_most") if "also_at_most" in table.left else {},
        **{name: table.number(name) for name in given},
    )
    table.refuse_rest()
    return rule
