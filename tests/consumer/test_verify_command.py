"""``consumer verify`` as a user runs it."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from consumer.cli import app
from tiny_release import TinyRelease, make


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> TinyRelease:
    return make(tmp_path_factory.mktemp("command") / "home")


def run(*arguments: object):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], env={"CONSUMER_HOME": "", "COLUMNS": "200"})


def pinned(tiny: TinyRelease) -> tuple[object, ...]:
    return "--root", tiny.root_file, "--fingerprint", tiny.fingerprint


def test_good(tiny):
    result = run(tiny.folder, *pinned(tiny))
    assert result.exit_code == 0, result.output
    for text in ("tiny-0001", "SIMULATED", "Test Hospital", tiny.release.signed_by[0], "identity-certainty"):
        assert text in result.output


def test_json(tiny):
    document = json.loads(run(tiny.folder, *pinned(tiny), "--format", "json").stdout)
    assert document["verified"] is True
    assert document["simulated"] is True
    assert document["signed_by"] == list(tiny.release.signed_by)
    assert [c["name"] for c in document["gate"]["checks"]] == ["identity-certainty", "utility-kappa-loss"]


def test_exit_codes_name_the_cause(tiny, tmp_path):
    def remove(folder):
        (folder / "card.json").unlink()

    def add(folder):
        (folder / "more").write_text("x")

    def cut(folder):
        (folder / "CARD.md").write_bytes(b"x")

    def flip(folder):
        data = (folder / "CARD.md").read_bytes()
        (folder / "CARD.md").write_bytes(b"?" + data[1:])

    for number, (damage, code) in enumerate(((remove, 16), (add, 17), (cut, 18), (flip, 6))):
        folder = tiny.copy(tmp_path / str(number))
        damage(folder)
        result = run(folder, *pinned(tiny))
        assert result.exit_code == code
        assert len(result.stderr.strip().splitlines()) == 1
    other = make(tmp_path / "other")
    assert run(tiny.folder, *pinned(other)).exit_code == 15
    assert run(tiny.folder, "--root", tiny.root_file, "--fingerprint", "0" * 64).exit_code == 6


@pytest.mark.parametrize("keep", [slice(0, 2), slice(2, 4), slice(0, 0)])
def test_a_root_without_a_pin_proves_nothing(tiny, keep):
    result = run(tiny.folder, *pinned(tiny)[keep])
    assert result.exit_code == 3


def trust(home, name: str, tiny: TinyRelease, fingerprint: str | None = None) -> None:
    folder = home / "custodians" / name
    folder.mkdir(parents=True)
    (home / "consumer.toml").write_text('name = "Partner"\n')
    shutil.copy(tiny.root_file, folder / "root.json")
    (folder / "custodian.toml").write_text(
        f'address = "localhost:1"\nfingerprint = "{fingerprint or tiny.fingerprint}"\n'
    )


def test_the_home_knows_whom_to_trust(tiny, tmp_path):
    home = tmp_path / "home"
    trust(home, "another", make(tmp_path / "other"))
    assert run(tiny.folder, "--home", home).exit_code == 15
    trust(home, "hospital", tiny)
    document = json.loads(run(tiny.folder, "--home", home, "--format", "json").stdout)
    assert document["trusted_as"] == "hospital"
    assert run(tiny.folder, "--home", home, "--custodian", "another").exit_code == 15
    assert run(tiny.folder, "--home", home, "--custodian", "nobody").exit_code == 3
    (home / "custodians/hospital/custodian.toml").write_text("fingerprint = 1\n")
    assert run(tiny.folder, "--home", home, "--custodian", "hospital").exit_code == 3


def test_a_release_of_the_home_is_named_by_its_id(tiny, tmp_path):
    home = tmp_path / "home"
    trust(home, "hospital", tiny)
    missing = run("tiny-0001", "--home", home)
    assert missing.exit_code == 3
    assert "consumer pull" in missing.output
    tiny.copy(home / "releases" / "held").rename(home / "releases" / "tiny-0001")
    named = json.loads(run("tiny-0001", "--home", home, "--format", "json").stdout)
    assert named["verified"] is True
    assert run("../releases/tiny-0001", "--home", home).exit_code == 3, "a path is no id"


def test_a_root_that_is_not_the_pinned_one(tiny, tmp_path):
    trust(tmp_path / "home", "hospital", tiny, fingerprint="0" * 64)
    assert run(tiny.folder, "--home", tmp_path / "home").exit_code == 6
