"""The installer for machines without network: it installs what was built and nothing else, or says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from source_tree import ROOT

SCRIPTS = ROOT / "deploy" / "wheelhouse"
GOLDEN = ROOT / "tests" / "golden" / "v1"


def install(wheelhouse: Path, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", wheelhouse / "install.sh", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | environment)


def sums(wheelhouse: Path) -> None:
    listing = "find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum >SHA256SUMS"
    subprocess.run(["sh", "-c", listing], cwd=wheelhouse, check=True)


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").rglob("*.sh")), ids=lambda path: path.name)
def test_every_script_is_one_that_a_shell_reads(script):
    shell = "bash" if script.read_text().startswith("#!/usr/bin/env bash") else "sh"
    subprocess.run([shell, "-n", script], check=True)


class TestRefusals:
    @pytest.fixture
    def empty(self, tmp_path) -> Path:
        """A wheelhouse without wheels: it is whole, and nothing can be installed from it."""
        folder = tmp_path / "wheelhouse"
        (folder / "wheels").mkdir(parents=True)
        for name, text in {
            "SIDE": "consumer\n",
            "requirements.txt": "stimset-consumer==0.1.0\n",
            "constraints.txt": "",
        }.items():
            (folder / name).write_text(text)
        shutil.copy(SCRIPTS / "install.sh", folder)
        sums(folder)
        return folder

    def test_a_changed_file(self, empty, tmp_path):
        (empty / "requirements.txt").write_text("something-else\n")
        done = install(empty, "--prefix", tmp_path / "env")
        assert done.returncode == 1
        assert "damaged or changed" in done.stderr
        assert not (tmp_path / "env").exists()

    def test_a_file_too_many(self, empty, tmp_path):
        (empty / "wheels" / "planted-1.0-py3-none-any.whl").write_bytes(b"")
        done = install(empty, "--prefix", tmp_path / "env")
        assert done.returncode == 1
        assert "does not name" in done.stderr

    def test_sums_that_nobody_told(self, empty, tmp_path):
        done = install(empty, "--prefix", tmp_path / "env", "--sum", "0" * 64)
        assert done.returncode == 1
        assert "SHA256SUMS is not the one" in done.stderr

    def test_an_older_python(self, empty, tmp_path):
        done = install(empty, "--prefix", tmp_path / "env", PYTHON="false")
        assert done.returncode == 1
        assert "Python 3.11" in done.stderr

    def test_a_folder_of_somebody_elses(self, empty, tmp_path):
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "thesis.txt").write_text("mine")
        done = install(empty, "--prefix", tmp_path / "taken")
        assert done.returncode == 1
        assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"

    def test_the_old_environment_comes_back(self, empty, tmp_path):
        old = tmp_path / "env"
        old.mkdir()
        (old / "pyvenv.cfg").write_text("")
        (old / "kept").write_text("works")
        done = install(empty, "--prefix", old)
        assert done.returncode == 1
        assert (old / "kept").read_text() == "works"
        assert not (tmp_path / "env.old").exists()

    def test_an_unknown_option(self, empty):
        assert "unknown option --prefixx" in install(empty, "--prefixx", "x").stderr


@pytest.mark.slow
def test_the_partners_side_is_installed_without_an_index(tmp_path):
    wheelhouse = tmp_path / "wheelhouse"
    build = ["sh", SCRIPTS / "build.sh", "--side", "consumer", "--out", wheelhouse]
    done = subprocess.run(
        build, capture_output=True, text=True, timeout=900, env=os.environ | {"PYTHON": sys.executable}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = done.stdout.split()[-1]
    names = {path.name.partition("-")[0] for path in (wheelhouse / "wheels").iterdir()}
    assert {"stimset", "stimset_consumer", "grpcio", "pip"} <= names
    assert not {"torch", "scikit_learn", "stimset_custodian"} & names
    # No index, no cache, no network's name service: whatever it installs it has.
    offline = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "HOME": str(tmp_path),
    }
    prefix = tmp_path / "env"
    done = install(wheelhouse, "--prefix", prefix, "--sum", told, **offline)
    assert done.returncode == 0, done.stderr
    assert not list((prefix / "bin").glob("pip*"))
    pinned = ("--root", GOLDEN / "root.json", "--fingerprint", (GOLDEN / "fingerprint.txt").read_text().strip())
    verify = [prefix / "bin" / "consumer", "verify", GOLDEN / "one-signal-0001", *pinned]
    assert (
        subprocess.run(
            verify, capture_output=True, timeout=120, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        ).returncode
        == 0
    )
    done = install(wheelhouse, "--prefix", prefix, **offline)
    assert done.returncode == 0, "an upgrade over itself works"
    assert not prefix.with_name("env.old").exists()
