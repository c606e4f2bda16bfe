"""``custodian evaluation``: whose windows, how many answers, what holds on this machine."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import tiny_release
from custodian import pipeline
from custodian.cli import app
from custodian.cohort import Cohort
from custodian.config import PSEUDONYM_KEY_FILE, Home, Settings
from custodian.evaluation.held_out import held_out
from custodian.service.homes import create_home
from stimset.records import simulate
from stimset.records.simulated import SPEC

TRAINED = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = Home.at(tmp_path_factory.mktemp("commands") / "home")
    create_home(made, Settings("Test Hospital"), tiny_release.PASSPHRASE)
    pipeline.ingest(made, simulate(TRAINED, 20, 3), SPEC, seed=1)
    return made


def run(home, *arguments):
    done = CliRunner().invoke(app, ["evaluation", *(str(a) for a in arguments), "--home", str(home.root), "--format", "json"])
    return done.exit_code, json.loads(done.stdout) if done.exit_code == 0 else done.stderr


def test_the_validation_persons_are_too_few_until_others_are_declared(home):
    code, before = run(home, "show")
    assert code == 0 and not before["offered"] and not before["declared"]
    assert before["patients"] == len(Cohort.load(home.cohort).validation_persons)
    assert before["network_taken_away"] or before["system_calls_filtered"]

    code, declared = run(home, "declare", "--simulated", 25, "--minutes", 10, "--first-person", 5000)
    assert code == 0 and declared["persons"] == 25 and declared["window_spec"] == SPEC.digest()
    patients = held_out(home)
    assert patients.patients == 25 and patients.simulated
    assert not any("5000" in name for name in patients.windows.person_names)
    code, after = run(home, "show")
    assert after["offered"] and after["declared"] and after["account"] != before["account"]


def test_persons_of_the_training_side_are_refused(home):
    assert home.secret(PSEUDONYM_KEY_FILE)
    code, words = run(home, "declare", "--simulated", TRAINED, "--minutes", 20, "--seed", 3)
    assert code == 3 and "training side" in words


def test_limits_are_kept_in_the_settings_and_nothing_else_is_touched(home):
    before = home.settings()
    code, found = run(home, "limit", "--queries", 2, "--advantage", 0.05)
    assert code == 0 and (found["queries"], found["advantage"], found["patients"]) == (2, 0.05, 20)
    after = home.settings()
    assert (after.evaluation_queries, after.evaluation_advantage, after.name) == (2, 0.05, before.name)
    assert run(home, "limit")[1] == found
    assert run(home, "limit", "--advantage", 0.7)[0] == 3
    assert run(home, "limit", "--queries", 0)[1]["noise"] is None
    assert not run(home, "show")[1]["offered"]


def test_one_source_must_be_named(home):
    assert run(home, "declare")[0] == 3
