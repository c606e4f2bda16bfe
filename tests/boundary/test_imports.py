"""Who may import whom: the contracts of pyproject.toml, what only some rooms may use, and what a command line loads."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from source_tree import ROOT, sources

# A contract that someone takes away would be kept for ever; so they are named here too.
CONTRACTS = {
    "stimset knows neither side",
    "custodian and consumer never import each other",
    "serving never loads torch",
    "the daemon reaches nothing private",
    "what runs a partner's model knows no patient",
    "publishing sees candidates, never windows or teachers",
    "the gate's attackers share nothing with inhibition",
    "pull and verify need no more than the base install",
    "the custodian's rooms, outermost first",
}
# Library -> the modules (with all below them) that may import it; everyone else works without.
ROOMS = {
    "torch": {
        "stimset.learning", "custodian.excitation", "custodian.teacher", "custodian.inhibition", "custodian.gate",
        "custodian.device", "custodian.cli.checkup", "consumer.students",
    },
    "sklearn": {"stimset.learning", "custodian.excitation", "custodian.gate", "consumer.students"},
    "wfdb": {"stimset.records"},
    "edfio": {"stimset.records"},
    "onnx": {"consumer.students", "consumer.export", "custodian.evaluation.running", "custodian.evaluation.checks"},
    "onnxruntime": {"consumer.students", "consumer.export", "custodian.evaluation.running"},
    "sqlalchemy": {"custodian.state"},
    "alembic": {"custodian.state"},
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("stimset", "custodian", "consumer", include_external_packages=True)


def test_the_contracts_hold():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_contract_is_gone():
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {contract["name"] for contract in document["contracts"]} >= CONTRACTS
    assert set(document["root_packages"]) == {"stimset", "custodian", "consumer"}
    assert not any("ignore_imports" in contract for contract in document["contracts"])


@pytest.mark.parametrize("library", ROOMS)
def test_a_heavy_library_stays_in_its_rooms(graph, library):
    if library not in graph.modules:
        return  # nobody imports it at all
    importers = {m for m in graph.find_modules_that_directly_import(library) if m.partition(".")[0] != library}
    strangers = {m for m in importers if not any(m == r or m.startswith(f"{r}.") for r in ROOMS[library])}
    assert strangers == set()


def test_the_graph_is_whole(graph):
    ours = {source.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for source in sources()}
    assert ours <= graph.modules


@pytest.mark.parametrize("side", ["custodian", "consumer"])
def test_a_command_line_loads_nothing_heavy(side):
    """``--help`` and a wrong option answer at once."""
    code = f"import sys, {side}.cli; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert {"typer", side} <= loaded
    heavy = {"torch", "sklearn", "scipy", "pandas", "matplotlib", "wfdb", "edfio", "onnx", "onnxruntime", "sqlalchemy", "grpc"}
    assert loaded & heavy == set()
