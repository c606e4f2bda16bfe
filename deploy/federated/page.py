"""The federated demo's report as one HTML file that fetches nothing."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plots
import tally
from federation import COLOURS, HOSPITALS
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from report import family_titles, number

from stimset.pages import house_css

TEMPLATE = "report.html.j2"


def render(summary: Mapping[str, Any], *, made: datetime.datetime) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["here"] = lambda path: str(path).removeprefix(f"{Path.cwd()}/")
    rows, titles = summary["students"], family_titles(summary["families"])
    kinds = (*HOSPITALS, tally.MEAN, tally.UNION, tally.POOLED)
    return environment.get_template(TEMPLATE).render(
        s=summary, headline=tally.headline(summary), titles=titles, kinds=kinds, heads=tally.HEADS, metrics=tally.METRICS,
        cells={(f, k, m): tally.cell(rows, f, k, m) for f in summary["families"] for k in kinds for m in tally.METRICS},
        figure=plots.both(lambda theme: kappas(theme, rows, summary["families"], titles)), made=f"{made:%Y-%m-%d %H:%M} UTC",
        total=max([s["started"] + s["seconds"] for s in summary["stages"]] or [1.0]), hospitals=HOSPITALS, sides=tuple(COLOURS),
        house_css=house_css(),
    )  # fmt: skip


def kappas(theme: plots.Theme, rows: Sequence[Mapping[str, Any]], families: Sequence[str], titles: Mapping[str, str]) -> Figure:
    """One band per family: each hospital alone, the union, the pooled true data; a small point per seed, a large one for the mean."""
    figure = Figure(figsize=(11.0, 0.9 + 0.95 * len(families)), layout="constrained")
    axis = figure.subplots()
    looks = {
        **{h: (theme.classes[0], marker) for h, marker in zip(HOSPITALS, "<v>", strict=True)},
        tally.UNION: (theme.kinds["stimuli"], "o"), tally.POOLED: (theme.kinds["true_hard"], "D"),
    }  # fmt: skip
    for band, family in enumerate(families):
        means = [c.value for h in HOSPITALS if (c := tally.cell(rows, family, h))]
        union = tally.cell(rows, family, tally.UNION)
        if means and union:
            axis.plot([np.mean(means), union.value], [band, band], color=theme.kinds["stimuli"], lw=1.2, zorder=1)
        for place, (kind, (colour, marker)) in enumerate(looks.items()):
            height = band + 0.11 * (place - 2)
            found = tally.cell(rows, family, kind)
            if found is None:
                continue
            seeds = [r["kappa"] for r in rows if r["family"] == family and r["trained_on"] == kind and r["kappa"] is not None]
            axis.scatter(seeds, [height] * len(seeds), s=9, color=colour, alpha=0.45, marker=marker, linewidths=0, zorder=2)
            label = tally.HEADS[kind] if band == 0 else None
            axis.scatter([found.value], [height], s=62, color=colour, marker=marker, linewidths=0, zorder=3, label=label)
    axis.set_yticks(range(len(families)), [titles[f] for f in families])
    axis.set_ylim(len(families) - 0.5, -0.5)
    axis.set_xlabel("Cohen's kappa on held-out persons of all three hospitals")
    axis.grid(axis="x", lw=0.6)
    axis.tick_params(length=0)
    figure.legend(loc="outside upper left", ncols=len(looks), handletextpad=0.2, columnspacing=1.6)
    return figure
