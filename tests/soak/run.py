"""Many partners pull while partners and daemon are killed, lines break, disks fill up and the daemon's clock jumps.

::

    python tests/soak/run.py --quick                   # 20 pulls of 32 MiB, 5 kills; minutes
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
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from stimset import console

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "support")]
# Partners are forked from a process that has imported what they need; it finds it by the environment. Nothing heavy is imported above,
# since every one of them imports this file.
os.environ.update(OMP_NUM_THREADS="1", GRPC_VERBOSITY="NONE", PYTHONPATH=os.pathsep.join(sys.path[:2]))


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
    from soaking import campaign, course

    pulls, mib, kills = pulls or (20 if quick else 200), mib or (32 if quick else 256), (5 if quick else 60) if kills is None else kills
    out.mkdir(parents=True, exist_ok=True)
    course.check_room(folder or out, pulls * mib << 20)
    course.raise_limits()
    with tempfile.TemporaryDirectory(dir=folder or out, ignore_cleanup_errors=True) as place:
        report = campaign.soak(Path(place), pulls, mib, kills, minutes, seed)
    (out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, value in report["figures"].items():
        print(f"{name:34} {value}")
    for promise, kept in report["promises"].items():
        print(f"{'kept  ' if kept else 'BROKEN'}  {promise}")
    if not all(report["promises"].values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
