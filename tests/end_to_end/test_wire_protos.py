"""The .proto files: documented to the last field, and the committed stubs are theirs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_stubs_are_those_of_the_protos():
    pytest.importorskip("grpc_tools")
    done = subprocess.run(
        [ROOT / "protos/generate.sh", "--check"],
        capture_output=True,
        text=True,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint_standard_and_comments():
    beside = Path(sys.executable).with_name("buf")
    buf = str(beside) if beside.exists() else shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed (pip install buf-bin)")
    done = subprocess.run([buf, "lint", ROOT / "protos"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
