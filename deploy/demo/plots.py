"""The report's figures, each drawn twice: for light pages and for dark ones.

A figure is a function of plain arrays and a `Theme`; `both` turns it into two SVG data URIs. Nothing here reads a file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

MAX_CLASSES = 6  # of more classes the first are drawn
MAX_SIGNALS = 3
PER_CLASS = 5


@dataclass(frozen=True)
class Theme:
    """Colours of a page: text, faint text, grid, and one per kind of training data and per class."""

    name: str
    ink: str
    faint: str
    grid: str
    paper: str
    kinds: Mapping[str, str]
    classes: tuple[str, ...]


LIGHT = Theme(
    "light", "#1f2933", "#66727f", "#dde3e8", "#ffffff",
    {"stimuli": "#0f766e", "true_hard": "#33415c", "true_soft": "#7d8fb3", "noise": "#b7791f", "paper": "#a8577e"},
    ("#2f6db5", "#c2542d", "#4b8a3f", "#7a5195", "#b8860b", "#5b6770"),
)  # fmt: skip
DARK = Theme(
    "dark", "#e6eaee", "#9aa7b4", "#313b46", "#161b22",
    {"stimuli": "#2dd4bf", "true_hard": "#c3d0e8", "true_soft": "#8096c4", "noise": "#e0a84a", "paper": "#d987ae"},
    ("#6aa7ec", "#ee8a62", "#8fcf80", "#bb95da", "#e0b64a", "#a3afba"),
)  # fmt: skip
MARKERS = {"stimuli": "o", "true_hard": "D", "true_soft": "s", "noise": "x", "paper": "^"}
TITLES = {
    "stimuli": "stimuli (the release)", "true_hard": "true windows, true labels", "true_soft": "true windows, teacher's labels",
    "noise": "noise, teacher's labels", "paper": "the 2021 paper's recipe",
}  # fmt: skip

Draw = Callable[[Theme], Figure]


def both(draw: Draw) -> dict[str, str]:
    """``{"light": URI, "dark": URI}`` of one figure; the same numbers give the same bytes."""
    return {theme.name: data_uri(draw, theme) for theme in (LIGHT, DARK)}


def data_uri(draw: Draw, theme: Theme) -> str:
    """One figure as an SVG data URI, transparent, without date."""
    style: dict[Any, Any] = {
        "font.family": "sans-serif", "font.size": 10, "text.color": theme.ink, "axes.labelcolor": theme.faint,
        "axes.edgecolor": theme.grid, "axes.titlecolor": theme.ink, "axes.titlesize": 10.5, "axes.titlelocation": "left",
        "xtick.color": theme.faint, "ytick.color": theme.faint, "xtick.labelsize": 9, "ytick.labelsize": 9,
        "axes.spines.top": False, "axes.spines.right": False, "axes.grid": False, "grid.color": theme.grid,
        "legend.frameon": False, "legend.fontsize": 9, "svg.hashsalt": "stimset", "svg.fonttype": "path",
        "lines.solid_capstyle": "round",
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = draw(theme)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def waveforms(
    theme: Theme, values: NDArray[np.float32], probabilities: NDArray[np.float32], labels: Sequence[str], rate_hz: float
) -> Figure:
    """`PER_CLASS` stimuli of each class, from the least to the most certain, with the teacher's belief."""
    classes = min(len(labels), MAX_CLASSES)
    signals = min(values.shape[1], MAX_SIGNALS)
    figure = Figure(figsize=(11.0, 0.55 + 1.25 * classes * (1 + 0.35 * (signals - 1))), layout="constrained")
    axes = figure.subplots(classes, PER_CLASS, sharex=True, sharey=True, squeeze=False)
    seconds = np.arange(values.shape[2]) / rate_hz
    low, high = np.percentile(values, [0.2, 99.8])
    step = high - low
    for k in range(classes):
        for axis, row in zip(axes[k], spread_rows(probabilities, k), strict=True):
            _bare(axis)
            if row is None:
                continue
            for c in range(signals):
                axis.plot(seconds, values[row, c] - c * step, color=theme.classes[k], lw=1.0, alpha=1 - 0.25 * c)
            axis.set_title(f"{labels[k]} {probabilities[row, k]:.0%}", color=theme.faint, fontsize=9, pad=2)
            axis.set_ylim(low - (signals - 1) * step - 0.05 * step, high + 0.05 * step)
    for axis in axes[-1]:
        axis.tick_params(bottom=True, labelbottom=True, length=2)
        axis.set_xlabel("seconds", fontsize=9)
    return figure


def spread_rows(probabilities: NDArray[np.float32], k: int) -> list[int | None]:
    """Rows whose most probable class is `k`, at even quantiles of its probability; None where there are too few."""
    rows = np.flatnonzero(probabilities.argmax(1) == k)
    rows = rows[np.argsort(probabilities[rows, k], kind="stable")]
    if len(rows) < PER_CLASS:
        return [*(int(r) for r in rows), *(None for _ in range(PER_CLASS - len(rows)))]
    return [int(rows[round(q * (len(rows) - 1))]) for q in np.linspace(0.05, 0.95, PER_CLASS)]


def power(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(frequencies,)`` mean power of the first signal's windows around their mean, without frequency 0."""
    first = values[:, 0].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(first - first.mean(-1, keepdims=True), axis=-1)) ** 2 / first.shape[1]
    mean: NDArray[np.float64] = spectrum.mean(0)[1:]
    return mean


def spectra(
    theme: Theme, averages: Mapping[str, Sequence[NDArray[np.float64] | None]], labels: Sequence[str], samples: int, rate_hz: float
) -> Figure:
    """Mean power per class: of the true windows (averages over many patients), the stimuli, and the two baselines.

    Args:
        averages: kind of data -> per class `power`, or None where there is no example; keys as in `TITLES`, with
            ``true_hard`` for the true windows.
    """
    classes = min(len(labels), MAX_CLASSES)
    columns = min(3, classes)
    rows = -(-classes // columns)
    figure = Figure(figsize=(11.0, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    frequency = np.fft.rfftfreq(samples, 1 / rate_hz)[1:]
    looks: dict[str, dict[str, Any]] = {
        "noise": {"lw": 1.2, "ls": ":"}, "paper": {"lw": 1.2, "ls": "--"}, "true_hard": {"lw": 5, "alpha": 0.35}, "stimuli": {"lw": 1.8},
    }  # fmt: skip
    names = TITLES | {"true_hard": "true windows, class average"}
    for k, axis in enumerate(axes):
        if k >= classes:
            axis.set_visible(False)
            continue
        for kind, look in looks.items():
            found = averages.get(kind, [None] * classes)[k]
            if found is not None:
                axis.plot(frequency, np.maximum(found, 1e-9), color=theme.kinds[kind], label=names[kind], **look)
        axis.set_yscale("log")
        axis.set_title(labels[k])
        axis.set_xlabel("frequency in Hz")
        axis.grid(True, lw=0.6)
        axis.set_xlim(0, frequency[-1])
    axes[0].set_ylabel("mean power")
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    shown = [names[kind] for kind in ("true_hard", "stimuli", "noise", "paper") if names[kind] in handles]
    figure.legend([handles[name] for name in shown], shown, loc="outside upper left", ncols=4)
    return figure


def confusions(theme: Theme, matrices: Sequence[tuple[str, NDArray[np.int64]]], labels: Sequence[str]) -> Figure:
    """One square per student: the share of each true class (rows) that was decided as each class (columns)."""
    columns = min(len(matrices), 4 if len(labels) <= 4 else 3)
    rows = -(-len(matrices) // columns)
    figure = Figure(figsize=(11.0, 2.75 * rows * (1 if len(labels) <= 4 else 1.35)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = LinearSegmentedColormap.from_list("calm", [theme.paper, theme.kinds["stimuli"]])
    for axis, place in zip(axes, range(len(axes)), strict=True):
        if place >= len(matrices):
            axis.set_visible(False)
            continue
        title, counts = matrices[place]
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        edges = np.arange(len(labels) + 1) - 0.5  # a mesh stays vectors, an image would not
        axis.pcolormesh(edges, edges, share, cmap=colours, vmin=0, vmax=1)
        axis.set_aspect("equal")
        axis.invert_yaxis()
        for i, j in np.ndindex(*counts.shape):
            if len(labels) <= 8:
                colour = theme.paper if share[i, j] > 0.55 else theme.ink
                small = f"\n{counts[i, j]}" if len(labels) <= 3 else ""
                axis.text(j, i, f"{share[i, j]:.0%}{small}", ha="center", va="center", color=colour, fontsize=9)
        _ticks(axis, labels, first=place % columns == 0)
        axis.set_title(title)
    return figure


def _ticks(axis: Axes, labels: Sequence[str], first: bool) -> None:
    axis.set_xticks(range(len(labels)), labels, fontsize=8.5, rotation=0 if len(labels) <= 3 else 45)
    axis.set_yticks(range(len(labels)), labels if first else [""] * len(labels), fontsize=8.5)
    axis.tick_params(length=0)
    axis.set_xlabel("decided", fontsize=8.5)
    if first:
        axis.set_ylabel("true", fontsize=8.5)
    for spine in axis.spines.values():
        spine.set_visible(False)


def kappas(theme: Theme, rows: Sequence[Mapping[str, Any]], families: Sequence[str], titles: Mapping[str, str]) -> Figure:
    """Kappa of each family on each kind of training data; a line joins stimuli and true windows, bars are intervals.

    Args:
        rows: ``family``, ``trained_on``, ``kappa``, and perhaps ``intervals.kappa``.
        families: top to bottom.
        titles: of the families.
    """
    figure = Figure(figsize=(11.0, 1.2 + 0.85 * len(families)), layout="constrained")
    axis = figure.subplots()
    found = {(r["family"], r["trained_on"]): r for r in rows}
    offsets = {"true_hard": 0.24, "true_soft": 0.12, "stimuli": 0.0, "noise": -0.12, "paper": -0.24}
    for place, family in enumerate(reversed(families)):
        axis.axhspan(place - 0.42, place + 0.42, color=theme.grid, alpha=0.35, lw=0)
        known = [found.get((family, kind), {}).get("kappa") for kind in ("stimuli", "true_hard")]
        pair = [kappa for kappa in known if kappa is not None]
        if len(pair) == 2:
            axis.plot(pair, [place, place + offsets["true_hard"]], color=theme.faint, lw=1.2, alpha=0.6, zorder=1)
        for kind, offset in offsets.items():
            entry = found.get((family, kind))
            if entry is not None and entry["kappa"] is not None:
                _point(axis, theme, kind, entry, place + offset)
    axis.set_yticks(range(len(families)), [titles.get(f, f) for f in reversed(families)], color=theme.ink, fontsize=10)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("Cohen's kappa on the partner's recordings (bars: 95 % of resampled persons)")
    lowest = min([0.0, *(r["kappa"] for r in rows if r["kappa"] is not None)])
    axis.set_xlim(min(-0.03, lowest - 0.03), 1.0)
    axis.set_ylim(-0.5, len(families) - 0.5)
    axis.xaxis.grid(True, lw=0.6)
    axis.set_axisbelow(True)
    axis.spines["left"].set_visible(False)
    order = [kind for kind in MARKERS if any(r["trained_on"] == kind for r in rows)]
    handles = [
        Line2D([], [], color=theme.kinds[k], marker=MARKERS[k], ls="", ms=7 if k == "stimuli" else 5.5, label=TITLES[k])
        for k in order
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=5, handletextpad=0.2, columnspacing=1.4)
    return figure


def _point(axis: Axes, theme: Theme, kind: str, entry: Mapping[str, Any], height: float) -> None:
    interval = (entry.get("intervals") or {}).get("kappa")
    colour, strong = theme.kinds[kind], kind == "stimuli"
    if interval:
        axis.plot(interval, [height, height], color=colour, lw=3.5 if strong else 1.4, alpha=0.45, zorder=2, solid_capstyle="butt")
    axis.plot([entry["kappa"]], [height], MARKERS[kind], color=colour, ms=9 if strong else 5.5, zorder=3, mew=1.6)


def _bare(axis: Axes) -> None:
    axis.tick_params(left=False, labelleft=False, bottom=False)
    axis.spines["left"].set_visible(False)
