"""Attributes read off a release: sex, age group, BMI group of a person, guessed from the stimuli nearest to that person's windows.

The attacker holds a person's recording and the release, and knows the attributes of all *other* persons: from their windows a linear model
learns how the attribute shows in the signal. It then reads the stimuli that lie nearest to the person's windows. Some of that is true of
anybody (a population's heart rates tell age); what the release betrays of its own patients is how much better the guess is with the person
inside than with the same person outside.

Positive control: raw windows that carry a mark of their owner's attribute. Noise is the negative one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custodian.gate.attacks.intervals import Clustered, interval, too_few
from custodian.gate.attacks.membership import INSIDE, OUTSIDE, Worlds
from custodian.gate.attacks.responses import NEIGHBOURS, Subjects, squared_distances
from custodian.gate.attacks.signatures import with_tones

Floats = NDArray[np.float64]

FOLDS = 4
RIDGE = 0.1
UNKNOWN = -1
LEAST_PER_GROUP = 2
"""Two groups need so many persons each, or there is nothing to guess."""


@dataclass(frozen=True)
class Groups:
    """One attribute.

    Attributes:
        name: such as ``"sex"``.
        values: names of the groups.
        of_person: ``(persons,)`` index into `values`, `UNKNOWN` where nobody says.
    """

    name: str
    values: tuple[str, ...]
    of_person: NDArray[np.int64]

    @property
    def measurable(self) -> bool:
        """Whether two groups have persons enough."""
        counts = np.bincount(self.of_person[self.of_person != UNKNOWN], minlength=max(1, len(self.values)))
        return int((counts >= LEAST_PER_GROUP).sum()) >= 2


def groups_of(attributes: Mapping[str, Sequence[str]]) -> list[Groups]:
    """The cohort's attributes (name -> each person's group, empty where unknown)."""
    found = []
    for name, column in sorted(attributes.items()):
        values = tuple(sorted({value for value in column if value}))
        found.append(
            Groups(name, values, np.array([values.index(v) if v else UNKNOWN for v in column], dtype=np.int64))
        )
    return found


@dataclass(frozen=True)
class Reader:
    """Linear models of an attribute, none of which saw the person that it is asked about.

    Attributes:
        groups: the attribute.
        fold: ``(persons,)`` which of the models is asked about a person: the one that did not learn from them.
        weights: ``(folds, features + 1, groups)``.
    """

    groups: Groups
    fold: NDArray[np.int64]
    weights: Floats

    @classmethod
    def learn(cls, groups: Groups, features: Floats, person: NDArray[np.int64], *, seed: int) -> Reader:
        """Ridge regression on the groups' indicators, each person weighing the same, cross-fitted over `FOLDS` folds of persons.

        Args:
            groups: the attribute.
            features: ``(n, features)`` of windows.
            person: ``(n,)`` whose they are.
            seed: of the folds.
        """
        persons = len(groups.of_person)
        fold = np.empty(persons, dtype=np.int64)
        fold[np.random.default_rng(seed).permutation(persons)] = np.arange(persons) % FOLDS
        known = groups.of_person[person] != UNKNOWN
        x = np.column_stack([features, np.ones(len(features))])
        y = np.eye(len(groups.values))[np.maximum(groups.of_person, 0)][person]
        weight = 1 / np.maximum(np.bincount(person, minlength=persons), 1)[person]
        learnt = []
        for held in range(FOLDS):
            rows = known & (fold[person] != held)
            a, w = x[rows], weight[rows, None]
            learnt.append(np.linalg.solve(a.T @ (w * a) + RIDGE * np.eye(a.shape[1]), a.T @ (w * y[rows])))
        return cls(groups, fold, np.stack(learnt))

    def read(self, stimuli: Floats, subjects: Subjects) -> Floats:
        """How much of each person's true group the nearest stimuli show: ``(persons,)`` in [0, 1], NaN where it is unknown.

        Args:
            stimuli: standardised features ``(m, features)``.
            subjects: whose windows the attacker holds.
        """
        shown = np.clip(
            np.column_stack([stimuli, np.ones(len(stimuli))]) @ self.weights, 0.0, 1.0
        )  # (folds, m, groups)
        shown = (shown + 1e-3) / (shown + 1e-3).sum(-1, keepdims=True)
        owners = subjects.windows.person
        true = np.maximum(self.groups.of_person, 0)
        answers = np.empty(len(owners))
        for part, squared in squared_distances(subjects.features, stimuli):
            nearest = np.argpartition(squared, min(NEIGHBOURS, len(stimuli)) - 1, axis=1)[:, :NEIGHBOURS]
            mine = owners[part]
            answers[part] = shown[self.fold[mine][:, None], nearest, true[mine][:, None]].mean(1)
        return np.where(self.groups.of_person == UNKNOWN, np.nan, subjects.per_person(answers))


def raw_reading(groups: Groups, subjects: Subjects, rows: NDArray[np.int64], *, seed: int) -> Floats:
    """What is read off raw windows (rows of the subjects' own) that carry a mark of the attribute."""
    windows = subjects.windows
    marks = np.maximum(groups.of_person, 0)[windows.person]
    everything = with_tones(windows.values, marks, max(2, len(groups.values)))
    features = subjects.seen(everything)
    reader = Reader.learn(groups, features, windows.person, seed=seed)
    return reader.read(features[rows], subjects)


@dataclass(frozen=True)
class Advantage:
    """How much more of the true group is read off releases with the person inside than off those without.

    Attributes:
        inside, outside: mean share of the true group over persons.
        value: mean over persons of the difference; 0 or less is no disclosure.
        ends: its 95 % interval over persons; None with too few.
        persons: whose attribute is known, and who stood on both sides.
    """

    inside: float
    outside: float
    value: float
    ends: tuple[float, float] | None
    persons: int

    @property
    def missing(self) -> str:
        """Why there is no interval."""
        return too_few(self.persons, side="persons of known attribute", share=1.0)


def advantage(shares: Floats, worlds: Worlds, *, seed: int) -> Advantage | None:
    """Compare each person with themselves.

    Args:
        shares: ``(worlds, persons)`` of `Reader.read`.
        worlds: who was inside.
        seed: of the interval's bootstrap.

    Returns:
        None where nobody stood on both sides.
    """
    sides = [np.where(worlds.inside == side, shares, np.nan) for side in (INSIDE, OUTSIDE)]
    both = np.isfinite(sides[0]).any(0) & np.isfinite(sides[1]).any(0)
    if not both.any():
        return None
    inside, outside = (np.nanmean(side[:, both], axis=0) for side in sides)
    gain = Clustered(tuple(np.array([d]) for d in inside - outside))
    ends = interval(lambda parts: float(np.concatenate(parts).mean()), [gain], seed=seed, lowest=-1.0, highest=1.0)
    return Advantage(
        float(inside.mean()), float(outside.mean()), float((inside - outside).mean()), ends, int(both.sum())
    )
