"""The table for people: printed, and as one HTML page that fetches nothing."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plots
from baselines import tables
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from paper.page import PROTOCOL_TITLES, number
from paper.settings import PROTOCOLS
from rich.table import Table

Row = Mapping[str, Any]
GUESSING = 0.5


def shown_protocol(document: Row) -> str:
    """Persons whom nobody learnt from, where there are any; else the official split."""
    return next((p for p in reversed(PROTOCOLS) if any(row["kappa"].get(p) for row in document["rows"])), PROTOCOLS[0])


def printed(document: Row) -> Table:
    """One line for each approach."""
    protocol = shown_protocol(document)
    families = tables.families(document["rows"], protocol)
    mark = " (SIMULATED persons)" if document["simulated"] else ""
    table = Table(title=f"Baselines, kappa on {PROTOCOL_TITLES[protocol]}{mark}", title_justify="left", title_style="bold")
    table.add_column("what leaves", no_wrap=True)
    heads = [f"kappa {family}".replace("_", " ") for family in families]
    for head in (*heads, "entropy", "excess", "copied", "member AUC", "epsilon", "core s", "MiB"):
        # Nothing is cut, however narrow the terminal.
        table.add_column(head, justify="right", min_width=max(len(word) for word in [*head.split(), "-0.000"]))
    for row in document["rows"]:
        kappas = [number(row["kappa"].get(protocol, {}).get(family)) for family in families]
        style = "bold green" if row["approach"] == "stimuli" else ""
        told = [figure.split(" (")[0] for _, figure in figures(row)]  # intervals stand on the page
        table.add_row(row["title"], *kappas, *told, style=style)
    return table


def figures(row: Row) -> list[tuple[str, str]]:
    """The figures of privacy and cost, each with its name, as text."""
    return [
        ("entropy", number(row["entropy"])), ("excess", number(row["excess"], 2)), ("copied", number(row["copied_share"])),
        ("membership", membership(row)), ("epsilon", "–" if row["epsilon"] is None else f"{row['epsilon']:.3g}"),
        ("core_seconds", f"{row['core_seconds']:.0f}"), ("mib", f"{row['bytes'] / 2**20:.2f}"),
    ]  # fmt: skip


def membership(row: Row) -> str:
    """The AUC with its interval; a dash where no worlds were run."""
    found = row["membership"]
    if found is None:
        return "–"
    ends = found["interval"]
    return number(found["auc"], 2) + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def render(document: Row) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    protocol = shown_protocol(document)
    placed = [row for row in document["rows"] if row["membership"] and tables.best(row, protocol) is not None]
    return environment.get_template("page.html.j2").render(
        d=document, figures=figures, headline=tables.headline(document["rows"], protocol), protocols=PROTOCOL_TITLES,
        families={p: found for p in reversed(PROTOCOLS) if (found := tables.families(document["rows"], p))},
        picture=plots.both(lambda theme: frontier(theme, placed, protocol)) if placed else None,
        made=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip


def frontier(theme: plots.Theme, rows: Sequence[Row], protocol: str) -> Figure:
    """Membership AUC with its interval against the best family's kappa: down and to the right is better."""
    figure = Figure(figsize=(8.6, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.axhline(GUESSING, color=theme.faint, lw=1, ls=":")
    for place, row in enumerate(rows):
        kappa, found = tables.best(row, protocol), row["membership"]
        colour = theme.kinds["stimuli"] if row["approach"] == "stimuli" else theme.classes[place % len(theme.classes)]
        if found["interval"]:
            axis.plot([kappa, kappa], found["interval"], color=colour, lw=1.4, alpha=0.5)
        axis.plot([kappa], [found["auc"]], "D" if row["lets_out"] == "model" else "o", color=colour, ms=9, label=row["title"])
    axis.set_xlabel(f"kappa of the best family, {PROTOCOL_TITLES[protocol]}")
    axis.set_ylabel("membership AUC, 95 % interval")
    axis.yaxis.grid(True, lw=0.6)
    axis.set_axisbelow(True)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
