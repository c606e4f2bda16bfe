"""What a partner learns of a person's presence by spending all of its evaluations on that one person.

::

    python tests/benchmarks/bench_evaluation.py                 # 200 simulated patients, 40 targets; minutes
    python tests/benchmarks/bench_evaluation.py --targets 200   # about a quarter of an hour

The attacker holds every window of a target, bit for bit, and crafts models that answer the second class near these windows and the first
everywhere else; the second column of the counts is then the target's vote and nothing else, so no other patient hides it. All queries go to
one target, each by another such file, and the answers are averaged along the vote that the target would have: against a Gaussian mechanism
nothing does better. Half of the targets are among the held-out patients.

Counts are those of the real sandbox; how well the targets are told apart under Gaussian noise follows from them exactly, pair by pair. The
product's own noise is drawn thousands of times beside it, and must agree within the error of so many draws. "No noise" is the control: it
shows that the models do find their targets. Leaves build/bench/evaluation.json.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import NormalDist
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
os.environ["OMP_NUM_THREADS"] = "1"

import student_models  # noqa: E402
from custodian.evaluation.asking import allotted, probe, public_windows, votes  # noqa: E402
from custodian.evaluation.box import Sandbox  # noqa: E402
from custodian.evaluation.counting import noisy_sum, vote  # noqa: E402
from custodian.evaluation.held_out import HeldOut  # noqa: E402
from custodian.evaluation.limits import Limits  # noqa: E402
from custodian.evaluation.policy import Policy, separation  # noqa: E402
from stimset.records import simulate  # noqa: E402
from stimset.records.simulated import SPEC  # noqa: E402
from stimset.windowing import make_windows  # noqa: E402
from stimset.windows import Windows  # noqa: E402

ADVANTAGES = (0.02, 0.05, 0.1, 0.2)


def exact_counts(patients: HeldOut, model: bytes) -> np.ndarray:
    """The sum of the votes on a model, by the real sandbox, before any noise."""
    with Sandbox(Limits(least_slot=0.5)) as box:
        box.load(model, patients.spec.shape, patients.spec.classes)
        pace = probe(box, public_windows(patients.spec, np.zeros((0, *patients.spec.shape), np.float32)))
        return np.sum(list(votes(box, patients, pace, allotted(pace, patients, box.limits))), axis=0)


def own_vote(windows: Windows, person: int) -> np.ndarray:
    """What the target's vote would be if the model answers the second class on all of its windows."""
    labels = windows.labels[windows.person == person]
    return vote(labels, np.tile(np.float32([0, 1]), (len(labels), 1)), windows.spec.classes)


def auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The share of pairs in order; equals count half."""
    ordered = np.sort(outside)
    below, not_above = (np.searchsorted(ordered, inside, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(outside))


def exact_auc(inside: np.ndarray, outside: np.ndarray, deviation: float) -> float:
    """The chance that noise of this standard deviation leaves a pair in order, over all pairs."""
    apart = (inside[:, None] - outside[None]) / (deviation * 2**0.5)
    return float(np.mean([NormalDist().cdf(float(difference)) for difference in apart.ravel()]))


def attacked(counts: np.ndarray, expected: np.ndarray, present: np.ndarray, policy: Policy, draws: int) -> float:
    """AUC of the attack on all targets: each answer by the product's own noise, ``queries`` answers to each target, `draws` times over."""
    mechanism, scores = policy.mechanism(), []
    key = iter(range(1 << 60))
    for exact, towards in zip(counts, expected, strict=True):
        answers = [noisy_sum([exact], mechanism, next(key).to_bytes(32)).values for _ in range(draws * policy.queries)]
        along = np.tensordot(np.array(answers), towards / np.linalg.norm(towards), axes=2)
        scores.append(along.reshape(draws, policy.queries).mean(axis=1))
    scores = np.array(scores)
    return auc(scores[present].ravel(), scores[~present].ravel())


def measure(persons: int, minutes: int, targets: int, queries: int, draws: int, seed: int) -> dict[str, object]:
    """All numbers of one run."""
    whole = make_windows(simulate(persons=persons + targets // 2, minutes=minutes, seed=seed), SPEC)
    patients = HeldOut(whole.of_persons(range(persons)), True, "bench", "bench")
    chosen = np.random.default_rng(seed).choice(persons, targets // 2, replace=False)
    everybody = [*chosen, *range(persons, persons + targets // 2)]
    present = np.arange(len(everybody)) < targets // 2
    shown = track(everybody, "targets", console=Console(stderr=True))
    counts = [exact_counts(patients, student_models.near(whole.values[whole.person == person])) for person in shown]
    expected = np.array([own_vote(whole, person) for person in everybody])
    found = np.array([float((c * e).sum() / np.linalg.norm(e)) for c, e in zip(counts, expected, strict=True)])
    rows = []
    for advantage in ADVANTAGES:
        policy = Policy(queries, advantage, 20)
        bound = NormalDist().cdf(separation(advantage) / 2**0.5)
        measured = attacked(np.array(counts), expected, present, policy, draws)
        exact = exact_auc(found[present], found[~present], policy.noise / queries**0.5)
        error = (1 / 12 * (1 / present.sum() + 1 / (~present).sum()) / draws) ** 0.5  # of an AUC near 0.5 (Hanley and McNeil 1982)
        rows.append({
            "advantage": advantage, "noise": policy.noise, "auc": exact, "gain": exact - 0.5, "bound": bound, "drawn": measured,
            "standard_error": error,
        })  # fmt: skip
    return {
        "patients": persons, "targets": len(everybody), "queries": queries, "draws": draws, "seed": seed, "auc_without_queries": 0.5,
        "auc_without_noise": auc(found[present], found[~present]), "found_present": found[present].tolist(),
        "found_absent": found[~present].tolist(), "by_advantage": rows,
    }  # fmt: skip


def main(
    persons: Annotated[int, typer.Option(help="Held-out patients, simulated.")] = 200,
    minutes: Annotated[int, typer.Option(help="Minutes of each.")] = 20,
    targets: Annotated[int, typer.Option(help="Persons who are attacked; half of them are patients.")] = 40,
    queries: Annotated[int, typer.Option(help="Evaluations that the partner has.")] = 4,
    draws: Annotated[int, typer.Option(help="How often the noise is drawn.")] = 4000,
    seed: Annotated[int, typer.Option(help="Of persons and choices.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the numbers go.")] = ROOT / "build" / "bench" / "evaluation.json",
) -> None:
    """Attack, print a table, write the numbers; the exit code is 1 where the default policy leaks more than it promises."""
    began = time.perf_counter()
    found = measure(persons, minutes, targets, queries, draws, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found | {"seconds": round(time.perf_counter() - began, 1)}, indent=1) + "\n")
    table = Table(title=f"Is this person a patient? {found['targets']} targets, {queries} evaluations on each", title_justify="left")
    for heading in ("attacker", "noise (patients)", "AUC", "drawn", "promised at most"):
        table.add_column(heading, justify="left" if heading == "attacker" else "right")
    table.add_row("without a query", "", "0.500", "", "")
    for row in found["by_advantage"]:
        drawn = f"{row['drawn']:.4f} ±{row['standard_error']:.4f}"
        table.add_row(f"advantage {row['advantage']:g}", f"{row['noise']:.1f}", f"{row['auc']:.4f}", drawn, f"{row['bound']:.4f}")
    table.add_row("without noise (control)", "0", f"{found['auc_without_noise']:.3f}", "", "")
    Console().print(table, f"{out}")
    default = found["by_advantage"][0]
    if default["gain"] > ADVANTAGES[0] or abs(default["drawn"] - default["auc"]) > 4 * default["standard_error"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
