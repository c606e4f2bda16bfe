"""From single results to the table: means and spreads over seeds, claims, the frontier. Plain values in, plain values out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from paper.jobs import METRICS
from paper.settings import OFFICIAL, PROTOCOLS, TRUE_HARD, TRUE_SOFT, UNSEEN

Result = Mapping[str, Any]
Row = dict[str, Any]

CNN = "cnn"
CNN_GAIN = 0.03
"""The convolutional network's goal: at least so much above the true windows with true labels."""

SOFT_MARGIN = 0.03
"""Every family's goal: within this of the true windows with the teacher's labels."""

TINY = 1e-9


def mean_and_spread(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation of what is defined; no spread of a single value, nothing of none."""
    known = [v for v in values if v is not None]
    if not known:
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None


def rows(students: Sequence[Result], families: Sequence[str], kinds: Sequence[str]) -> list[Row]:
    """One row for each window, protocol, family and kind of training data, over all seeds."""
    grouped: dict[tuple[str, str, str, str], list[Result]] = defaultdict(list)
    for student in students:
        for protocol in student["protocols"]:
            grouped[student["window"], protocol, student["family"], student["trained_on"]].append(student)
    made = []
    order = sorted(grouped, key=lambda k: (k[0], PROTOCOLS.index(k[1]), families.index(k[2]), kinds.index(k[3])))
    for window, protocol, family, trained_on in order:
        found = grouped[window, protocol, family, trained_on]
        row: Row = {"family": family, "trained_on": trained_on, "protocol": protocol, "window": window}
        for metric in METRICS:
            row[f"{metric}_mean"], row[f"{metric}_spread"] = mean_and_spread(s["protocols"][protocol][metric] for s in found)
        row["seeds"] = sorted(s["seed"] for s in found)
        row["examples"] = round(float(np.mean([s["examples"] for s in found])))
        row["seconds"] = round(float(np.mean([s["seconds"] for s in found])), 1)
        made.append(row)
    return made


def claims(students: Sequence[Result], families: Sequence[str], recipes: Sequence[str]) -> list[Row]:
    """What each recipe loses or gains against true windows: differences of kappa, seed by seed.

    A seed counts where both sides have it. `holds` says whether the goal is reached: no lower than the true windows with true labels (the
    convolutional network: `CNN_GAIN` above), and within `SOFT_MARGIN` of the true windows with the teacher's labels.
    """
    kappa = {
        (s["window"], protocol, s["family"], s["trained_on"], s["seed"]): found["kappa"]
        for s in students for protocol, found in s["protocols"].items()
    }  # fmt: skip
    made = []
    places = sorted({(w, PROTOCOLS.index(p)) for w, p, *_ in kappa})
    for window, place in places:
        for recipe in recipes:
            for family in families:
                side = (window, PROTOCOLS[place], family)
                row = _claim(kappa, side, recipe)
                if row is not None:
                    made.append(row)
    return made


def _claim(kappa: Mapping[tuple[str, str, str, str, int], float | None], side: tuple[str, str, str], recipe: str) -> Row | None:
    window, protocol, family = side
    row: Row = {"window": window, "protocol": protocol, "family": family, "recipe": recipe}
    used: set[int] = set()
    for name, base in (("minus_true_hard", TRUE_HARD), ("minus_true_soft", TRUE_SOFT)):
        differences = {}
        for (*place, trained_on, seed), ours in kappa.items():
            theirs = kappa.get((*side, base, seed))
            if tuple(place) == side and trained_on == recipe and ours is not None and theirs is not None:
                differences[seed] = ours - theirs
        row[f"{name}_mean"], row[f"{name}_spread"] = mean_and_spread(differences.values())
        used |= set(differences)
    if not used:
        return None
    hard, soft = row["minus_true_hard_mean"], row["minus_true_soft_mean"]
    goal = CNN_GAIN if family == CNN else 0.0
    row["holds_true_hard"] = None if hard is None else hard >= goal - TINY
    row["holds_true_soft"] = None if soft is None else soft >= -SOFT_MARGIN - TINY
    row["seeds"] = sorted(used)
    return row


def frontier(attacks: Sequence[Result], students: Sequence[Result]) -> list[Row]:
    """For each window, recipe and seed: what the strongest attacker says of the stimuli, beside each family's kappa.

    `entropy` is the smallest over the attackers, `auc` and `excess` are the largest: the set is as safe as its worst attack says.
    """
    found: dict[tuple[str, str, int], dict[str, Result]] = defaultdict(dict)
    for attack in attacks:
        found[attack["window"], attack["recipe"], attack["seed"]][attack["family"]] = attack
    made = []
    for (window, recipe, seed), attackers in sorted(found.items()):
        mine = [s for s in students if (s["window"], s["trained_on"], s["seed"]) == (window, recipe, seed)]
        made.append({
            "window": window, "recipe": recipe, "seed": seed,
            "entropy": min(a["stimuli_entropy"] for a in attackers.values()),
            "auc": max(a["stimuli_auc"] for a in attackers.values()),
            "excess": max(a["stimuli_excess"] for a in attackers.values()),
            "attackers": {name: _figures(attack) for name, attack in sorted(attackers.items())},
            "kappa": {s["family"]: s["protocols"].get(OFFICIAL, s["protocols"].get(UNSEEN))["kappa"] for s in mine},
            "kappa_unseen": {s["family"]: s["protocols"][UNSEEN]["kappa"] for s in mine if UNSEEN in s["protocols"]},
        })  # fmt: skip
    return made


def _figures(attack: Result) -> Row:
    about = ("family", "recipe", "window", "seed", "simulated", "code", "seconds")
    return {key: value for key, value in attack.items() if key not in about}


def frontier_means(points: Sequence[Result]) -> list[Row]:
    """The frontier's points with their mean over seeds: one for each window and recipe."""
    grouped: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for point in points:
        grouped[point["window"], point["recipe"]].append(point)
    made = []
    for (window, recipe), found in grouped.items():
        row: Row = {"window": window, "recipe": recipe, "seeds": sorted(p["seed"] for p in found)}
        for name in ("entropy", "auc", "excess"):
            row[f"{name}_mean"], row[f"{name}_spread"] = mean_and_spread(p[name] for p in found)
        families = sorted({family for p in found for family in p["kappa"]})
        row["kappa"] = {family: mean_and_spread(p["kappa"].get(family) for p in found)[0] for family in families}
        made.append(row)
    return made


def strangers(attacks: Sequence[Result]) -> list[Row]:
    """What the attackers say of windows of persons kept apart, and of the training persons' own held-out windows: means over all."""
    grouped: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for attack in attacks:
        grouped[attack["window"], attack["family"]].append(attack)
    names = ("strangers_entropy", "strangers_excess", "control_auc", "control_entropy")
    return [
        {"window": window, "attacker": family, **{n: mean_and_spread(a.get(n) for a in found)[0] for n in names}}
        for (window, family), found in sorted(grouped.items())
    ]


def summary(claimed: Sequence[Result], recipe: str, protocol: str, window: str) -> dict[str, Any]:
    """In how many families this recipe reaches each goal."""
    mine = [c for c in claimed if (c["recipe"], c["protocol"], c["window"]) == (recipe, protocol, window)]
    return {
        "families": len(mine),
        "hard": sum(bool(c["holds_true_hard"]) for c in mine),
        "soft": sum(bool(c["holds_true_soft"]) for c in mine),
        "short": [c["family"] for c in mine if c["holds_true_hard"] is False],
    }
