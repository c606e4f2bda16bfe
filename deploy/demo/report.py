"""The report as one HTML file that fetches nothing: text from the summary, figures from arrays."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import plots
import summary as found
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stimset.pages import house_css

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plan import Facts

TEMPLATE = "report.html.j2"
KIND_NAMES = plots.TITLES


@dataclass(frozen=True)
class Material:
    """The arrays behind the figures.

    Attributes:
        values, probabilities: of the release's stimuli.
        averages: see `plots.spectra`.
        labels: the classes' names.
        rate_hz: of a window.
        signals: the channels' names.
        meaning: what the label says.
    """

    values: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    averages: Mapping[str, list[NDArray[np.float64] | None]]
    labels: tuple[str, ...]
    rate_hz: float
    signals: tuple[str, ...]
    meaning: str


def gather(facts: Facts) -> Material:
    """Read the verified release, and from the hospital's side the class averages alone: never a single window."""
    from custodian.cohort import Cohort
    from custodian.config import Home
    from custodian.excitation.candidates import CandidateSet
    from stimset.roots import TrustedRoot
    from stimset.verifying import verify

    home = Home.open(facts.hospital)
    root = TrustedRoot.load(home.root_file, facts.documents["init"]["root_fingerprint"])
    release = verify(Path(facts.documents["pull"]["folder"]), root)
    stimuli, spec = release.stimuli(), release.spec
    training = Cohort.load(home.cohort).training
    averages = {
        "true_hard": class_power(training.values, training.labels, spec.classes),
        "stimuli": class_power(stimuli.values, stimuli.probabilities.argmax(1), spec.classes),
    }
    for name in ("noise", "paper"):
        arrays = CandidateSet.load(home.candidates(name)).arrays()
        averages[name] = class_power(arrays.values, arrays.probabilities.argmax(1), spec.classes)
    return Material(
        stimuli.values, stimuli.probabilities, averages, spec.labels, spec.rate_hz, tuple(s.name for s in spec.signals), spec.meaning
    )


def class_power(values: NDArray[np.float32], classes: NDArray[np.int64], count: int) -> list[NDArray[np.float64] | None]:
    """`plots.power` of each class; None for a class without an example."""
    return [plots.power(values[classes == k]) if np.any(classes == k) else None for k in range(count)]


def figures(summary: Mapping[str, Any], material: Material, titles: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Every figure as a pair of data URIs, for light and dark pages."""
    rows, families = summary["students"], summary["families"]
    ours = {r["family"]: r for r in rows if r["trained_on"] == "stimuli"}
    matrices = [
        (f"{titles.get(f, f)}  κ {ours[f]['kappa'] or 0:.2f}", np.asarray(ours[f]["confusion"])) for f in families if f in ours
    ]
    labels, samples = material.labels, material.values.shape[2]
    return {
        "kappas": plots.both(lambda t: plots.kappas(t, rows, families, titles)),
        "waveforms": plots.both(lambda t: plots.waveforms(t, material.values, material.probabilities, labels, material.rate_hz)),
        "spectra": plots.both(lambda t: plots.spectra(t, material.averages, labels, samples, material.rate_hz)),
        "confusions": plots.both(lambda t: plots.confusions(t, matrices, labels)),
    }


def family_titles(families: list[str]) -> dict[str, str]:
    """The families' names for people."""
    from stimset.learning.families import families as known

    every = {f.name: f.title for f in known()}
    return {name: every.get(name, name) for name in families}


def render(summary: Mapping[str, Any], material: Material, titles: Mapping[str, str], *, made: datetime.datetime) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["here"] = lambda path: str(path).removeprefix(f"{Path.cwd()}/")
    total = max([s["started"] + s["seconds"] for s in summary["stages"]] or [1.0])
    return environment.get_template(TEMPLATE).render(
        s=summary, verdict=found.verdict(summary, titles), titles=titles, kinds=found.KINDS, kind_names=KIND_NAMES,
        metrics=found.METRICS, figures=figures(summary, material, titles), material=material, total=total,
        made=f"{made:%Y-%m-%d %H:%M} UTC", rows={(r["family"], r["trained_on"]): r for r in summary["students"]},
        house_css=house_css(),
    )  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")
