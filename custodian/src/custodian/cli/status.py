"""``custodian status``: the whole custodian on one screen."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from custodian.cli.options import HomeOption
from stimset.console import FORMAT_OPTION, Format, reports_errors, show

if TYPE_CHECKING:
    from custodian.config import Home
    from custodian.state.database import Partners

SHOWN = 5
MAX_DAEMON_BYTES = 64 << 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


@reports_errors
def status(home: HomeOption = None, format: Format = FORMAT_OPTION) -> None:
    """Show on one screen: daemon, releases, partners, jobs, privacy budget, the log, and what ends next.

    Builds on a home made by 'init', asks the daemon on this machine, and changes nothing. 'custodian doctor' says what is wrong.

    Example: custodian status --format json
    """
    from custodian.config import Home
    from custodian.state.database import Partners

    opened = Home.open(home)
    with closing(Partners.open(opened)) as partners:
        document: dict[str, Any] = {
            "custodian": opened.settings().name,
            "daemon": _daemon(opened),
            "partners": _partners(partners),
            "expiries": _expiries(opened, partners),
        }
    document |= {"releases": _releases(opened), "jobs": _jobs(opened), "budget": _budget(opened), "log": _log(opened)}
    show(format, document, *_lines(document))


def _daemon(home: Home) -> dict[str, Any]:
    """What the daemon said of itself, and whether it answers."""
    from custodian.cli.checkup_network import daemon_answers

    try:
        with home.daemon_file.open("rb") as file:
            said = json.loads(file.read(MAX_DAEMON_BYTES))
        address = str(said["address"])
    except (OSError, ValueError, KeyError, TypeError):
        said, address = {}, home.settings().address
    try:
        up = daemon_answers(home, address) is True
    except OSError:
        up = False
    facts = {name: said.get(name) if up else None for name in ("started", "version", "metrics")}
    return {"up": up, "address": address, **facts}


def _releases(home: Home) -> dict[str, Any]:
    from custodian.publish.store import ReleaseStore

    listed = ReleaseStore(home.releases).list()
    waiting = [p for p in home.proposals.iterdir() if not p.name.startswith(".")] if home.proposals.is_dir() else []
    newest = max(listed, key=lambda s: s.created, default=None)
    return {
        "served": len(listed), "stimuli": sum(s.stimuli for s in listed), "bytes": sum(s.bytes for s in listed),
        "newest": None if newest is None else newest.release_id, "waiting": len(waiting),
    }  # fmt: skip


def _partners(partners: Partners) -> dict[str, int]:
    everyone = partners.list()
    revoked = sum(partner.revoked() for partner in everyone)
    return {"valid": len(everyone) - revoked, "revoked": revoked}


def _jobs(home: Home) -> dict[str, Any]:
    from collections import Counter

    from custodian.jobs import Jobs

    found = Jobs(home).list()
    at_work = [
        {"job": job.id, "done": job.standing.done, "total": job.standing.total} for job in found if not job.state.ended
    ]
    return {"states": dict(Counter(job.state.value for job in found)), "at_work": at_work}


def _budget(home: Home) -> dict[str, Any]:
    from custodian.budget import Ledger

    with closing(Ledger.open(home)) as ledger:
        cohorts = [{"cohort": name, "epsilon": ledger.total(name).epsilon} for name in ledger.cohorts()]
        return {"limit": asdict(ledger.limit), "cohorts": cohorts}


def _log(home: Home) -> dict[str, Any]:
    from custodian.state.engine import Database
    from custodian.state.log import length
    from custodian.state.witnesses import newest_checkpoint
    from stimset.checkpoint import read_checkpoint

    with closing(Database.open(home)) as database, database.reading() as session:
        size, newest = length(session), newest_checkpoint(session)
    return {"records": size, "checkpoint": None if newest is None else read_checkpoint(newest).time}


def _expiries(home: Home, partners: Partners) -> list[dict[str, Any]]:
    from custodian.service.expiries import expiries

    return [
        {"kind": end.kind, "what": end.what, "ends": f"{end.ends:%Y-%m-%dT%H:%M:%SZ}", "days": round(end.days(), 1)}
        for end in expiries(home, partners)
    ]


def _lines(d: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    daemon, releases, jobs, budget = d["daemon"], d["releases"], d["jobs"], d["budget"]
    up = f"[green]up[/green] since {daemon['started'] or '?'}" if daemon["up"] else "[bold red]down[/bold red]"
    metrics = f", metrics at {daemon['metrics']}" if daemon["metrics"] else ""
    states = ", ".join(f"{number} {state}" for state, number in sorted(jobs["states"].items())) or "none"
    spent = ", ".join(f"{c['cohort'][:12]} {_epsilon(c['epsilon'])}" for c in budget["cohorts"]) or "nothing"
    limit = "none" if budget["limit"]["epsilon"] is None else f"{budget['limit']['epsilon']:g}"
    waiting = f", {releases['waiting']} waiting for a signature" if releases["waiting"] else ""
    return [
        Text(f"custodian  {d['custodian']}"),
        f"daemon     {up} at {daemon['address']}{metrics}",
        f"releases   {releases['served']} served, {releases['bytes'] / 1e6:.1f} MB, newest {releases['newest'] or 'none'}{waiting}",
        f"partners   {d['partners']['valid']} valid, {d['partners']['revoked']} revoked",
        f"jobs       {states}",
        *(f"           {job['job']} {job['done']:g}/{job['total']:g}" for job in jobs["at_work"][:SHOWN]),
        f"budget     spent (epsilon): {spent}; limit: {limit}",
        f"log        {d['log']['records']} records, newest checkpoint {d['log']['checkpoint'] or 'none'}",
        *(
            f"{'ends next' if number == 0 else '':<10} {_days(end['days'])}  {end['kind']} {end['what']}"
            for number, end in enumerate(d["expiries"][:SHOWN])
        ),
    ]


def _days(days: float) -> str:
    colour = "bold red" if days <= 0 else "yellow" if days < 1 else "default"
    return f"[{colour}]{'over' if days <= 0 else f'{days:.1f} days':>12}[/{colour}]"


def _epsilon(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:.3g}"
