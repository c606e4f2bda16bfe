"""Inhibition: keep stimuli from pointing at single patients.

``identity`` trains networks that tell persons apart and drives their answers toward "nobody in particular"; ``retraining`` trains fresh
ones on what that leaves; ``membership`` drives stimuli away from what the teacher alone remembers. Inhibition against one network fools
that network alone, and against networks of one training those of that training, so there are several, of unlike architectures, each under
two levels of noise; and the gate judges only by attackers that were trained apart.
"""

from custodian.inhibition.identity import (
    IDENTITY_ARCHITECTURES,
    IDENTITY_PLAN,
    expected_persons,
    identity_plans,
    inhibit,
    train_identity_networks,
)
from custodian.inhibition.membership import forget, train_references
from custodian.inhibition.retraining import retrain_identity

__all__ = [
    "IDENTITY_ARCHITECTURES",
    "IDENTITY_PLAN",
    "expected_persons",
    "forget",
    "identity_plans",
    "inhibit",
    "retrain_identity",
    "train_identity_networks",
    "train_references",
]
