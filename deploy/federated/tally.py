"""What the federated demo found, as plain values: ``summary.json``, the verdict in words, and the table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from devices import CASE_MIX, DEVICES
from federation import HOSPITALS, SEED, Facts
from pooled import TRAINED_ON as POOLED
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from stages import Outcome

UNION, MEAN = "union", "mean"
KINDS = (*HOSPITALS, UNION, POOLED)
METRICS = ("accuracy", "kappa", "sensitivity", "specificity", "auroc")
HEADS = {**{h: f"{h.title()} alone" for h in HOSPITALS}, MEAN: "mean of three", UNION: "union", POOLED: "pooled true data"}


def rows_of(
    benchmark: Mapping[str, Any], students: Mapping[str, Sequence[Mapping[str, Any]]], pooled: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row per family, seed and kind of training data.

    Args:
        benchmark: what ``consumer benchmark --format json`` printed.
        students: kind -> what ``consumer train --format json`` said of each student.
        pooled: the referee's rows.
    """
    measured = {r["student"]: r["metrics"] for r in benchmark["results"]}
    rows = [
        {
            "family": s["family"], "seed": s["seed"], "trained_on": kind, "examples": s["stimuli"],
            **{m: measured[s["student"]][m] for m in METRICS},
        }
        for kind, trained in students.items()
        for s in trained
    ]  # fmt: skip
    rows += [{k: r[k] for k in ("family", "seed", "trained_on", "examples", *METRICS)} for r in pooled]
    return sorted(rows, key=lambda r: (KINDS.index(r["trained_on"]), r["family"], r["seed"]))


@dataclass(frozen=True)
class Cell:
    """A metric over seeds: `value` is the mean, `spread` the standard deviation (0 of one seed)."""

    value: float
    spread: float

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" ±{self.spread:.3f}" if self.spread else "")


def cell(rows: Sequence[Mapping[str, Any]], family: str, kind: str, metric: str = "kappa") -> Cell | None:
    """Mean over seeds, for `MEAN` over hospitals too; None where nothing was measured."""
    kinds = HOSPITALS if kind == MEAN else (kind,)
    by_seed: dict[int, list[float]] = {}
    for row in rows:
        if row["family"] == family and row["trained_on"] in kinds and row[metric] is not None:
            by_seed.setdefault(row["seed"], []).append(row[metric])
    values = [mean(found) for found in by_seed.values()]
    return Cell(mean(values), stdev(values) if len(values) > 1 else 0.0) if values else None


def gains(rows: Sequence[Mapping[str, Any]], families: Sequence[str]) -> dict[str, float]:
    """Family -> kappa on the union minus the mean of the hospitals alone, means of the seeds."""
    found = {}
    for family in families:
        union, alone = cell(rows, family, UNION), cell(rows, family, MEAN)
        if union is not None and alone is not None:
            found[family] = union.value - alone.value
    return found


def build(facts: Facts, outcomes: Sequence[Outcome], rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The whole of ``summary.json``."""
    documents, sizes = facts.documents, facts.sizes
    return {
        "students": rows,
        "families": list(facts.families),
        "neural": [f for f in facts.families if _is_neural(f)],
        "gains": gains(rows, facts.families),
        "hospitals": {hospital: _hospital(documents[hospital], facts, hospital) for hospital in HOSPITALS},
        "export": documents["export"],
        "stages": [outcome.to_document() for outcome in outcomes],
        "counts": {
            "stimuli": sizes.stimuli, "persons": sizes.persons, "minutes": sizes.minutes, "seeds": sizes.seeds,
            "hidden": sizes.hidden,
            "test_windows": documents["benchmark"]["windows"], "test_persons": documents["benchmark"]["persons"],
        },
        "labels": documents["benchmark"]["labels"],
        "consumer_home": str(facts.partner),
        "simulated": True,
        "seed": SEED,
        "seconds": round(seconds, 1),
    }  # fmt: skip


def _hospital(document: Mapping[str, Any], facts: Facts, hospital: str) -> dict[str, Any]:
    checks = document["audit"]["checks"]
    return {
        "name": f"Hospital {hospital.title()}", "root_fingerprint": document["init"]["root_fingerprint"],
        "release": document["release"]["release"], "folder": str(facts.documents["pull"][hospital]["folder"]),
        "teacher_kappa": document["train"]["validation_kappa"], "windows": document["ingest"]["windows"], "checks": len(checks),
        "passed": sum(c["passed"] for c in checks), "device": asdict(DEVICES[hospital]),
        "case_mix": list(CASE_MIX[hospital]),
        "evaluation": facts.documents["submit"][hospital]["measures"]["kappa"],
    }  # fmt: skip


def _is_neural(family: str) -> bool:
    from stimset.learning.families import family as known

    return known(family).needs_torch


def headline(summary: Mapping[str, Any]) -> str:
    """The result in one sentence, good or bad: of the networks, or where none was trained of all students."""
    kind = "network" if summary["neural"] else "student"
    gains = {f: summary["gains"][f] for f in summary["neural"] or summary["families"] if f in summary["gains"]}
    better = [f for f, gain in gains.items() if gain > 0]
    if gains and len(better) == len(gains):
        gain = mean(gains.values())
        return f"The union teaches every {kind} more than the three hospitals alone do on average: +{gain:.3f} of kappa in the mean."
    return f"The union is better than the mean of the three hospitals alone for {len(better)} of {len(gains)} {kind}s."


def kappa_table(summary: Mapping[str, Any]) -> Table:
    """Kappa by family and training data, means over the seeds."""
    counts = summary["counts"]
    title = f"Cohen's kappa on {counts['test_windows']} windows of {counts['test_persons']} SIMULATED persons, a third from each hospital"
    if counts["seeds"] > 1:
        title += f"; means of {counts['seeds']} seeds"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("student", no_wrap=True)
    kinds = (*HOSPITALS, MEAN, UNION, POOLED)
    for kind in kinds:
        table.add_column(HEADS[kind].replace(" alone", "\nalone").replace(" true", "\ntrue").replace(" of", "\nof"), justify="right",
                         style="bold green" if kind == UNION else "")  # fmt: skip
    table.add_column("gain", justify="right")
    for family in summary["families"]:
        cells = [cell(summary["students"], family, kind) for kind in kinds]
        gain = summary["gains"].get(family)
        table.add_row(family, *("-" if c is None else str(c) for c in cells), "-" if gain is None else f"{gain:+.3f}")
    return table


def closing_lines(summary: Mapping[str, Any], report: str, path: str) -> list[RenderableType]:
    """What each gate said, and where everything lies."""
    gates = "; ".join(f"{h['name']} {h['passed']} of {h['checks']} checks" for h in summary["hospitals"].values())
    lines = [("gates    ", gates), ("lineage  ", summary["export"]["file"] + ".lineage.json"), ("report   ", report), ("summary  ", path)]
    return [Text.assemble((name, "bold"), value) for name, value in lines]
