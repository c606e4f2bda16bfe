"""``custodian release`` as a user runs it; ``build`` as a whole needs the gate and runs in tests/end_to_end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from custodian.cli import app
from tiny_release import TinyRelease, make


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> TinyRelease:
    return make(tmp_path_factory.mktemp("command") / "home")


def run(*arguments: object, **environment: str):
    environment = {"CUSTODIAN_HOME": "", "COLUMNS": "200", **environment}
    return CliRunner().invoke(app, ["release", *map(str, arguments)], env=environment)


def test_list(tiny):
    result = run("list", "--home", tiny.home.root)
    assert result.exit_code == 0
    assert "tiny-0001" in result.output
    assert "simulated" in result.output
    (line,) = json.loads(run("list", "--home", tiny.home.root, "--format", "json").stdout)["releases"]
    assert (line["release"], line["stimuli"]) == ("tiny-0001", 5)


def test_show(tiny):
    result = run("show", "tiny-0001", "--home", tiny.home.root)
    assert result.exit_code == 0, result.output
    assert "identity-certainty" in result.output
    document = json.loads(run("show", "tiny-0001", "--home", tiny.home.root, "--format", "json").stdout)
    assert document["root_fingerprint"] == tiny.fingerprint
    assert len(document["files"]) == 3
    assert run("show", "tiny-0009", "--home", tiny.home.root).exit_code == 3


def test_show_verifies(tmp_path):
    tiny = make(tmp_path / "home")
    card = tiny.folder / "CARD.md"
    card.chmod(0o644)
    card.write_bytes(b"x" * card.stat().st_size)
    assert run("show", "tiny-0001", "--home", tiny.home.root).exit_code == 6


def test_build_needs_a_passphrase(tiny):
    result = run("build", "--set", "x", "--name", "y", "--home", tiny.home.root, CUSTODIAN_PASSPHRASE="")
    assert result.exit_code == 3


def test_no_home():
    assert run("list").exit_code == 3
