"""The soak's quick form, as ``make soak ARGS=--quick`` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_promise_holds_in_the_quick_form(tmp_path):
    run = Path(__file__).parent / "run.py"
    command = [sys.executable, run, "--quick", "--minutes", "8", "--out", tmp_path, "--folder", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "soak.json").read_text())
    assert all(report["promises"].values())
    assert report["figures"]["outcomes"] == {"verified": 20}
    assert report["figures"]["clock jumps"] == 3
