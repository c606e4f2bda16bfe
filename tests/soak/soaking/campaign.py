"""A soak from beginning to end: the world it takes place in, its course, and what is held against its promises."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import wire_world
from custodian.state.engine import Database
from custodian.state.log import records
from soaking import course, reckoning
from soaking.daemon import Trial
from stimset import console
from stimset.release import ENVELOPE_FILE

REREAD_BYTES = 2 << 20
DAEMON_MIB, PARTNER_MIB = 768, 256
LINES = ("direct", "direct", "slow", "lossy", "cut")


def soak(place: Path, pulls: int, mib: int, kills: int, minutes: float, seed: int) -> dict[str, Any]:
    """Make the world, run the course, reckon up."""
    console.err.print(f"a release of {mib} MiB, {pulls} partners")
    world = wire_world.World.make(place, shards=(256,) * (mib // 16), spec=wire_world.LARGE_SPEC)
    release = world.release.folder
    size = sum(path.stat().st_size for path in release.iterdir())
    partners = [_partner(world, number, size, pulls) for number in range(pulls)]
    daemon_kills = max(1, kills // 5) if kills else 0
    try:
        with Trial(world.home, place / "trial") as trial, console.progress("soak", 100) as step:
            run = course.Course(
                trial, partners, release.name, size, place / "diaries", kills - daemon_kills, daemon_kills, random.Random(seed),
                60 * minutes, say=lambda share, note: step(100 * share, note),
            )  # fmt: skip
            seconds = run.run()
            ended_well = trial.stop() == 0
            return _reckon(world, run, seconds, ended_well, size)
    finally:
        for partner in partners:
            if os.path.ismount(partner.releases):
                subprocess.run(["umount", "--lazy", partner.releases], check=False)


def _partner(world: wire_world.World, number: int, size: int, pulls: int) -> course.Partner:
    name = f"partner-{number:03d}"
    home, _ = wire_world.enrol_consumer(world.root, world.home, name)
    partner = course.Partner(name, home.root, LINES[number % len(LINES)])
    if number in (1, 6):
        course.fill_up(partner, size, "tmpfs")
    elif number % 20 == 11:
        course.fill_up(partner, size, "limit")
    return partner


def _reckon(world: wire_world.World, run: course.Course, seconds: float, ended_well: bool, size: int) -> dict[str, Any]:
    diaries = reckoning.Diaries()
    for path in sorted(run.diaries.iterdir()):
        diaries.read(path)
    with closing(Database.open(world.home)) as database, database.reading() as session:
        log = [json.loads(row.record) for row in records(session)]
    lost, double = reckoning.differences(diaries, reckoning.served(log, ENVELOPE_FILE))
    events = Counter(record["event"] for record in log)
    whole, words = _log_holds(world, run)
    outcomes = Counter(partner.outcome for partner in run.partners)
    kills = run.trial.kills + sum(partner.kills for partner in run.partners)
    wanted = run.client_kills + run.daemon_kills
    largest = max(diaries.reread.values(), default=0)
    figures = {
        "pulls": len(run.partners), "release, MiB": round(size / 2**20, 1), "seconds": round(seconds, 1),
        "MiB/s, all together": round(len(run.partners) * size / 2**20 / seconds, 1),
        "SIGKILLs of partners": kills - run.trial.kills, "SIGKILLs of the daemon": run.trial.kills, "cut connections": run.cuts,
        "clock jumps": run.jumps,
        "outcomes": dict(outcomes), "errors on the way": dict(run.stated), "processes": sum(p.tries for p in run.partners),
        "ranges asked": diaries.asked.total(), "ranges recorded": events["serve"], "ranges that came": diaries.got.total(),
        "most read again by one, bytes": largest, "records in the log": len(log),
        "daemon, idle MiB": round(run.trial.idle_mib, 1), "daemon, peak MiB": round(run.trial.peak_mib, 1),
        "a partner, peak MiB": round(max(diaries.peaks_mib, default=0.0), 1), "log verify": words,
    }  # fmt: skip
    promises = {
        "every pull ended verified or with a stated error": not run.crashed and not outcomes["out of time"] and bool(diaries.ends),
        "every pull ended verified once its line and disk allowed it": outcomes["verified"] == len(run.partners),
        f"none read again more than {REREAD_BYTES >> 20} MiB of what it had": largest <= REREAD_BYTES,
        "no record of the log is lost": not lost,
        "no record of the log is double": not double,
        "the log is whole, and the partners' witnesses agree": whole,
        "each start and stop of the daemon is recorded once": events["start"] == run.trial.starts and events["stop"] == 1 and ended_well,
        f"memory: daemon below {DAEMON_MIB} MiB, a partner below {PARTNER_MIB}": run.trial.peak_mib < DAEMON_MIB
        and max(diaries.peaks_mib, default=0.0) < PARTNER_MIB,
        f"at least {wanted} SIGKILLs": kills >= wanted,
    }
    return {
        "figures": figures, "promises": promises, "crashed": run.crashed[:20], "lost": lost[:20], "double": double[:20],
        "load": os.getloadavg()[0], "cpus": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def _log_holds(world: wire_world.World, run: course.Course) -> tuple[bool, str]:
    """``custodian log verify`` with what a few partners keep of the log."""
    witnesses = [path for partner in run.partners[::20] for path in partner.home.glob("**/witness.json")]
    command = [shutil.which("custodian", path=str(Path(sys.executable).parent)), "log", "verify", "--home", world.home.root]
    command += [word for path in witnesses for word in ("--witness", path)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    return done.returncode == 0 and bool(witnesses), " ".join(f"{done.stdout} {done.stderr}".split())[:300]
