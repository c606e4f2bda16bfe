"""The benchmark's figures: the frontier of membership against kappa, and the attack against the cohort's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plots
from gatebench.cells import headline
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]
MARKERS = ("o", "D", "s", "^", "P", "v", "X")
AIM = 0.57


def frontier(theme: plots.Theme, rows: Sequence[Row]) -> Figure:
    """Membership AUC of a student of the release (with its interval) against that student's kappa on persons outside, by regime."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axis = figure.subplots()
    _aim(axis, theme)
    for i, row in enumerate(rows):
        auc, ends = headline(row)
        kappa, colour = row["kappas"][f"release/{row['student']}"], theme.classes[i % len(theme.classes)]
        if ends:
            axis.plot([kappa, kappa], ends, color=colour, lw=1.4, alpha=0.6)
        axis.plot([kappa], [auc], MARKERS[i % len(MARKERS)], color=colour, ms=9, label=row["name"])
    axis.set_xlabel(f"Cohen's kappa of a {rows[0]['student']} trained on the release, on persons outside")
    axis.set_ylabel("membership AUC, 95 % interval")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def sizes(theme: plots.Theme, rows: Sequence[Row]) -> Figure:
    """Membership AUC against the number of simulated persons, of a student of the release and of the teacher."""
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    axis = figure.subplots()
    _aim(axis, theme)
    persons = [row["persons"] for row in rows]
    for name, label, colour, marker in (
        (f"membership-student-{rows[0]['student']}", f"a {rows[0]['student']} trained on the release", theme.kinds["stimuli"], "o"),
        ("membership-stimuli", "the stimuli themselves", theme.kinds["noise"], "s"),
        ("reference-teacher", "the teacher (never released)", theme.kinds["true_hard"], "D"),
    ):
        found = [row["findings"][name] for row in rows]
        axis.plot(persons, [f["measurements"]["auc"] for f in found], f"-{marker}", color=colour, ms=7, lw=1.4, label=label)
        for x, f in zip(persons, found, strict=True):
            if ends := f["intervals"].get("auc"):
                axis.plot([x, x], ends, color=colour, lw=1.2, alpha=0.5)
    axis.set_xscale("log", base=2)
    axis.set_xticks(persons, [str(p) for p in persons])
    axis.set_xlabel("persons in the cohort (simulated)")
    axis.set_ylabel("membership AUC, 95 % interval")
    axis.legend()
    return figure


def _aim(axis: Axes, theme: plots.Theme) -> None:
    axis.axhline(0.5, color=theme.faint, lw=1, ls=":")
    axis.axhspan(0.5, AIM, color=theme.kinds["stimuli"], alpha=0.08, lw=0)
    axis.yaxis.grid(True, lw=0.6)
    axis.set_axisbelow(True)
