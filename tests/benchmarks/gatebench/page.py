"""The benchmark for people: tables on the terminal, one HTML page that fetches nothing, and the figures as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plots
from gatebench import figures
from gatebench.cells import FRONTIER, RECIPES, SIZE, headline
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.table import Table

Row = Mapping[str, Any]
PNG_DPI = 160


def of_part(document: Row, part: str) -> list[Row]:
    """The rows of one part."""
    return [row for row in document["rows"] if row["part"] == part]


def attacks(rows: Sequence[Row]) -> list[str]:
    """Every attack that some row has, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row["findings"]))


def value(row: Row, attack: str) -> str:
    """The headline of an attack with its interval; a dash where it was not run."""
    finding = row["findings"].get(attack)
    if finding is None or finding["headline"] not in finding["measurements"]:
        return "–"
    ends = finding["intervals"].get(finding["headline"])
    return f"{finding['measurements'][finding['headline']]:.3f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def printed(document: Row) -> list[Table]:
    """One table for each part."""
    made = []
    for part, title in ((FRONTIER, "Teachers"), (SIZE, "Cohort sizes"), (RECIPES, "Recipes")):
        rows = of_part(document, part)
        if not rows:
            continue
        table = Table(title=f"{title}{' (SIMULATED)' if document['simulated'] or part == SIZE else ''}", title_justify="left")
        table.add_column("attack or kappa", overflow="fold", min_width=24)
        for row in rows:
            table.add_column(row["name"], justify="right")
        for attack in attacks(rows):
            table.add_row(attack, *(value(row, attack) for row in rows))
        for name in rows[0]["kappas"]:
            table.add_row(f"kappa {name}", *(f"{row['kappas'].get(name, float('nan')):.3f}" for row in rows))
        made.append(table)
    return made


def drawn(document: Row) -> dict[str, Any]:
    """Name -> a function of a theme, for every figure that has rows."""
    frontier, sizes = of_part(document, FRONTIER), of_part(document, SIZE)
    found: dict[str, Any] = {}
    if frontier:
        found["frontier"] = lambda theme: figures.frontier(theme, frontier)
    if sizes:
        found["sizes"] = lambda theme: figures.sizes(theme, sizes)
    return found


def render(document: Row) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    parts = [(part, of_part(document, part)) for part in (FRONTIER, SIZE, RECIPES)]
    return environment.get_template("page.html.j2").render(
        d=document, parts={part: rows for part, rows in parts if rows}, attacks=attacks, value=value, headline=headline,
        figures={name: plots.both(draw) for name, draw in drawn(document).items()},
    )  # fmt: skip


def png(draw: Any) -> bytes:
    """A figure for documents, on white."""
    buffer = io.BytesIO()
    draw(plots.LIGHT).savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white")
    return buffer.getvalue()


