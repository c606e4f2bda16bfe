"""Re-training on the way: fresh identity networks learn to read what inhibition leaves, then the excitation works against them too.

Adversarial training with the roles of A. Madry et al., ICLR 2018, exchanged: the attacker is trained on the defender's own perturbations.
A stimulus has no person whose name an attacker could be taught, so real windows of known persons are sent through the very ascent that
stimuli go through, and the fresh networks learn the persons from both forms. Those inhibited windows of patients never leave the memory of
this process; only the networks' weights do, into the private folder of the set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from custodian.cohort import Cohort
from custodian.excitation.sections import Inhibition
from custodian.inhibition.identity import IDENTITY_ARCHITECTURES, OnEpoch, identity_plans, train_identity_networks
from custodian.teacher.checkpoint import TrainedNetwork

Climb = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def retrain_identity(
    cohort: Cohort, settings: Inhibition, climb: Climb, *, seed: int, device: str = "cpu",
    on_epoch: OnEpoch = lambda epoch, note: None,
) -> list[TrainedNetwork]:  # fmt: skip
    """One round: networks that know the training persons in real windows and in inhibited ones.

    Args:
        cohort: whose persons.
        settings: `pilot` windows are inhibited, as many of each person as there are, equally; architectures and plan of the networks.
        climb: the ascent against the networks so far: windows ``(n, channels, samples)`` to what inhibition makes of them.
        seed: of the choice of windows and of the networks.
        device: a torch device.
        on_epoch: told after each epoch.
    """
    windows = cohort.training
    rows = pilot_rows(windows.person, settings.pilot, np.random.default_rng(seed))
    return train_identity_networks(
        cohort, architectures=settings.architectures or IDENTITY_ARCHITECTURES, plans=identity_plans(settings), seed=seed, device=device,
        also=(climb(windows.values[rows]), windows.person[rows]), on_epoch=on_epoch,
    )  # fmt: skip


def pilot_rows(person: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """At most ``most`` rows, dealt out person by person, so that everybody stands in them about equally often."""
    shuffled = rng.permutation(len(person))
    order = shuffled[np.argsort(person[shuffled], kind="stable")]
    owners = person[order]
    turn = np.arange(len(order)) - np.searchsorted(owners, owners)  # a person's first row, second row ...
    return np.sort(order[np.argsort(turn, kind="stable")][:most])
