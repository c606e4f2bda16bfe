"""From single results to the table's rows. Plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from baselines.approaches import APPROACHES
from paper.settings import PROTOCOLS

Row = dict[str, Any]


def rows(results: Sequence[Mapping[str, Any]], membership: Mapping[str, Mapping[str, Any] | None]) -> list[Row]:
    """One row for each approach, in the table's order.

    `entropy` is the smallest over the attackers, `gap`, `auc` and `excess` are the largest: an approach is as safe as its worst attack
    says.

    Args:
        results: of `Whole` cells.
        membership: approach -> what `Bed.membership` found.
    """
    order = list(APPROACHES)
    return [_row(r, membership.get(r["approach"])) for r in sorted(results, key=lambda r: order.index(r["approach"]))]


def _row(result: Mapping[str, Any], membership: Mapping[str, Any] | None) -> Row:
    identity = result["attacks"]["identity"].values()
    copied = result["attacks"]["reconstruction"]
    return {
        "approach": result["approach"], "title": APPROACHES[result["approach"]].title, "lets_out": result["kind"],
        "kappa": {
            protocol: {family: by[protocol]["kappa"] for family, by in result["scores"].items() if protocol in by}
            for protocol in PROTOCOLS
        },
        "entropy": min(a["stimuli_entropy"] for a in identity),
        "gap": max(a["stimuli_certainty"] - a["strangers_certainty"] for a in identity),
        "auc": max(a["stimuli_auc"] for a in identity),
        "excess": max(a["stimuli_excess"] for a in identity),
        "copied_share": copied["copied-share"], "nearer_auc": copied["nearer-auc"], "inverted": result["attacks"]["inverted"],
        "membership": dict(membership) if membership else None,
        "epsilon": result["epsilon"], "core_seconds": result["core_seconds"], "seconds": result["seconds"], "bytes": result["bytes"],
        "persons": result["persons"], "code": result["code"],
    }  # fmt: skip


def families(found: Sequence[Row], protocol: str) -> list[str]:
    """Every family that some row has, in order of appearance."""
    return list(dict.fromkeys(name for row in found for name in row["kappa"].get(protocol, {})))


def headline(found: Sequence[Row], protocol: str) -> str:
    """One sentence that the numbers bear, whichever way they fell."""
    known = {row["approach"]: row for row in found}
    ours = known.get("stimuli")
    rivals = [row for name, row in known.items() if name not in ("true", "noise", "stimuli")]
    if ours is None or not rivals:
        return "Stimuli and what else a hospital might let out"
    mine = best(ours, protocol)
    below = [row for row in rivals if (best(row, protocol) or 0.0) <= (mine or 0.0)]
    told = (
        f"The best student of the stimuli reaches a kappa of {mine or 0.0:.2f}; {len(below)} of {len(rivals)} baselines reach no more."
    )
    others = sorted(row["membership"]["auc"] for row in rivals if row["membership"])
    if not ours["membership"] or not others:
        return told
    mine = ours["membership"]["auc"]
    return f"{told} Membership is told with an AUC of {mine:.2f}, from baselines with {others[0]:.2f} to {others[-1]:.2f}."


def best(row: Row, protocol: str) -> float | None:
    """The best family's kappa."""
    return max((k for k in row["kappa"].get(protocol, {}).values() if k is not None), default=None)
