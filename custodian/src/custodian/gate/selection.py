"""Which quick attacks a policy asks for: those that `custodian audit` runs for every set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from custodian.gate.attacks.association import Association
from custodian.gate.attacks.base import Attack
from custodian.gate.attacks.linkage import Linkage
from custodian.gate.attacks.reconstruction import Reconstruction
from custodian.gate.policy import AttackRule, Policy

FAMILIES = ("deep_cnn", "random_forest", "knn")

_BUILDERS: Mapping[str, Callable[[AttackRule], list[Attack]]] = {
    "identity": lambda rule: [
        Association(family, gap_wanted=rule.positive_limit) for family in rule.variants or FAMILIES
    ],
    "linkage": lambda rule: [Linkage(gap_wanted=rule.positive_limit)],
    "reconstruction": lambda rule: [Reconstruction()],
}


def quick_attacks(policy: Policy) -> Iterator[Attack]:
    """The attacks in the order of the policy; an attack that it does not name is not run."""
    for name, rule in policy.attacks.items():
        if name in _BUILDERS:
            yield from _BUILDERS[name](rule)
