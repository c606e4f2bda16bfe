"""The benchmark as one self-contained HTML page: no script, no font, no picture is fetched from anywhere."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

from consumer.benchmark import FURTHER, SHOWN, TITLES, BenchmarkReport, Result, cell
from consumer.comparing import Comparison
from stimset.errors import FormatError
from stimset.learning import families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, FAINT, ACCENT = "#1c2733", "#8593a3", "#12708a"
MOST_PICTURES = 24
PALETTE = ("#12708a", "#c8553d", "#5a7d3a", "#7a5195", "#d19a1c", "#3d5a80", "#a23b72", "#6b705c")


def html(report: BenchmarkReport) -> str:
    """The whole page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("consumer"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("benchmark.html").render(
        zip=zip,
        report=report,
        shown=(*SHOWN, *FURTHER),
        titles=TITLES,
        cell=cell,
        family_title=family_title,
        kappa_plot=data_uri(kappa_figure(report)),
        roc_plot=data_uri(roc_figure(report)) if any(r.roc for r in report.results) else None,
        comparisons=leading(report),
        agreements=[(r, data_uri(agreement_figure(r))) for r in report.results[:MOST_PICTURES] if r.events],
        confusions=[(r, data_uri(confusion_figure(r, report.labels))) for r in report.results[:MOST_PICTURES]],
    )


def leading(report: BenchmarkReport) -> list[Comparison]:
    """The best student against each of the others, in their order."""
    place = {result.student: i for i, result in enumerate(report.results)}
    found = [c for c in report.comparisons if place[c.better] == 0]
    return sorted(found, key=lambda c: place[c.worse])


def family_title(name: str) -> str:
    """The family's name for people; the bare name of one that this version does not know."""
    known = {family.name: family.title for family in families.families()}
    return known.get(name, name)


def data_uri(figure: Figure) -> str:
    """A figure as an SVG data URI, with fixed ids and without a date: the same numbers give the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "stimset", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def kappa_figure(report: BenchmarkReport) -> Figure:
    """Kappa per student with its interval, best on top."""
    results = report.results
    figure, axes = _axes(7.6, 1.1 + 0.42 * len(results))
    for row, result in enumerate(results):
        kappa, interval = result.metrics["kappa"], result.intervals["kappa"]
        if kappa is None:
            axes.text(0.01, row, "not defined on this data", va="center", color=FAINT, fontsize=9)
            continue
        axes.barh(row, kappa, height=0.62, color=ACCENT, alpha=0.85)
        if interval:
            axes.plot(interval, [row, row], color=INK, linewidth=1.6, solid_capstyle="butt")
            axes.plot(interval, [row, row], linestyle="none", marker="|", color=INK, markersize=9)
    lows = [r.intervals["kappa"][0] for r in results if r.intervals["kappa"]] + [
        r.metrics["kappa"] or 0 for r in results
    ]
    axes.set_xlim(min(0.0, *lows, 0.0) - (0.02 if min(lows, default=0) < 0 else 0), 1)
    axes.set_yticks(range(len(results)), [_label(r, report) for r in results])
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("Cohen's kappa, with the 95 % interval over " + report.clustered_by)
    axes.grid(axis="x", color="#dde3e9", linewidth=0.8)
    return figure


def roc_figure(report: BenchmarkReport) -> Figure:
    """ROC of every student for the last label; with more than two labels, each student's mean curve over the labels."""
    import numpy as np

    figure, axes = _axes(5.4, 5.2)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    grid = np.linspace(0, 1, 101)
    for i, result in enumerate(report.results):
        if not result.roc:
            continue
        colour, style = PALETTE[i % len(PALETTE)], "-" if i < len(PALETTE) else "--"
        if len(report.labels) == 2:
            false, true = next(iter(result.roc.values()))
        else:
            false = grid.tolist()
            true = np.mean([np.interp(grid, *curve) for curve in result.roc.values()], axis=0).tolist()
        axes.plot(false, true, color=colour, linestyle=style, linewidth=1.8, label=_label(result, report))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.005)
    axes.set_aspect("equal")
    axes.set_xlabel("false positive rate (1 - specificity)")
    axes.set_ylabel("true positive rate (sensitivity)")
    axes.grid(color="#dde3e9", linewidth=0.8)
    axes.legend(loc="lower right", fontsize=8, facecolor="white", edgecolor="none", framealpha=0.85)
    return figure


def agreement_figure(result: Result) -> Figure:
    """Bland and Altman's plot of a student's event index: difference over mean, per recording.

    Raises:
        FormatError: the student has no event index.
    """
    import numpy as np

    events = result.events
    if events is None:
        raise FormatError(f"{result.student} has no event index: its windows have more than two labels")
    labelled, found = np.asarray(events.labelled), np.asarray(events.found)
    figure, axes = _axes(3.7, 3.0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.axhline(events.bias, color=ACCENT, linewidth=1.6)
    for limit in events.limits or ():
        axes.axhline(limit, color=ACCENT, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.scatter((labelled + found) / 2, found - labelled, s=16, color=INK, alpha=0.7, linewidths=0)
    axes.set_xlabel(f"mean of both: {events.label} an hour")
    axes.set_ylabel("student minus labels")
    axes.margins(y=0.15)
    axes.grid(color="#dde3e9", linewidth=0.8)
    return figure


def confusion_figure(result: Result, labels: tuple[str, ...]) -> Figure:
    """Counts, coloured by the share of the true class."""
    import numpy as np

    counts = np.asarray(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(2.7, 0.75 * len(labels) + 1.2)
    figure, axes = _axes(size, size)
    axes.imshow(shares, cmap="GnBu", vmin=0, vmax=1)
    for row in range(len(labels)):
        for column in range(len(labels)):
            colour = "white" if shares[row, column] > 0.6 else INK
            text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8.5)
    axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 3 else 0)
    axes.set_yticks(range(len(labels)), labels, rotation=0 if len(labels) > 3 else 90, va="center")
    axes.set_xlabel("decided")
    axes.set_ylabel("true")
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure, (axes,) = new_axes(width, height)
    return figure, axes


def new_axes(width: float, height: float, *, rows: int = 1, heights: tuple[float, ...] = (1.0,)) -> tuple[Figure, tuple[Any, ...]]:
    """A figure in inches without pyplot, so that no global state and no display is touched, and its axes one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = tuple(figure.subplots(rows, 1, squeeze=False, sharex=rows > 1, height_ratios=heights)[:, 0])
    for axes in panels:
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0, labelsize=9, colors=INK)
        axes.set_axisbelow(True)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_color(INK)
            axis.label.set_fontsize(9)
    return figure, panels


def _label(result: Result, report: BenchmarkReport) -> str:
    """The family, with seed and release only where they tell students apart."""
    label = family_title(result.family)
    alike = [r for r in report.results if r.family == result.family]
    if len({r.seed for r in alike}) > 1:
        label += f" (seed {result.seed})"
    if len({r.release for r in report.results}) > 1:
        label += f", {result.release}"
    return label
