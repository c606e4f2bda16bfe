"""The deep part of ``custodian audit``: what it will cost, the shadow worlds, and a table of what they show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from stimset import console
from stimset.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from custodian.cohort import Cohort
    from custodian.config import Home
    from custodian.excitation.candidates import CandidateSet
    from custodian.gate.attacks.base import Finding
    from custodian.shadows.deep import DeepAudit


@dataclass(frozen=True)
class Options:
    """What the command line says of a deep audit."""

    shadows: int
    canary_worlds: int
    stimuli: int
    students: tuple[str, ...]
    workers: int | None
    engine: str
    ray_address: str | None
    device: str
    seed: int
    dry_run: bool
    yes: bool
    format: console.Format


def deepen(home: Home, cohort: Cohort, candidates: CandidateSet, options: Options) -> bool:
    """Say what it costs, ask, and run it. False where nothing was to be done but to say.

    Raises:
        ConfigError: there is nobody to ask and --yes was not given.
    """
    from custodian import pipeline
    from custodian.device import choose_device
    from custodian.shadows.deep import DeepAudit, plan_of
    from custodian.workers.cluster import insist_on_encryption
    from custodian.workers.pieces import Engine, paired
    from custodian.workers.processes import processes_for

    paired(Engine(options.engine), options.ray_address)
    if options.ray_address is not None:
        insist_on_encryption()
    plan = plan_of(
        candidates, worlds=options.shadows, canary_worlds=options.canary_worlds, stimuli=options.stimuli,
        students=options.students, seed=options.seed,
        device=choose_device(options.device),
    )  # fmt: skip
    # How much room a cluster has is known once it is asked; until then it counts like this machine.
    workers = options.workers or processes_for(plan.device)
    audit = DeepAudit.of(home, cohort, plan, set_name=candidates.folder.name)
    cost = _cost(audit, workers, options.ray_address)
    if options.dry_run:
        console.show(options.format, cost, *_cost_text(cost))
        return False
    for line in _cost_text(cost):
        console.err.print(line)
    if cost["worlds_left"] and not options.yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody can be asked whether to start; give --yes")
        if not typer.confirm("Start?", default=True, err=True):
            return False
    with console.progress("deep audit", plan.total) as step:
        findings = pipeline.deepen(
            home, cohort, candidates, plan, workers=options.workers, address=options.ray_address, on_step=step
        )
    console.err.print(findings_table(findings))
    for attack, why in audit.left_out.items():
        console.err.print(f"left out: {attack}: {why}")
    return True


def _cost(audit: DeepAudit, workers: int, address: str | None) -> dict[str, Any]:
    left = len(audit.left)
    return {
        "place": f"the Ray cluster at {address}" if address else "this machine",
        "worlds": audit.plan.total, "worlds_left": left, "workers": workers, "seconds_per_world": round(audit.world_s, 1),
        "seconds": round(audit.estimate_s(workers), 1), "folder": str(audit.folder),
    }  # fmt: skip


def _cost_text(cost: dict[str, Any]) -> list[str]:
    there = cost["worlds"] - cost["worlds_left"]
    return [
        f"deep audit        {cost['worlds']} shadow worlds, {there} of them are there, to {cost['folder']}",
        f"where             {cost['place']}" + ("" if cost["place"] == "this machine" else ", to which the recordings travel, encrypted"),
        f"cost              about {console.duration(cost['seconds'])} in {cost['workers']} process(es), "
        f"{console.duration(cost['seconds_per_world'])} for each world on a core; it can be interrupted and goes on",
    ]


def findings_table(findings: Sequence[Finding]) -> Table:
    """Each attack with its headline (AUC; for attributes, the insiders' advantage), interval and controls."""
    from rich.table import Table

    table = Table(title="What the shadow worlds show", title_justify="left")
    for heading, width in (("attack", 22), ("value", 6), ("95 %", 15), ("raw", 6), ("noise", 6)):
        table.add_column(heading, no_wrap=True, min_width=width)
    for f in findings:
        ends = f.intervals.get(f.headline)
        interval = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else "too few persons"
        table.add_row(f.name, _number(f.value), interval, _number(f.positive_control), _number(f.negative_control))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
