"""What a partner accepts, beyond a signature that holds: its own limits on what the custodian measured and signed.

The custodian's policy decided what may leave; ours decides what we take. It is a TOML file (``consumer/policies/partner.toml`` is an
example) and reads nothing but the signed predicate. What a release does not state does not meet a demand.

Usage::

    acceptance = load_acceptance(Path("ours.toml"))
    acceptance.hold(release.predicate)          # NotAccepted, with a sentence for each demand that is not met
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from stimset.errors import ConfigError, NotAccepted
from stimset.release import GateResult, Predicate
from stimset.tomltable import Table, read_toml

SHIPPED = ("partner",)
ACCEPT, REFUSE = "accept", "refuse"


@dataclass(frozen=True)
class Acceptance:
    """A partner's demands. The default one refuses an overridden verdict and nothing else.

    Attributes:
        name: as it stands in messages.
        override: whether a set is taken that the gate refused and two people let leave.
        simulated: whether releases of simulated patients are.
        persons_at_least: patients behind a release.
        recipes, regimes: names that are accepted; empty for any.
        epsilon_at_most: of the cohort's cumulative budget, which must be stated and bounded.
        custodian_policies: titles or digests of the custodian's policy that are accepted; empty for any.
        at_most, at_least: limits of checks and measurements; ``*`` in a name stands for one part without hyphens.
    """

    name: str = "built-in"
    override: bool = False
    simulated: bool = True
    persons_at_least: int | None = None
    recipes: tuple[str, ...] = ()
    regimes: tuple[str, ...] = ()
    epsilon_at_most: float | None = None
    custodian_policies: tuple[str, ...] = ()
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def hold(self, predicate: Predicate) -> None:
        """Return when the release meets every demand.

        Raises:
            NotAccepted: with a sentence for each that it does not meet.
        """
        if unmet := list(self.unmet(predicate)):
            count = f"{len(unmet)} demand{'s' if len(unmet) > 1 else ''} of our policy '{self.name}'"
            raise NotAccepted(f"{predicate.release_id} is signed as it should be, but does not meet {count}", unmet)

    def unmet(self, predicate: Predicate) -> Iterator[str]:
        """A sentence for each demand that is not met."""
        p, gate = predicate, predicate.gate
        if gate.override is not None and not self.override:
            failed, people = ", ".join(gate.override.failed), " and ".join(gate.override.people.values())
            yield f"the custodian's gate refused this set ({failed}), {people} let it leave; 'consumer pull --accept-override' takes it"
        if p.simulated and not self.simulated:
            yield "its patients are simulated"
        if self.persons_at_least is not None and (gate.persons is None or gate.persons < self.persons_at_least):
            stated = "an unstated number of" if gate.persons is None else str(gate.persons)
            yield f"{stated} patients are behind it, at least {self.persons_at_least} are asked for"
        for what, stated_name, accepted in (
            ("recipe", p.recipe.get("name"), self.recipes),
            ("teacher's regime", p.teacher.get("regime"), self.regimes),
        ):
            if accepted and stated_name not in accepted:
                yield f"its {what} is {stated_name or 'not stated'}, accepted are {', '.join(accepted)}"
        if self.custodian_policies and not {gate.policy, gate.policy_digest} & set(self.custodian_policies):
            yield f"it was judged by the policy {gate.policy}, accepted are {', '.join(self.custodian_policies)}"
        yield from self._privacy(p)
        yield from _limits(gate, self.at_most, "at most")
        yield from _limits(gate, self.at_least, "at least")

    def _privacy(self, p: Predicate) -> Iterator[str]:
        if self.epsilon_at_most is None:
            return
        epsilon = None if p.budget is None else p.budget.epsilon
        if epsilon is None or epsilon > self.epsilon_at_most:
            stated = "not stated" if p.budget is None else "unbounded" if epsilon is None else f"{epsilon:.4g}"
            yield f"the cohort's epsilon is {stated}, at most {self.epsilon_at_most:g} is accepted"


DEFAULT = Acceptance()


def _limits(gate: GateResult, limits: Mapping[str, float], side: str) -> Iterator[str]:
    """Every limit, held against checks and measurements of its name; what is not there was not measured."""
    known: dict[str, float | None] = {**gate.measurements, **{check.name: check.value for check in gate.checks}}
    for pattern, limit in limits.items():
        form = re.compile("[^-]+".join(re.escape(part) for part in pattern.split("*")))
        named = {name: value for name, value in known.items() if form.fullmatch(name)}
        if not named:
            yield f"'{pattern}' was not measured, {side} {limit:g} is asked for"
        for name, value in named.items():
            if value is None or not (value <= limit if side == "at most" else value >= limit):
                yield f"{name} is {'not measured' if value is None else f'{value:.4g}'}, {side} {limit:g} is asked for"


def load_acceptance(file: Path | None = None, *, accept_override: bool = False) -> Acceptance:
    """The demands of a TOML file; without one, only that nobody overrode the gate.

    Args:
        file: the file, or the bare name of a shipped one (`SHIPPED`).
        accept_override: takes an overridden release whatever the file says.

    Raises:
        ConfigError: it can't be read, or a key is unknown or of the wrong type.
    """
    acceptance = DEFAULT
    if file is not None:
        top = read_toml(file, shipped=resources.files("consumer") / "policies", names=SHIPPED)
        acceptance = _acceptance(top)
        top.refuse_rest()
    return replace(acceptance, override=acceptance.override or accept_override)


def _acceptance(top: Table) -> Acceptance:
    """Each key where it is given; its default where it is not."""

    def names(key: str) -> tuple[str, ...]:
        return top.texts(key) if key in top.left else ()

    def limits(key: str) -> dict[str, float]:
        return top.numbers(key) if key in top.left else {}

    epsilon = top.number("epsilon_at_most") if "epsilon_at_most" in top.left else None
    if epsilon is not None and not 0 <= epsilon < math.inf:
        raise ConfigError(f"{top.place}: 'epsilon_at_most' must be 0 or more")
    return Acceptance(
        name=top.text("name"),
        override=_taken(top, "override", default=False),
        simulated=_taken(top, "simulated", default=True),
        persons_at_least=top.whole("persons_at_least") if "persons_at_least" in top.left else None,
        recipes=names("recipes"),
        regimes=names("regimes"),
        epsilon_at_most=epsilon,
        custodian_policies=names("custodian_policies"),
        at_most=limits("at_most"),
        at_least=limits("at_least"),
    )


def _taken(top: Table, key: str, *, default: bool) -> bool:
    if key not in top.left:
        return default
    if (word := top.text(key)) not in (ACCEPT, REFUSE):
        raise ConfigError(f"{top.place}: '{key}' must be \"{ACCEPT}\" or \"{REFUSE}\"")
    return word == ACCEPT
