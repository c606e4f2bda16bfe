"""``custodian train --regime``: the guarantee is told, and what a proof costs is spent before training starts."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
from typer.testing import CliRunner

from custodian import pipeline
from custodian.cli import app
from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, Home, write_secret
from custodian.inhibition import IDENTITY_PLAN
from small_cohort import cohort

RUN = CliRunner()


@pytest.fixture
def home(tmp_path, monkeypatch):
    brief = replace(IDENTITY_PLAN, epochs=1, steps_at_least=0)
    monkeypatch.setattr(pipeline, "train_identity_networks", partial(pipeline.train_identity_networks, plans=[brief]))
    made = Home.at(tmp_path / "hospital")
    made.create()
    made.settings_file.write_text('name = "Test"\n')
    for name in (PSEUDONYM_KEY_FILE, GATE_KEY_FILE):
        write_secret(made.keys / name, os.urandom(32))
    cohort(6, 15).save(made.cohort)
    return made


def train(home, *arguments):
    fast = ("--architecture", "spectral_mlp", "--epochs", "1")
    return RUN.invoke(app, ["train", *fast, *arguments, "--home", str(home.root)])


def spent(home):
    shown = RUN.invoke(app, ["budget", "show", "--format", "json", "--home", str(home.root)])
    return [(entry["epsilon"], entry["entries"]) for entry in json.loads(shown.stdout)["cohorts"]]


def test_the_identity_networks_are_told(home):
    made = train(home)
    assert made.exit_code == 0, made.output
    assert "3: cnn, tcn, spectral_mlp; each trained under noise of 0" in made.stdout


def test_the_regime_and_its_guarantee_are_told(home):
    made = train(home, "--regime", "cross-fitted", "--format", "json")
    assert made.exit_code == 0, made.output
    document = json.loads(made.stdout)
    assert document["regime"] == "cross-fitted"
    assert "No proof" in document["guarantee"]
    assert document["epsilon"] is None


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--regime", "forgetful"), "no regime 'forgetful'"),
        (("--regime", "plain", "--epsilon", "3"), "take --regime pate or dp-sgd"),
        (("--regime", "dp-sgd", "--epsilon", "0"), "epsilon > 0"),
        (("--regime", "pate", "--delta", "0.5"), "protects nobody"),
        (("--architecture", "+".join(["mlp"] * 5), "--regime", "cross-fitted"), "fewer architectures"),
    ],
)
def test_what_can_not_be_had_is_told_in_one_line(home, arguments, cause):
    result = train(home, *arguments)
    assert result.exit_code == 3, result.output
    assert cause in result.stderr
    assert not (home.teacher / "teacher.json").exists()


def test_a_proof_is_paid_for_before_training_and_not_beyond_the_limit(home):
    made = train(home, "--regime", "dp-sgd", "--epsilon", "3", "--delta", "0.001", "--format", "json")
    assert made.exit_code == 0, made.output
    document = json.loads(made.stdout)
    assert 2.9 < document["epsilon"] <= 3.0 + 1e-6
    assert "differential privacy" in document["guarantee"]
    assert spent(home) == [(pytest.approx(document["epsilon"], rel=1e-3), 1)]
    with home.settings_file.open("a") as settings:
        settings.write("budget_epsilon = 4.0\nbudget_delta = 0.001\n")
    (home.teacher / "teacher.json").unlink()
    refused = train(home, "--regime", "pate", "--epsilon", "3", "--delta", "0.001")
    assert refused.exit_code == 11, refused.output
    assert "budget" in refused.stderr
    assert not (home.teacher / "teacher.json").exists()
