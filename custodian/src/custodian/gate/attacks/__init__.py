"""The attacks of the gate, each a small estimator with a positive and a negative control.

`base` says what an attack takes (`Evidence`) and gives (`Finding`). The quick ones run for every set, in seconds to a minute each:

- `association`: a fresh attacker of one family tells the patients apart; is it surer of a stimulus's owner than of a stranger's?
- `linkage`: do two attackers with different recordings of the patients name the same owner?
- `reconstruction`: has a patient's window been copied, under any shift and gain?

The deep ones read what shadow teachers left. `controls` makes the sets that must be caught and must pass, `intervals` says how far a number
can be trusted with so many persons, `doubles` finds persons who stand on both sides of the split.
"""

from custodian.gate.attacks.association import Association, IdentityAttack, attack_identity
from custodian.gate.attacks.base import Attack, Curve, Evidence, Finding
from custodian.gate.attacks.linkage import Linkage
from custodian.gate.attacks.reconstruction import Reconstruction

__all__ = [
    "Association", "Attack", "Curve", "Evidence", "Finding", "IdentityAttack", "Linkage", "Reconstruction", "attack_identity",
]  # fmt: skip
