"""Mutants of everything that comes from outside, as many as asked for: ``make fuzz``.

::

    python tests/fuzz/run.py --count 200000              # about as many mutants as the count, over all kinds
    python tests/fuzz/run.py --engine atheris --seconds 60 --kind envelope     # coverage-guided, where atheris is installed

None may be accepted, none may end in anything but an error of the tree, and the process stays under 300 MiB. Leaves
build/fuzz/report.json; a mutant that breaks a rule is kept in build/fuzz/ as the bytes to replay by --replay FILE --kind KIND.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
MOST_MIB = 300


def main(
    count: Annotated[int, typer.Option(help="How many mutants in all.")] = 200_000,
    seed: Annotated[int, typer.Option(help="The same seed, the same mutants.")] = 1,
    kind: Annotated[str | None, typer.Option(help="Only this kind: envelope, statement, shard, onnx, root, ...")] = None,
    engine: Annotated[str, typer.Option(help="'mutate', or 'atheris' where it is installed.")] = "mutate",
    seconds: Annotated[int, typer.Option(help="How long atheris goes on.")] = 60,
    replay: Annotated[Path | None, typer.Option(help="Try these bytes once.")] = None,
) -> None:
    """Fuzz, and end with exit code 1 where a rule was broken."""
    from fuzzing import targets

    out = ROOT / "build" / "fuzz"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        chosen = [t for t in targets(Path(folder)) if kind in (None, t.name)]
        if not chosen:
            raise typer.BadParameter(f"there is no kind '{kind}'")
        if replay is not None:
            chosen[0].check(replay.read_bytes())
            return
        if engine == "atheris":
            _atheris(chosen[0], seconds)
            return
        broken = _mutants(chosen, count, seed, out)
    if broken:
        raise typer.Exit(1)


def _mutants(chosen: list, count: int, seed: int, out: Path) -> int:
    from fuzzing import mutate, try_one

    rng, broken = random.Random(seed), 0
    total = sum(t.share for t in chosen)
    report: dict[str, object] = {"seed": seed}
    tried = 0
    for target in chosen:
        began, ended = time.monotonic(), collections.Counter()
        number = max(1, round(count * target.share / total))
        for _ in range(number):
            mutant = mutate(rng, target.original)
            try:
                ended[try_one(target, mutant) or "read, not believed"] += 1
            except Exception as error:
                broken += 1
                path = out / f"{target.name}-{hashlib.sha256(mutant).hexdigest()[:12]}"
                path.write_bytes(mutant)
                ended[f"BROKEN: {type(error).__name__}: {error}"[:200]] += 1
        tried += number
        report[target.name] = {"mutants": number, "seconds": round(time.monotonic() - began, 1), "ended": dict(ended)}
        print(f"{target.name:18} {number:7} mutants, {time.monotonic() - began:6.1f} s  {dict(ended.most_common(5))}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report |= {"mutants": tried, "broken": broken, "peak_mib": round(peak, 1)}
    (out / "report.json").write_text(json.dumps(report, indent=1))
    print(f"{tried} mutants, {broken} broke a rule, at most {peak:.0f} MiB")
    return broken + (peak > MOST_MIB)


def _atheris(target: object, seconds: int) -> None:
    try:
        import atheris
    except ModuleNotFoundError:
        print("atheris is not installed; pip install atheris", file=sys.stderr)
        raise typer.Exit(3) from None
    from fuzzing import try_one

    corpus = Path(tempfile.mkdtemp())
    (corpus / "original").write_bytes(target.original)

    def one(data: bytes) -> None:
        if data != target.original:
            try_one(target, data)

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", f"-rss_limit_mb={MOST_MIB + 300}", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
