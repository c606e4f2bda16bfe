"""The page's figures: kappa per family as dumbbells, and the frontier of privacy against kappa."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plots
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from paper.settings import TRUE_HARD, TRUE_SOFT

Row = Mapping[str, Any]
TRUE_KINDS = (TRUE_HARD, TRUE_SOFT)
# Recipes beyond those that the demo's report knows, in the order of appearance: (light, dark).
SPARE = (("#2f6db5", "#6aa7ec"), ("#7a5195", "#bb95da"), ("#4b8a3f", "#8fcf80"), ("#c2542d", "#ee8a62"), ("#5b6770", "#a3afba"),
         ("#8c6d31", "#d6b36a"), ("#1b7f9e", "#5fc3e0"), ("#9c3848", "#e38a98"))  # fmt: skip
MARKERS = ("P", "v", "*", "X", "p", "<", ">", "h")
COLUMNS = 4


def look(theme: plots.Theme, kinds: Sequence[str], ours: str) -> dict[str, tuple[str, str]]:
    """Colour and marker of each kind of training data; `ours` has the stimuli's."""
    looks, spare = {}, 0
    for kind in kinds:
        known = "stimuli" if kind == ours else kind
        if known in theme.kinds:
            looks[kind] = (theme.kinds[known], plots.MARKERS[known])
            continue
        pair = SPARE[spare % len(SPARE)]
        # The markers are shifted by one with each round of the colours, so that no two of 64 recipes look alike.
        looks[kind] = (pair[0] if theme.name == "light" else pair[1], MARKERS[(spare + spare // len(SPARE)) % len(MARKERS)])
        spare += 1
    return looks


def dumbbells(
    theme: plots.Theme, rows: Sequence[Row], families: Sequence[str], kinds: Sequence[str], ours: str, titles: Mapping[str, str]
) -> Figure:
    """Mean kappa of each family on each kind of data, with the spread over seeds; a bar joins ours and the true windows.

    Args:
        theme: light or dark.
        rows: of one window and protocol.
        families: top to bottom.
        kinds: of training data, in the legend's order.
        ours: the recipe that the bar joins with the true windows.
        titles: of families and kinds.
    """
    figure = Figure(figsize=(11.0, 1.3 + 0.62 * len(families)), layout="constrained")
    axis = figure.subplots()
    looks = look(theme, kinds, ours)
    found = {(r["family"], r["trained_on"]): r for r in rows}
    offsets = {kind: 0.34 - 0.68 * i / max(1, len(kinds) - 1) for i, kind in enumerate(kinds)}
    offsets |= {TRUE_HARD: 0.0, ours: 0.0}
    for place, family in enumerate(reversed(families)):
        axis.axhspan(place - 0.42, place + 0.42, color=theme.grid, alpha=0.3, lw=0)
        pair = [k for kind in (ours, TRUE_HARD) if (k := found.get((family, kind), {}).get("kappa_mean")) is not None]
        if len(pair) == 2:
            axis.plot(pair, [place, place], color=theme.kinds["stimuli"], lw=4, alpha=0.35, zorder=1)
        for kind in kinds:
            row = found.get((family, kind))
            if row is None or row["kappa_mean"] is None:
                continue
            colour, marker = looks[kind]
            strong, height = kind in (ours, TRUE_HARD), place + offsets[kind]
            if row["kappa_spread"]:
                ends = [row["kappa_mean"] - row["kappa_spread"], row["kappa_mean"] + row["kappa_spread"]]
                axis.plot(ends, [height, height], color=colour, lw=1.2, alpha=0.5, zorder=2)
            axis.plot([row["kappa_mean"]], [height], marker, color=colour, ms=8.5 if strong else 5, zorder=4 if strong else 3)
    axis.set_yticks(range(len(families)), [titles.get(f, f) for f in reversed(families)], color=theme.ink, fontsize=10)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(-0.5, len(families) - 0.5)
    axis.set_xlabel("Cohen's kappa: mean over seeds; thin lines are one standard deviation")
    axis.xaxis.grid(True, lw=0.6)
    axis.set_axisbelow(True)
    axis.spines["left"].set_visible(False)
    _legend(figure, looks, kinds, titles)
    return figure


def frontier(
    theme: plots.Theme, points: Sequence[Row], yardstick: str, families: Sequence[str], kinds: Sequence[str], ours: str,
    titles: Mapping[str, str], strangers: float | None,
) -> Figure:  # fmt: skip
    """Kappa against a yardstick of identity, one small plot per family: faint points are seeds, strong ones their means.

    Args:
        theme: light or dark.
        points: of `tables.frontier`, of one window.
        yardstick: ``entropy`` or ``excess``.
        families: one plot each.
        kinds: the recipes, in the legend's order.
        ours: the recipe in the stimuli's colour.
        titles: of families and kinds.
        strangers: the yardstick on windows of persons kept apart, drawn as a line; None leaves it out.
    """
    columns = max(1, min(COLUMNS, len(families)))
    rows = -(-len(families) // columns)
    figure = Figure(figsize=(11.0, 0.7 + (2.35 if rows > 1 else 3.2) * rows + 0.2 * (len(kinds) // 4)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    looks = look(theme, kinds, ours)
    for place, axis in enumerate(axes):
        if place >= len(families):
            axis.set_visible(False)
            continue
        family = families[place]
        for kind in kinds:
            mine = [(p[yardstick], k) for p in points if p["recipe"] == kind and (k := p["kappa"].get(family)) is not None]
            if not mine:
                continue
            colour, marker = looks[kind]
            xs, ys = zip(*mine, strict=True)
            if len(mine) > 1:
                axis.plot(xs, ys, ".", color=colour, ms=4, alpha=0.5)
            axis.plot([sum(xs) / len(xs)], [sum(ys) / len(ys)], marker, color=colour, ms=8 if kind == ours else 6.5, zorder=3)
        if strangers is not None:
            axis.axvline(strangers, color=theme.faint, lw=0.9, ls=(0, (4, 3)))
        axis.set_title(titles.get(family, family))
        axis.grid(True, lw=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelbottom=place + columns >= len(families))
        if place + columns >= len(families):
            axis.set_xlabel(YARDSTICKS[yardstick], fontsize=9)
        if place % columns == 0:
            axis.set_ylabel("kappa", fontsize=9)
    _legend(figure, looks, kinds, titles)
    return figure


YARDSTICKS = {
    "entropy": "entropy (1: could be anyone)",
    "excess": "excess over base rate (nats)",
}


def _legend(figure: Figure, looks: Mapping[str, tuple[str, str]], kinds: Sequence[str], titles: Mapping[str, str]) -> None:
    handles = [
        Line2D([], [], color=looks[kind][0], marker=looks[kind][1], ls="", ms=6.5, label=titles.get(kind, kind)) for kind in kinds
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4, handletextpad=0.2, columnspacing=1.4)
