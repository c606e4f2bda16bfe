"""How fast a release verifies, beside ``openssl dgst -sha256`` over the same files, in turns in one run.

::

    python tests/benchmarks/bench_verify.py                    # 256 MiB
    python tests/benchmarks/bench_verify.py --mib 2048         # the size that is promised about; needs 2 GiB of disk

The release is real: published by the custodian's own code in shards of 64 MiB, of random stimuli. Each verification runs in a process of
its own, so that its memory is its own; one core is one core by affinity. OpenSSL hashes the files one after the other on one core.
`verify` also checks the signatures and holds every number against the window spec. Leaves build/bench/verify.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
os.environ["OMP_NUM_THREADS"] = "1"

_CHILD = """
import json, os, sys, time
cores = int(sys.argv[4])
if cores:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
from stimset import verifying
root = verifying.TrustedRoot.load(sys.argv[2], sys.argv[3])
began = time.perf_counter()
verifying.verify(sys.argv[1], root)
seconds = time.perf_counter() - began
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss would be the parent's
print(json.dumps({"seconds": seconds, "mib": int(peak.split()[1]) / 1024}))
"""


def main(
    mib: Annotated[int, typer.Option(help="Size of the release.")] = 256,
    rounds: Annotated[int, typer.Option(help="Rounds; each measures everything once, in turns.")] = 3,
    out: Annotated[Path, typer.Option(help="Where the numbers go.")] = ROOT / "build" / "bench" / "verify.json",
) -> None:
    """Measure, print a table, write the numbers."""
    with tempfile.TemporaryDirectory(dir=out.parent if out.parent.is_dir() else None) as folder:
        release, root, fingerprint = _make(Path(folder), mib)
        files = sorted(release.glob("*.safetensors"))
        size = sum(path.stat().st_size for path in files) / 2**20

        def child(cores: int) -> Callable[[], dict[str, float]]:
            command = [sys.executable, "-c", _CHILD, str(release), str(root), fingerprint, str(cores)]
            return lambda: json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        measured = {
            "openssl": lambda: _openssl(files),
            "verify, one core": child(1),
            "verify, two cores": child(2),
        }
        _openssl(files)  # the files are in the page cache for everybody
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in measured}
        for _ in range(rounds):
            for name, run in measured.items():
                taken[name].append(run())
    rates = {name: size / median(entry["seconds"] for entry in entries) for name, entries in taken.items()}
    report = {
        "mib": round(size, 1), "shards": len(files), "rounds": rounds, "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "results": [
            {
                "name": name, "mib_per_s": round(rate, 1), "of_openssl": round(rate / rates["openssl"], 3),
                "peak_mib": round(max(entry.get("mib", 0.0) for entry in taken[name]), 1),
            }
            for name, rate in rates.items()
        ],
    }  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    for entry in report["results"]:
        print(f"{entry['name']:26} {entry['mib_per_s']:8.1f} MiB/s  {entry['of_openssl']:.3f} of openssl  {entry['peak_mib']:6.1f} MiB")


def _make(folder: Path, mib: int) -> tuple[Path, Path, str]:
    """A real release of about this size; its folder, root and fingerprint."""
    import tiny_release
    from stimset.windows import SignalSpec, WindowSpec

    spec = WindowSpec(
        signals=(SignalSpec("rr"),), rate_hz=819.2, epoch_s=20.0, labels=("normal", "apnea"), normalisation="none"
    )
    shards = [256] * (mib // 16)  # 16 MiB of candidates each
    made = tiny_release.make(folder / "home", shards=tuple(shards or [256]), spec=spec)
    return made.folder, made.root_file, made.fingerprint


def _openssl(files: list[Path]) -> dict[str, float]:
    core = min(os.sched_getaffinity(0))
    began = time.perf_counter()
    subprocess.run(["taskset", "-c", str(core), "openssl", "dgst", "-sha256", *map(str, files)], check=True, capture_output=True)
    return {"seconds": time.perf_counter() - began}


if __name__ == "__main__":
    typer.run(main)
