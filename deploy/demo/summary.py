"""What the demo found, as plain values: ``summary.json``, the verdict in words, and the table in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from plan import SEED, Facts
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from stages import Outcome

KINDS = ("stimuli", "true_hard", "true_soft", "noise", "paper")
METRICS = ("accuracy", "kappa", "sensitivity", "specificity", "auroc")
PAPER_LOSS = 0.08
"""The largest loss of kappa that the paper reports, for students like the teacher."""

NOISE_MARGIN = 0.10


def student_rows(benchmark: Mapping[str, Any], baselines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per family and kind of training data: the consumer's own benchmark, then the referee's baselines.

    Args:
        benchmark: what ``consumer benchmark --format json`` printed.
        baselines: the referee's rows.
    """
    rows = [
        {
            "family": r["family"], "trained_on": "stimuli", **{m: r["metrics"][m] for m in METRICS},
            "intervals": {m: r["intervals"][m] for m in METRICS}, "confusion": r["confusion"], "windows": benchmark["windows"],
            "student": r["student"],
        }
        for r in benchmark["results"]
    ]  # fmt: skip
    rows += [dict(r) for r in baselines]
    return sorted(rows, key=lambda r: KINDS.index(r["trained_on"]))


def build(facts: Facts, outcomes: Sequence[Outcome], rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """The whole of ``summary.json``."""
    held, documents = facts.documents["verify"], facts.documents
    counts = {
        "stimuli": held["stimuli"], "noise": facts.sizes.noise, "paper": facts.sizes.paper, "cap": facts.sizes.cap,
        "test_windows": documents["benchmark"]["windows"], "test_persons": documents["benchmark"]["persons"],
        "test_records": documents["benchmark"]["records"],
    }  # fmt: skip
    cohort = documents.get("ingest", {})
    counts |= {k: cohort[k] for k in ("windows", "records", "persons", "validation_persons") if k in cohort}
    return {
        "students": rows,
        "gate": held["gate"],
        "stages": [o.to_document() for o in outcomes],
        "release_folder": str(documents["pull"]["folder"]),
        "consumer_home": str(facts.partner),
        "custodian_home": str(facts.hospital),
        "simulated": bool(held["simulated"]),
        "data": facts.source.name,
        "note": facts.source.note,
        "release": held["release"],
        "root_fingerprint": held["root_fingerprint"],
        "recipe": documents.get("excite", {}).get("recipe", "spectral"),
        "teacher_kappa": documents.get("train", {}).get("validation_kappa"),
        "families": list(facts.families),
        "labels": held["labels"],
        "counts": counts,
        "seed": SEED,
        "seconds": round(seconds, 1),
        "evaluation": documents.get("submit"),
    }


def write(summary: Mapping[str, Any], path: Path) -> None:
    """Write it as JSON; NaN is refused."""
    path.write_text(json.dumps(summary, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def kappa(rows: Iterable[Mapping[str, Any]], family: str, kind: str) -> float | None:
    """The kappa of this student, None where there is none."""
    return next((r["kappa"] for r in rows if r["family"] == family and r["trained_on"] == kind), None)


@dataclass(frozen=True)
class Verdict:
    """The result in words.

    Attributes:
        headline: one sentence.
        detail: two or three more.
        gaps: family -> kappa on stimuli minus kappa on the true windows with true labels.
    """

    headline: str
    detail: str
    gaps: Mapping[str, float]


def verdict(summary: Mapping[str, Any], titles: Mapping[str, str]) -> Verdict:
    """Say what the numbers say, good or bad."""
    rows, families = summary["students"], summary["families"]
    gaps = {}
    for family in families:
        ours, true = kappa(rows, family, "stimuli"), kappa(rows, family, "true_hard")
        if ours is not None and true is not None:
            gaps[family] = ours - true
    if not gaps:
        return Verdict("The benchmark left nothing to compare.", "", {})
    average, worst = mean(gaps.values()), min(gaps, key=lambda f: gaps[f])
    if average >= 0.005:
        how = f"do better than students of the true windows, by {average:.2f} of kappa on average"
    elif average > -0.005:
        how = "do as well as students of the true windows"
    else:
        how = f"come within {-average:.2f} of kappa of students of the true windows, on average"
    headline = f"Students that saw only stimuli {how}."
    close = sum(g >= -PAPER_LOSS for g in gaps.values())
    detail = (
        f"{close} of {len(gaps)} kinds of students lose at most {PAPER_LOSS:.2f}, the most that the 2021 paper reports for students like "
        f"its teacher. The largest difference is that of the {titles.get(worst, worst)}: "
        f"{kappa(rows, worst, 'stimuli'):.2f} against {kappa(rows, worst, 'true_hard'):.2f}."
    )
    return Verdict(headline, f"{detail} {_about_noise(summary, titles)}".strip(), gaps)


def _about_noise(summary: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """For whom mere noise with the teacher's labels would do, and for whom not."""
    rows = summary["students"]
    short = {}
    for family in summary["families"]:
        ours, noise = kappa(rows, family, "stimuli"), kappa(rows, family, "noise")
        if ours is not None and noise is not None:
            short[family] = ours - noise
    fails = [f"the {titles.get(f, f)}" for f, gap in short.items() if gap > NOISE_MARGIN]
    does = [f"the {titles.get(f, f)}" for f, gap in short.items() if gap < 0.02]
    sentences = []
    if fails:
        sentences.append(f"Mere noise with the teacher's labels leaves {_listed(fails)} more than {NOISE_MARGIN:.2f} behind.")
    if does:
        sentences.append(f"For {_listed(does)} such noise does as well.")
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def kappa_table(summary: Mapping[str, Any]) -> Table:
    """Kappa by family and training data."""
    rows = summary["students"]
    mark = " (SIMULATED persons)" if summary["simulated"] else ""
    counts = summary["counts"]
    title = f"Cohen's kappa on {counts['test_windows']} windows of {counts['test_persons']} persons at the partner{mark}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("student", no_wrap=True)
    heads = {
        "stimuli": "stimuli", "true_hard": "true data", "true_soft": "true data,\nsoft labels", "noise": "noise,\nsoft labels",
        "paper": f"2021 paper\n({counts['paper']})",
    }  # fmt: skip
    for kind in KINDS:
        table.add_column(heads[kind], justify="right", style="bold green" if kind == "stimuli" else "")
    for family in summary["families"]:
        found = [kappa(rows, family, kind) for kind in KINDS]
        table.add_row(family, *("-" if k is None else f"{k:.3f}" for k in found))
    return table


def closing_lines(summary: Mapping[str, Any], report: Path, path: Path) -> list[RenderableType]:
    """The gate's verdict in one line, and where everything lies."""
    gate = summary["gate"]
    checks = ", ".join(
        f"{c['name']} {'-' if c['value'] is None else format(c['value'], '.3f')} ({c['rule']} {c['limit']:g})" for c in gate["checks"]
    )
    word = "admitted" if gate["admitted"] else "refused"
    return [
        Text.assemble(("gate ", "bold"), (word, "bold green" if gate["admitted"] else "bold red"), f": {checks}"),
        Text.assemble(("report   ", "bold"), str(report)),
        Text.assemble(("summary  ", "bold"), str(path)),
        Text.assemble(("release  ", "bold"), summary["release_folder"]),
        *_about_evaluation(summary.get("evaluation")),
    ]


def _about_evaluation(held: Mapping[str, Any] | None) -> list[Text]:
    """The hospital's signed word on the submitted student, where there is one."""
    if held is None:
        return []
    kappa = held["measures"]["kappa"]
    numbers = ", ".join("-" if kappa[part] is None else f"{kappa[part]:.2f}" for part in ("value", "low", "high"))
    words = f"verified; kappa, low, high: {numbers}; nobody's presence shows beyond an AUC of {0.5 + held['privacy']['advantage']:g}"
    return [Text.assemble(("judged   ", "bold"), f"{held['file']} ({words})")]
