"""How fast a pull is beside nginx and curl with the same certificates, in turns in one run; and whether partners get fair shares.

::

    python tests/benchmarks/bench_pull.py                       # 2 GiB, 5 rounds, then 50 partners at once
    python tests/benchmarks/bench_pull.py --mib 512 --rounds 3  # sooner
    python tests/benchmarks/bench_pull.py --folder /dev/shm     # without the disk's own pace

All on loopback, mutual TLS 1.3. `stream` throws the bytes away on both sides; `written` writes, hashes and syncs: curl into files, then
``openssl dgst -sha256`` and ``sync`` over them. A partner's time begins before its connection does; curl's with its process.
Processor seconds say where the rest goes, whatever else the machine has to do. Leaves build/bench/pull.json.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
os.environ["OMP_NUM_THREADS"] = "1"
GOALS = {"stream": 0.65, "written": 0.60}
FAIR = 0.5
TRIAL = ROOT / "tests" / "benchmarks" / "pullbench" / "trial.py"


@dataclass
class Taken:
    """Seconds of each round, and processor seconds of both ends."""

    seconds: list[float] = field(default_factory=list)
    served_cpu_s: list[float] = field(default_factory=list)
    fetched_cpu_s: list[float] = field(default_factory=list)


def main(
    mib: Annotated[int, typer.Option(min=16, help="Size of the release.")] = 2048,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each measures everything once, in turns.")] = 5,
    partners: Annotated[int, typer.Option(min=0, max=200, help="How many pull at once afterwards.")] = 50,
    seconds: Annotated[float, typer.Option(min=1, help="How long they pull.")] = 30.0,
    folder: Annotated[Path | None, typer.Option(help="Where homes and files lie; beside the results by default.")] = None,
    out: Annotated[Path, typer.Option(help="Where the numbers go.")] = ROOT / "build" / "bench" / "pull.json",
) -> None:
    """Measure, print a table, write the numbers."""
    from pullbench import nginx

    import wire_world

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder or out.parent) as place:
        world = wire_world.World.make(Path(place), shards=(256,) * (mib // 16), spec=wire_world.LARGE_SPEC)
        try:
            daemon = world.start()
            with nginx.served(world.home, world.root / "nginx") as (url, pid):
                taken = _turns(world, rounds, url, {"nginx": pid, "daemon": daemon.process.pid})
            shares = _shares(world, partners, seconds) if partners else []
        finally:
            world.close()
        size = sum(path.stat().st_size for path in world.release.folder.glob("*.safetensors")) / 2**20
    report = _report(taken, size, rounds, shares)
    out.write_text(json.dumps(report, indent=1) + "\n")
    _say(report)


def _turns(world: Any, rounds: int, url: str, pids: dict[str, int]) -> dict[str, Taken]:
    """Every way once a round, in turns, so that whatever slows the machine slows all of them."""
    from pullbench import nginx

    from consumer.enrolment import key_file

    files = sorted(world.release.folder.glob("*.safetensors"))
    urls = [f"{url}/{world.release.folder.name}/{path.name}" for path in files]
    tls, key = world.custodian.folder, key_file(world.consumer, world.custodian.folder)
    into = world.root / "into"
    here = shlex.join([f"{into}/{path.name}" for path in files])
    written = f"{shlex.join(nginx.curl(tls, key, urls, into))} && openssl dgst -sha256 {here} && sync {here}"
    ways: dict[str, tuple[str, Callable[[], tuple[float, float]]]] = {
        "curl, stream": ("nginx", lambda: _command(nginx.curl(tls, key, urls, None))),
        "stream": ("daemon", lambda: _trial(world, "stream", into)),
        "curl, written": ("nginx", lambda: _command(["sh", "-c", written])),
        "written": ("daemon", lambda: _trial(world, "written", into)),
        "pull": ("daemon", lambda: _trial(world, "pull", into)),
    }
    taken = {name: Taken() for name in ways}
    for _ in range(rounds):
        for name, (server, run) in ways.items():
            into.mkdir()
            before = cpu_s(pids[server])
            elapsed, used = run()
            taken[name].seconds.append(elapsed)
            taken[name].fetched_cpu_s.append(used)
            taken[name].served_cpu_s.append(cpu_s(pids[server]) - before)
            shutil.rmtree(into)
            shutil.rmtree(world.consumer.releases / world.release.folder.name, ignore_errors=True)
    return taken


def _command(command: list[str]) -> tuple[float, float]:
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def _trial(world: Any, what: str, into: Path) -> tuple[float, float]:
    words = [world.consumer.root, world.daemons[-1].address, world.release.folder.name, into]
    done = subprocess.run([sys.executable, TRIAL, what, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    return found["seconds"], found["cpu_s"]


def _shares(world: Any, partners: int, seconds: float) -> list[float]:
    """MiB that each of several partners got in the same time, each in a process of its own."""
    import wire_world

    homes = [wire_world.enrol_consumer(world.root, world.home, f"partner-{i:03d}")[0] for i in range(partners)]
    words = [world.daemons[-1].address, world.release.folder.name, str(world.root), str(seconds)]
    running = [
        subprocess.Popen(
            [sys.executable, TRIAL, "stream", str(home.root), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for home in homes
    ]  # fmt: skip
    for process in running:
        process.stdout.readline()  # type: ignore[union-attr]
    for process in running:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    found = [json.loads(process.communicate()[0]) for process in running]
    return sorted(entry["bytes"] / 2**20 / entry["seconds"] for entry in found)


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _report(taken: dict[str, Taken], size: float, rounds: int, shares: list[float]) -> dict[str, Any]:
    rows = [
        {
            "name": name, "mib_per_s": round(size / median(entry.seconds), 1),
            "served_cpu_s_per_gib": round(median(entry.served_cpu_s) / size * 1024, 2),
            "fetched_cpu_s_per_gib": round(median(entry.fetched_cpu_s) / size * 1024, 2),
            "seconds": [round(value, 3) for value in entry.seconds],
        }
        for name, entry in taken.items()
    ]  # fmt: skip
    against = {"stream": "curl, stream", "written": "curl, written", "pull": "curl, written"}
    ratios = {ours: median(taken[theirs].seconds) / median(taken[ours].seconds) for ours, theirs in against.items()}
    fair = shares[0] / (sum(shares) / len(shares)) if shares else None
    return {
        "mib": round(size, 1), "rounds": rounds, "cpus": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1),
        "results": rows, "of_nginx_and_curl": {name: round(value, 3) for name, value in ratios.items()},
        "goals": GOALS, "partners": len(shares), "partners_mib_per_s": [round(value, 2) for value in shares],
        "least_of_fair_share": None if fair is None else round(fair, 3),
        "reached": {
            **{name: ratios[name] >= goal for name, goal in GOALS.items()}, **({} if fair is None else {"fair": fair >= FAIR}),
        },
    }  # fmt: skip


def _say(report: dict[str, Any]) -> None:
    for row in report["results"]:
        ratio = report["of_nginx_and_curl"].get(row["name"])
        print(
            f"{row['name']:14} {row['mib_per_s']:8.1f} MiB/s   processor s/GiB: {row['served_cpu_s_per_gib']:.2f} serving,"
            f" {row['fetched_cpu_s_per_gib']:.2f} fetching" + ("" if ratio is None else f"   {ratio:.3f} of nginx and curl")
        )
    if report["partners"]:
        print(f"{report['partners']} partners at once: the least got {report['least_of_fair_share']:.2f} of the fair share")
    print("   ".join(f"{name}: {'reached' if kept else 'NOT REACHED'}" for name, kept in report["reached"].items()))


if __name__ == "__main__":
    typer.run(main)
