"""Many partners pull while partners and daemon are killed, lines break, disks fill up and the daemon's clock jumps.

::

    python tests/soak/run.py --quick                   # 20 pulls of 32 MiB, 5 kills; under two minutes
    python tests/soak/run.py                           # 200 pulls of 256 MiB, 60 kills; 52 GiB of disk
    python tests/soak/run.py --pulls 60 --mib 64       # anything between

Each pull is the consumer's own, in a process that can be killed by itself; the daemon is ``custodian serve``. At the end: every pull is
verified or has ended with an error of the tree; nobody asked again for more than 2 MiB of what lay on its disk; the log of decisions is
whole and holds each range that left exactly as often as it was served; memory stayed within bounds. Leaves build/soak/soak.json.
Traffic stays on loopback.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "support")]

import typer  # noqa: E402
from soaking import course, reckoning  # noqa: E402
from soaking.daemon import Trial  # noqa: E402

import wire_world  # noqa: E402
from custodian.state.engine import Database  # noqa: E402
from custodian.state.log import records  # noqa: E402
from stimset import console  # noqa: E402
from stimset.release import ENVELOPE_FILE  # noqa: E402

REREAD_BYTES = 2 << 20
DAEMON_MIB, PARTNER_MIB = 768, 256
LINES = ("direct", "direct", "slow", "lossy", "cut")


@console.reports_errors
def main(
    quick: Annotated[bool, typer.Option("--quick", help="20 pulls of 32 MiB and 5 kills.")] = False,
    pulls: Annotated[int | None, typer.Option(min=2, max=240, help="Partners that pull at once.")] = None,
    mib: Annotated[int | None, typer.Option(min=16, max=4096, help="Size of the release.")] = None,
    kills: Annotated[int | None, typer.Option(min=0, max=1000, help="SIGKILLs, a fifth of them of the daemon.")] = None,
    minutes: Annotated[float, typer.Option(min=0.5, max=240, help="Where it ends in any case.")] = 60,
    seed: Annotated[int, typer.Option(help="Of the marks, the lines and who is killed.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Where the homes lie; temporary, beside the results, by default.")] = None,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = ROOT / "build" / "soak",
) -> None:
    """Run it, print a table, end with 1 where a promise broke."""
    pulls, mib, kills = pulls or (20 if quick else 200), mib or (32 if quick else 256), (5 if quick else 60) if kills is None else kills
    out.mkdir(parents=True, exist_ok=True)
    course.check_room(folder or out, pulls * mib << 20)
    course.raise_limits()
    with tempfile.TemporaryDirectory(dir=folder or out, ignore_cleanup_errors=True) as place:
        report = soak(Path(place), pulls, mib, kills, minutes, seed)
    (out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, value in report["figures"].items():
        print(f"{name:34} {value}")
    for promise, kept in report["promises"].items():
        print(f"{'kept  ' if kept else 'BROKEN'}  {promise}")
    if not all(report["promises"].values()):
        raise typer.Exit(1)


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


if __name__ == "__main__":
    typer.run(main)
