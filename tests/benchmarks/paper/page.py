"""The table for people: printed, and as one HTML page that fetches nothing."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import plots
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from paper import figures, tables
from paper.jobs import METRICS
from paper.settings import OFFICIAL, PROTOCOLS, TRUE_HARD, TRUE_SOFT
from rich.table import Table

from stimset.learning.families import families as known_families

TEMPLATE = "page.html.j2"
PNG_DPI = 160
KIND_TITLES = {
    TRUE_HARD: "true data, hard labels", TRUE_SOFT: "true data, soft labels", "noise": "coloured noise",
    "average-spectrum": "average-spectrum noise", "prior": "prior, no excitation", "paper": "the 2021 paper",
    "spectral": "spectral (shipped)",
}  # fmt: skip
PROTOCOL_TITLES = {OFFICIAL: "official split", PROTOCOLS[1]: "persons unseen in training"}

Row = Mapping[str, Any]


def ours(document: Row) -> str:
    """The recipe in the foreground: the shipped one, else the first that inhibits, else the first."""
    names = [r["name"] for r in document["recipes"]]
    if "spectral" in names:
        return "spectral"
    inhibiting = [r["name"] for r in document["recipes"] if r.get("objective", {}).get("identity", 0) > 0]
    return (inhibiting or names or [""])[0]


def places(document: Row) -> list[tuple[str, str]]:
    """Every window and protocol that has rows, in order."""
    present = {(r["window"], r["protocol"]) for r in document["rows"]}
    return sorted(present, key=lambda p: (p[0], PROTOCOLS.index(p[1])))


def printed(document: Row) -> list[Table]:
    """Kappa by family and training data: one table for each window and protocol."""
    made = []
    for window, protocol in places(document):
        mark = " (SIMULATED persons)" if document["simulated"] else ""
        title = f"Cohen's kappa, {window}, {PROTOCOL_TITLES[protocol]}{mark}"
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("student", no_wrap=True)
        for kind in document["trained_on"]:
            style = "bold green" if kind == ours(document) else ""
            head = kind.replace("_", " ").replace("-", " ")
            table.add_column(head, justify="right", style=style, min_width=max(len(word) for word in head.split()))
        found = {(r["family"], r["trained_on"]): r for r in document["rows"] if (r["window"], r["protocol"]) == (window, protocol)}
        for family in document["families"]:
            cells = [found.get((family, kind)) for kind in document["trained_on"]]
            table.add_row(family, *(_plus_minus(c, "kappa") if c else "-" for c in cells))
        made.append(table)
    return made


def _plus_minus(row: Row, metric: str) -> str:
    mean, spread = row[f"{metric}_mean"], row[f"{metric}_spread"]
    return "-" if mean is None else f"{mean:.3f}" + (f" ±{spread:.3f}" if spread is not None else "")


def render(document: Row) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    titles = {**KIND_TITLES, **{f.name: f.title for f in known_families()}}
    foreground = ours(document)
    sections = [_section(document, window, protocol, foreground, titles) for window, protocol in places(document)]
    return environment.get_template(TEMPLATE).render(
        d=document, titles=titles, ours=foreground, metrics=METRICS, sections=sections, headline=headline(document, titles),
        frontiers=[_frontier(document, window, foreground, titles) for window in sorted({p["window"] for p in document["frontier"]})],
        seeds=sorted({s for r in document["rows"] for s in r["seeds"]}), protocol_titles=PROTOCOL_TITLES,
        made=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
    )  # fmt: skip


def png(document: Row) -> dict[str, bytes]:
    """The frontiers for documents, on white: ``WINDOW-YARDSTICK`` to the picture."""
    titles = {**KIND_TITLES, **{f.name: f.title for f in known_families()}}
    found = {}
    for window in sorted({p["window"] for p in document["frontier"]}):
        for yardstick, draw in _frontiers(document, window, ours(document), titles).items():
            buffer = io.BytesIO()
            draw(plots.LIGHT).savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white")
            found[f"{window.replace(' ', '-')}-{yardstick}"] = buffer.getvalue()
    return found


def headline(document: Row, titles: Mapping[str, str]) -> str:
    """One sentence that the numbers bear, whichever way they fell."""
    found = places(document)
    recipe = ours(document)
    window, protocol = next(((w, p) for w, p in found if w == "apnea-5min"), found[0] if found else ("", ""))
    told = tables.summary(document["claims"], recipe, protocol, window)
    if not told["families"]:
        return "Nothing has been compared yet."
    name = titles.get(recipe, recipe)
    return (
        f"{told['hard']} of {told['families']} families of students reach their goal against the true data's labels on the stimuli of "
        f"“{name}”, and {told['soft']} stay within {tables.SOFT_MARGIN:.2f} of the true data with the teacher's labels."
    )


def _section(document: Row, window: str, protocol: str, foreground: str, titles: Mapping[str, str]) -> dict[str, Any]:
    rows = [r for r in document["rows"] if (r["window"], r["protocol"]) == (window, protocol)]
    claims = [c for c in document["claims"] if (c["window"], c["protocol"]) == (window, protocol)]
    kinds = [kind for kind in document["trained_on"] if any(r["trained_on"] == kind for r in rows)]
    families = [family for family in document["families"] if any(r["family"] == family for r in rows)]
    return {
        "window": window, "protocol": protocol, "rows": rows, "kinds": kinds, "families": families,
        "cells": {(r["family"], r["trained_on"]): r for r in rows},
        "claims": {(c["family"], c["recipe"]): c for c in claims},
        "recipes": [r["name"] for r in document["recipes"] if any(c["recipe"] == r["name"] for c in claims)],
        "dumbbells": plots.both(lambda t: figures.dumbbells(t, rows, families, kinds, foreground, titles)),
    }  # fmt: skip


def _frontier(document: Row, window: str, foreground: str, titles: Mapping[str, str]) -> dict[str, Any]:
    points = [p for p in document["frontier"] if p["window"] == window]
    names = _named(document, points)
    apart = [s for s in document["strangers"] if s["window"] == window]
    drawn = _frontiers(document, window, foreground, titles)
    means = [m for m in document["frontier_means"] if m["window"] == window]
    return {
        "window": window, "means": sorted(means, key=lambda m: names.index(m["recipe"])), "strangers": apart,
        "figures": {yardstick: plots.both(drawn[yardstick]) if yardstick in drawn else None for yardstick in figures.YARDSTICKS},
    }  # fmt: skip


def _frontiers(document: Row, window: str, foreground: str, titles: Mapping[str, str]) -> dict[str, Callable[[plots.Theme], Figure]]:
    """Yardstick -> the picture of one window's recipes; nothing where no family was tried."""
    points = [p for p in document["frontier"] if p["window"] == window]
    families = [family for family in document["families"] if any(family in p["kappa"] for p in points)]
    apart = [s for s in document["strangers"] if s["window"] == window]

    def of(yardstick: str) -> Callable[[plots.Theme], Figure]:
        line = worst(yardstick, [s[f"strangers_{yardstick}"] for s in apart])
        return lambda t: figures.frontier(t, points, yardstick, families, _named(document, points), foreground, titles, line)

    return {yardstick: of(yardstick) for yardstick in figures.YARDSTICKS} if families else {}


def _named(document: Row, points: Sequence[Row]) -> list[str]:
    return [r["name"] for r in document["recipes"] if any(p["recipe"] == r["name"] for p in points)]


def worst(yardstick: str, values: Sequence[float | None]) -> float | None:
    """The strongest attacker's figure: the smallest entropy, the largest excess."""
    known = [v for v in values if v is not None]
    return None if not known else min(known) if yardstick == "entropy" else max(known)


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")
