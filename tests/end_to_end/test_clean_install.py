"""What a partner gets who installs the consumer alone: by the packages' own words, and in a clean environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import wire_world
from source_tree import ROOT

GOLDEN = ROOT / "tests" / "golden" / "v1"
# Not for pull and verify: networks and learning, readers of recordings, plots, the hospital's side.
UNWANTED = {
    "torch", "scikit-learn", "scipy", "joblib", "pandas", "matplotlib", "wfdb", "edfio", "onnx", "onnxruntime", "skl2onnx",
    "jinja2", "sqlalchemy", "structlog", "stimset-custodian", "ray", "opacus",
}  # fmt: skip

OFFLINE = re.compile("NewConnectionError|NameResolutionError|Network is unreachable|Temporary failure in name resolution")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def own_requirements(folder: str, extra: str = "") -> list[Requirement]:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [Requirement(text) for text in listed]


def closure(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Every distribution that pip would bring for `name[extras]`, by the metadata of what is installed here."""
    folders = {"stimset": "shared", "stimset-consumer": "consumer", "stimset-custodian": "custodian"}
    found: set[str] = set()
    pending = [(normal(name), extras)]
    seen = set()
    while pending:
        name, extras = pending.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        if name in folders:  # the tree itself, not what an editable install remembers of it
            needed = [*own_requirements(folders[name])]
            needed += [r for extra in extras for r in own_requirements(folders[name], extra)]
        else:
            try:
                needed = [Requirement(text) for text in distribution(name).requires or ()]
            except PackageNotFoundError:
                continue  # another platform's
        for requirement in needed:
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
                pending.append((normal(requirement.name), frozenset(requirement.extras)))
    return found


def test_the_consumer_alone_asks_for_nothing_heavy():
    asked = closure("stimset-consumer")
    assert {"stimset", "grpcio", "cryptography", "numpy", "typer"} <= asked
    assert asked & UNWANTED == set()


def test_the_extras_bring_what_they_say():
    train, networks = closure("stimset-consumer", frozenset({"train"})), closure("stimset-consumer", frozenset({"torch"}))
    assert "torch" not in train
    assert {"scikit-learn", "onnxruntime", "wfdb"} <= train
    assert train < networks
    assert "torch" in networks
    assert "stimset-custodian" not in networks


def test_the_custodian_never_asks_for_the_consumer():
    assert "stimset-consumer" not in closure("stimset-custodian")


def test_each_pin_is_a_version_that_the_packages_accept():
    """constraints.txt holds every dependency of ours, at a version within the range that the metadata states."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = {normal(line.partition("==")[0]): line.partition("==")[2] for line in lines}
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [Requirement(text) for text in workspace["dependency-groups"]["dev"]]
    for folder in ("shared", "custodian", "consumer"):
        extras = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"].get("optional-dependencies", {})
        for extra in ("", *extras):
            needed += own_requirements(folder, extra)
    for requirement in needed:
        if not requirement.name.startswith("stimset"):
            assert normal(requirement.name) in pins, f"{requirement.name} has no version in constraints.txt"
            assert pins[normal(requirement.name)] in requirement.specifier
    assert f"torch=={pins['torch']}" in workspace["tool"]["uv"]["constraint-dependencies"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """The ``bin`` folder of a new environment in which only the consumer was installed, from copies of the sources."""
    folder = tmp_path_factory.mktemp("clean")
    for part in ("shared", "consumer"):  # copies: building leaves files beside the sources
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build"))
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True, capture_output=True)
    python = folder / "env" / "bin" / "python"
    command = [python, "-m", "pip", "--quiet", "install", "-c", ROOT / "constraints.txt", "./shared", "./consumer"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    if done.returncode and OFFLINE.search(done.stderr) and not os.environ.get("CI"):
        pytest.skip("no package index can be reached; the environment can't be made")
    assert done.returncode == 0, done.stderr
    return python.parent


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    # Elsewhere, and isolated from this environment's variables: what is found is what was installed.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "COLUMNS": "120"}
    program = folder / str(command[0])
    return subprocess.run([program, *map(str, command[1:])], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


class TestCleanEnvironment:
    def test_only_what_is_needed_is_installed(self, clean):
        listed = json.loads(run(clean, "python", "-m", "pip", "list", "--format", "json").stdout)
        installed = {normal(entry["name"]) for entry in listed}
        assert {"stimset", "stimset-consumer"} <= installed
        assert installed & UNWANTED == set()
        assert installed - {"pip", "setuptools"} <= closure("stimset-consumer")
        for module in ("torch", "sklearn", "custodian"):
            assert run(clean, "python", "-c", f"import {module}").returncode == 1
        assert not (clean / "custodian").exists()

    def test_help_teaches(self, clean):
        for command in ((), ("pull",), ("verify",), ("train",), ("benchmark",), ("export",)):
            done = run(clean, "consumer", *command, "--help")
            assert done.returncode == 0, done.stderr
            assert "Usage" in done.stdout

    @pytest.mark.parametrize("release", ["one-signal-0001", "two-signals-0001"])
    def test_a_release_is_verified(self, clean, release, tmp_path):
        copy = shutil.copytree(GOLDEN / release, tmp_path / release)
        pinned = ("--root", GOLDEN / "root.json", "--fingerprint", (GOLDEN / "fingerprint.txt").read_text().strip())
        done = run(clean, "consumer", "verify", copy, *pinned, "--format", "json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verified"] is True
        shard = copy / "stimuli-00000.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
        assert run(clean, "consumer", "verify", copy, *pinned).returncode == 6

    def test_a_release_is_pulled(self, clean, tmp_path):
        world = wire_world.World.make(tmp_path)
        try:
            address = world.start().address
            done = run(clean, "consumer", "pull", "latest", "--home", world.consumer.root, "--address", address)
            assert done.returncode == 0, done.stderr
        finally:
            world.close()
        assert (world.consumer.releases / world.release.folder.name / "statement.json").is_file()

    def test_training_says_what_is_missing(self, clean, tmp_path):
        home = tmp_path / "home"
        assert run(clean, "consumer", "init", "--home", home, "--name", "Acme").returncode == 0
        done = run(clean, "consumer", "train", "some-0001", "--family", "cnn", "--home", home)
        assert done.returncode == 3
        assert "stimset-consumer[torch]" in done.stderr
