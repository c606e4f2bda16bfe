"""The federated demo in small sizes, as ``make demo-federated`` runs it: three custodians, one consumer, a referee, a report."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSPITALS = {"north", "south", "west"}


@pytest.mark.slow
def test_the_federated_demo_leaves_what_it_promises(tmp_path):
    out = tmp_path / "federated"
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "federated" / "federate.py", "--quick", "--out", out],
        cwd=ROOT, capture_output=True, text=True, timeout=1800, env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((out / "summary.json").read_text())
    rows = found["students"]
    assert {r["trained_on"] for r in rows} == {*HOSPITALS, "union", "pooled"}
    assert len(rows) == 5 * len(found["families"]) and set(found["gains"]) == set(found["families"])
    assert len({h["root_fingerprint"] for h in found["hospitals"].values()}) == 3
    assert {o["trusted_as"] for o in found["export"]["origins"]} == HOSPITALS
    assert all(h["evaluation"].keys() >= {"value", "low", "high"} for h in found["hospitals"].values())
    page = (out / "report.html").read_text()
    assert "<b>Simulated.</b>" in page
    assert not re.findall(r"""(?:src|href|srcset)=["'](?!data:)""", page)
    assert len(list((out / "logs").glob("*.log"))) == len(found["stages"])
    secret = [p for p in (out / "partner").rglob("*") if p.is_file() and p.name in {"seal.key", "builder.key", "cohort.json"}]
    assert not secret and "union" in done.stdout
