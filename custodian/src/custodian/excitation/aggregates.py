"""How averages are read from patients: every person counts alike, is bounded, and may be hidden in noise.

Whatever a statistic needs is written as a mean of features of windows. A person's contribution is the mean over all of that person's
windows, class by class, as one vector; it is scaled down to a stated norm where it is longer; the persons' vectors are added; Gaussian
noise, if the recipe asks for it, is added to the sum once. What follows (dividing, making covariances positive) is computed from the noisy
sum alone. So adding or removing a person, with all recordings, moves the sum by at most the stated norm, and the noise is calibrated to
that (C. Dwork, A. Roth, "The Algorithmic Foundations of Differential Privacy", 2014; `custodian.budget.mechanisms`).

What it does not promise: the teacher, which labels the stimuli, has read the patients too. See `custodian.teacher`.

Usage::

    reader = Reader(recipe.privacy, account)
    means = reader.read("prior", windows.person, windows.labels, classes, lambda rows: features(windows.values[rows]))
    means.share, means.mean         # (classes,), (classes, d)
    reader.aggregates               # for the provenance
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custodian.budget.account import Account
from custodian.budget.mechanisms import Mechanism, calibrated, gaussian, unbounded
from custodian.excitation.sections import Privacy
from stimset.errors import ConfigError

Floats = NDArray[np.float64]
Features = Callable[[NDArray[np.int64]], Floats]
"""Rows of windows ``(n,)`` to their features ``(n, d)``."""

PURPOSE = "aggregates"
SHARE_SCALE = 0.5
"""A person's shares of the groups, which many persons bear out quickly, take only so much of the room within the bound."""

LEAST_PERSONS = 0.5
"""A noisy number of persons is not divided by when it is smaller."""


@dataclass(frozen=True)
class Means:
    """What was read.

    Attributes:
        share: ``(groups,)``: share of each group in a person's windows, averaged over persons; they sum to 1.
        mean: ``(groups, d)``: mean of the features in each group, over persons weighted by how much of the group they have.
    """

    share: Floats
    mean: Floats


class Reader:
    """Reads averages under one recipe's privacy. What was read once is kept and not read again.

    Args:
        privacy: bound and noise, of the recipe.
        account: pays for what is read; without one nothing with noise can be read.
        kept: sums that an earlier reader released, by name: workers elsewhere need no account.
        readings: how many sums will be read; they share the recipe's epsilon and delta evenly.
    """

    def __init__(
        self, privacy: Privacy, account: Account | None = None, kept: Mapping[str, Floats] | None = None, readings: int = 1
    ) -> None:  # fmt: skip
        self.privacy, self.account, self.readings = privacy, account, readings
        self.kept: dict[str, Floats] = dict(kept or {})
        self.aggregates: list[Mapping[str, Any]] = []
        self._mechanism = _mechanism(privacy, readings)

    def read(
        self, name: str, person: NDArray[np.int64], group: NDArray[np.int64], groups: int, features: Features, *, words: str = ""
    ) -> Means:  # fmt: skip
        """Means of features over persons, group by group.

        Args:
            name: of the sum among `kept`.
            person: ``(n,)``: whose window each is.
            group: ``(n,)`` in 0 to ``groups - 1``: such as the class.
            groups: how many.
            features: of the windows of some rows; a window's features should have a norm of about 1, so that few persons are scaled down.
            words: what is read, for people and the provenance; `name` without any.

        Raises:
            PolicyDenied: the budget does not allow it; nothing was given out.
            ConfigError: noise is asked for without an account, or more is read than was planned.
        """
        if self.privacy.noisy and len(self.aggregates) == self.readings:
            raise ConfigError(f"the recipe's budget was planned for {self.readings} readings; '{name}' is one more")
        if name not in self.kept:
            self.kept[name] = self._released(person, group, groups, features)
        total = self.kept[name]
        self.aggregates.append(self._entry(words or name, total.size))
        return _means(total)

    def _released(self, person: NDArray[np.int64], group: NDArray[np.int64], groups: int, features: Features) -> Floats:
        if self.account is None and self.privacy.noisy:
            raise ConfigError(
                "a recipe with [privacy] epsilon needs the custodian's ledger; make the set with 'custodian excite'"
            )
        total = bounded_sum(person, group, groups, features, self.privacy.norm)
        if self.account is None:
            return total
        # The account decides on the sum itself: one that was paid for before comes back though nothing is left.
        return self.account.release(total, self.privacy.norm, self._mechanism, purpose=PURPOSE)

    def _entry(self, words: str, numbers: int) -> Mapping[str, Any]:
        noise = (
            f", Gaussian noise of {self._mechanism.noise * self.privacy.norm:.4g} added to the sum"
            if self.privacy.noisy
            else ""
        )
        return {
            "name": words,
            "numbers": numbers,
            "bound": f"each person's mean scaled to a norm of at most {self.privacy.norm:g}{noise}",
            "epsilon": self._mechanism.epsilon,
            "delta": self._mechanism.delta,
        }


def bounded_sum(
    person: NDArray[np.int64], group: NDArray[np.int64], groups: int, features: Features, norm: float
) -> Floats:
    """``(groups, 1 + d)``: the persons' contributions, added. Adding or removing a person moves it by at most ``norm``.

    A person's contribution is, for each group, the share of windows in it (times `SHARE_SCALE`) and the sum of their features over the
    number of all of the person's windows.
    """
    order = np.argsort(person, kind="stable")
    total: Floats | None = None
    for rows in np.split(order, np.flatnonzero(np.diff(person[order])) + 1):
        described = np.column_stack([np.full(len(rows), SHARE_SCALE), features(rows)])
        own = np.zeros((groups, described.shape[1]))
        np.add.at(own, group[rows], described / len(rows))
        own *= min(1.0, norm / max(float(np.linalg.norm(own)), 1e-12))
        total = own if total is None else total + own
    if total is None:
        raise ConfigError("there are no windows to read averages from; run 'custodian ingest'")
    return total


def positive(matrix: NDArray[Any], least: float = 0.0, most: float = np.inf) -> NDArray[Any]:
    """The nearest Hermitian matrices ``(..., d, d)`` whose eigenvalues lie between `least` and `most`: noise may have left the cone."""
    values, vectors = np.linalg.eigh((matrix + np.conj(np.swapaxes(matrix, -1, -2))) / 2)
    return np.asarray((vectors * np.clip(values, least, most)[..., None, :]) @ np.conj(np.swapaxes(vectors, -1, -2)))


def proportions(numbers: Floats) -> Floats:
    """Shares that sum to 1; where noise left nothing of any, each is as likely as another."""
    held = np.maximum(numbers, 0.0)
    return held / held.sum() if held.sum() > 0 else np.full(len(held), 1 / len(held))


def _means(total: Floats) -> Means:
    persons = total[:, 0] / SHARE_SCALE
    return Means(proportions(persons), total[:, 1:] / np.maximum(persons[:, None], LEAST_PERSONS))


def _mechanism(privacy: Privacy, readings: int) -> Mechanism:
    if privacy.epsilon is None or privacy.delta is None:
        return unbounded()
    whole = calibrated(privacy.epsilon, privacy.delta)
    # So many Gaussian answers, each with the root of as much noise, compose to exactly the one.
    return whole if readings == 1 else gaussian(whole.noise * readings**0.5, privacy.delta)
