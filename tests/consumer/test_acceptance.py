"""What a partner accepts beyond a signature that holds: ``--policy`` of 'consumer verify' and 'consumer pull', and the module behind it."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import tiny_release
from consumer import channel
from consumer.acceptance import Acceptance, load_acceptance
from consumer.cli import app
from consumer.students.sources import open_release
from custodian.publish.keys import load_signers, own_root
from custodian.publish.publishing import publish
from hostile_server import Hostile, serving
from stimset.errors import ConfigError, NotAccepted
from stimset.release import Budget, CheckResult, Override, ReportDigests
from stimset.verifying import verify
from wire_world import World

REPORT = b'{"kind": "stimset-gate-report-v1"}'
RESULT = replace(
    tiny_release.RESULT, policy="default-2", persons=24, report=ReportDigests(hashlib.sha256(REPORT).hexdigest(), "ef" * 32),
    measurements={"utility-mlp-stimuli-kappa": 0.55, "utility-random_forest-stimuli-kappa": 0.6},
    checks=(
        CheckResult("identity-deep_cnn", 0.03, 0.05, "<=", True, ""), CheckResult("identity-random_forest", 0.01, 0.05, "<=", True, ""),
        CheckResult("identity-deep_cnn-positive-control", 0.3, 0.05, ">=", True, ""),
    ),
)  # fmt: skip
OVERRIDDEN = replace(
    RESULT, admitted=False, checks=(*RESULT.checks, CheckResult("linkage", None, 0.1, "<=", False, "")),
    override=Override({"builder": "Ada Meyer", "officer": "Bo Holm"}, "A rehearsal with a partner on noise.", ("linkage",), "ab" * 32),
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tiny_release.make_home(tmp_path_factory.mktemp("acceptance") / "home")


def released(home, result, name: str) -> Path:
    made = tiny_release.candidates(home.candidates(name))
    admitted = tiny_release.admit(made, result, Budget(4.0, 1e-6, 2))
    return publish(admitted, home, load_signers(home, tiny_release.PASSPHRASE), name=name).folder


@pytest.fixture(scope="module")
def good(home) -> Path:
    return released(home, RESULT, "good")


@pytest.fixture(scope="module")
def overridden(home) -> Path:
    return released(home, OVERRIDDEN, "forced")


@pytest.fixture(scope="module")
def predicate(home, good):
    return verify(good, own_root(home)).predicate


def run(home, folder, *arguments: object, format: str = "json"):
    pinned = ("--root", home.root_file, "--fingerprint", own_root(home).fingerprint)
    return CliRunner().invoke(app, ["verify", *map(str, (folder, *pinned, *arguments)), "--format", format], env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("demands", "unmet"),
    [
        ({}, None),
        ({"persons_at_least": 24}, None),
        ({"persons_at_least": 25}, "24 patients are behind it, at least 25"),
        ({"simulated": False}, "simulated"),
        ({"recipes": ("spectral", "other")}, None),
        ({"recipes": ("other",)}, "recipe is spectral"),
        ({"regimes": ("pate",)}, "regime is not stated"),
        ({"epsilon_at_most": 4.0}, None),
        ({"epsilon_at_most": 3.9}, "epsilon is 4"),
        ({"custodian_policies": ("default-2",)}, None),
        ({"custodian_policies": ("ab" * 32,)}, None),
        ({"custodian_policies": ("strict-1",)}, "judged by the policy default-2"),
        ({"at_most": {"identity-*": 0.03}}, None),
        ({"at_most": {"identity-*": 0.02}}, "identity-deep_cnn is 0.03, at most 0.02"),
        ({"at_most": {"membership-student": 0.6}}, "'membership-student' was not measured"),
        ({"at_least": {"utility-*-stimuli-kappa": 0.5}}, None),
        ({"at_least": {"utility-*-stimuli-kappa": 0.56}}, "utility-mlp-stimuli-kappa is 0.55"),
    ],
    ids=str,
)
def test_each_demand(predicate, demands, unmet):
    acceptance = replace(Acceptance("ours"), **demands)
    found = list(acceptance.unmet(predicate))
    if unmet is None:
        acceptance.hold(predicate)
        assert found == []
        return
    assert len(found) == 1 and unmet in found[0]
    with pytest.raises(NotAccepted, match="signed as it should be") as caught:
        acceptance.hold(predicate)
    assert caught.value.failed == tuple(found)


def test_what_a_release_does_not_state_meets_no_demand(predicate):
    bare = replace(predicate, budget=None, gate=replace(predicate.gate, persons=None))
    unmet = list(Acceptance("ours", persons_at_least=1, epsilon_at_most=1e9).unmet(bare))
    assert "unstated number" in unmet[0] and "not stated" in unmet[1]
    unbounded = replace(predicate, budget=Budget(None, None, 3))
    assert "unbounded" in next(Acceptance("ours", epsilon_at_most=1e9).unmet(unbounded))


def test_an_override_is_refused_by_default_and_taken_by_name_only(home, overridden, tmp_path):
    for arguments in ((), ("--policy", "partner")):
        result = run(home, overridden, *arguments)
        assert result.exit_code == 19
        assert "Ada Meyer" in result.stderr and "linkage" in result.stderr
    assert run(home, overridden, "--accept-override").exit_code == 0
    own = tmp_path / "ours.toml"
    own.write_text('name = "ours"\noverride = "accept"\n')
    assert run(home, overridden, "--policy", own).exit_code == 0
    shown = run(home, overridden, "--accept-override", format="text").stdout
    assert shown.startswith("OVERRIDDEN") and "not measured" in shown


def test_the_shipped_example_teaches_and_works(home, good, overridden):
    document = json.loads(run(home, good, "--policy", "partner").stdout)
    assert document["accepted"] and document["policy"] == "partner-example" and document["unmet"] == []
    assert document["budget"] == {"epsilon": 4.0, "delta": 1e-6, "entries": 2}
    acceptance = load_acceptance(Path("partner"))
    assert not acceptance.override and acceptance.persons_at_least and acceptance.at_most and acceptance.at_least
    assert load_acceptance(Path("partner"), accept_override=True).override
    assert load_acceptance() == Acceptance()


def test_a_refusal_names_every_demand_and_shows_the_release_all_the_same(home, good, tmp_path):
    own = tmp_path / "ours.toml"
    own.write_text('name = "ours"\nsimulated = "refuse"\npersons_at_least = 100\n[at_most]\n"identity-*" = 0.0\n')
    result = run(home, good, "--policy", own)
    assert result.exit_code == 19
    assert len(result.stderr.strip().splitlines()) == 1 + 4
    document = json.loads(result.stdout)
    assert document["verified"] and not document["accepted"] and len(document["unmet"]) == 4


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "'name' is missing"),
        ('name = "x"\npersons = 3', "'persons' is unknown"),
        ('name = "x"\noverride = true', "'override' must be a text"),
        ('name = "x"\noverride = "maybe"', '"accept" or "refuse"'),
        ('name = "x"\npersons_at_least = 0', "1 to 999999"),
        ('name = "x"\nepsilon_at_most = -1', "0 or more"),
        ('name = "x"\nepsilon_at_most = inf', "finite"),
        ('name = "x"\n[at_most]\na = "b"', "'a' must be a number"),
        ('name = "x"\nrecipes = []', "admits anything"),
        ('name = "x"\nrecipes = "spectral"', "list of names"),
        ("name = ", "Invalid value"),
    ],
)
def test_a_wrong_policy_is_a_setting_that_is_wrong(home, good, tmp_path, text, cause):
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=cause):
        load_acceptance(file)
    assert run(home, good, "--policy", file).exit_code == 3
    assert run(home, good, "--policy", tmp_path / "absent.toml").exit_code == 3


def test_a_report_is_held_against_its_signed_digest(home, good, tmp_path):
    report = tmp_path / "report.json"
    report.write_bytes(REPORT)
    assert run(home, good, "--report", report).exit_code == 0
    report.write_bytes(REPORT + b" ")
    assert run(home, good, "--report", report).exit_code == 6
    assert run(home, good, "--report", tmp_path / "absent").exit_code == 3


def test_a_pull_is_refused_before_any_file_is_fetched(tmp_path):
    world = World.make(tmp_path)
    server = Hostile(world.home.channel, world.release.folder)
    mine, picky = world.consumer, Acceptance("picky", simulated=False)
    with serving(world.home, server) as address, world.client(address) as client:
        with pytest.raises(NotAccepted, match="picky"):
            channel.pull(client, mine, world.custodian, "tiny-0001", accept=picky.hold)
        assert not list(mine.releases.glob("*tiny-0001"))
        assert channel.pull(client, mine, world.custodian, "tiny-0001").id == "tiny-0001"
        with pytest.raises(NotAccepted):  # one that is here already is held against the policy too
            channel.pull(client, mine, world.custodian, "tiny-0001", accept=picky.hold)


def test_a_student_learns_from_an_overridden_release_only_where_it_was_accepted(tmp_path):
    world = World.make(tmp_path)
    folder = released(world.home, OVERRIDDEN, "forced")
    with pytest.raises(NotAccepted, match="built-in"):
        open_release(world.consumer, str(folder))
    world.consumer.releases.mkdir(exist_ok=True)
    shutil.copytree(folder, world.consumer.releases / folder.name)  # as a pull with --accept-override leaves it
    assert open_release(world.consumer, folder.name).predicate.gate.override.failed == ("linkage",)


@given(st.text(alphabet="ab-*.", min_size=1, max_size=12), st.floats(-1, 1))
def test_a_pattern_is_no_regular_expression_and_never_passes_by_matching_nothing(predicate_less_pattern, limit):
    from consumer.acceptance import _limits

    named = {name for name in ("ab-a", "ab-b-a") if _matches(predicate_less_pattern, name)}
    gate = replace(RESULT, checks=(), measurements={"ab-a": 0.0, "ab-b-a": 0.0})
    found = list(_limits(gate, {predicate_less_pattern: limit}, "at most"))
    assert len(found) == (1 if not named else len(named) if limit < 0 else 0)


def _matches(pattern: str, name: str) -> bool:
    """An independent oracle: '*' takes one or more characters other than a hyphen."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_matches(pattern[1:], name[i:]) for i in range(1, len(name) + 1) if "-" not in name[:i])
    return bool(name) and name[0] == pattern[0] and _matches(pattern[1:], name[1:])
