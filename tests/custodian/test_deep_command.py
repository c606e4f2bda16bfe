"""``custodian audit --deep``: what it costs, that it asks, that it goes on, and that its findings count in the verdict."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from custodian.cli import app
from custodian.cohort import Cohort
from custodian.config import PSEUDONYM_KEY_FILE, Home
from custodian.gate.deep import deep_facts, deep_findings
from custodian.pipeline import TEACHER
from custodian.teacher.training import train_teacher
from stimset.learning.training import TrainingPlan

RUN = CliRunner()
DEEP = ["--deep", "--shadows", "4", "--canary-worlds", "4", "--stimuli", "60", "--students", "knn", "--workers", "1"]


def run(home, *arguments):
    return RUN.invoke(app, [*map(str, arguments), "--home", str(home.root)], env={"CUSTODIAN_PASSPHRASE": "long enough for a test"})


POLICY = """
name = "deep-only"
version = 1
[cohort]
half_width_at_most = 0.9
[attacks.membership]
required = true
at_most = 0.9
[attacks.attribute]
required = false
at_most = 0.1
[attacks.canary]
required = true
at_most = 0.9
[utility]
students = ["naive_bayes"]
kappa_loss_at_most = 1.0
true_kappa_at_least = -1.0
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    made = Home(tmp_path_factory.mktemp("custodian"))
    for command in ("init --name Hospital", "ingest --simulated 10 --minutes 20"):
        assert run(made, *command.split()).exit_code == 0
    # 'custodian train' would train identity networks too, which this recipe does not need.
    cohort = Cohort.load(made.cohort)
    teacher = train_teacher(cohort, architecture="spectral_mlp", regime="plain", plan=TrainingPlan(epochs=1))
    facts = {**teacher.facts, "cohort": cohort.seal(made.secret(PSEUDONYM_KEY_FILE))}
    replace(teacher, facts=facts).save(made.teacher, TEACHER)
    assert run(made, "excite", "--recipe", "prior", "--count", 60).exit_code == 0
    (made.root / "policy.toml").write_text(POLICY)
    return made


def test_a_dry_run_says_the_cost_and_does_nothing(home):
    told = json.loads(run(home, "audit", *DEEP, "--dry-run", "--format", "json").stdout)
    assert told["worlds"] == told["worlds_left"] == 8
    assert told["seconds"] == pytest.approx(8 * told["seconds_per_world"], rel=0.1)
    assert not list((home.root / "audits").rglob("world-*"))
    assert run(home, "audit", "--dry-run").exit_code == 3


def test_nobody_to_ask_is_no_yes(home):
    result = run(home, "audit", *DEEP)
    assert result.exit_code == 3
    assert "--yes" in result.stderr
    assert "about" in result.stderr, "the cost is said first"


@pytest.mark.parametrize(("more", "cause"), [(["--shadows", "5"], "even number"), (["--students", "magic"], "no family 'magic'")])
def test_impossible_audits_are_refused(home, more, cause):
    result = run(home, "audit", *DEEP, "--yes", *more)
    assert result.exit_code == 3
    assert cause in result.stderr


def test_findings_are_kept_shown_and_held_against_the_policy(home):
    result = run(home, "audit", *DEEP, "--yes", "--policy", home.root / "policy.toml", "--format", "json")
    assert result.exit_code in (0, 10), result.output
    assert "What the shadow worlds show" in result.stderr
    assert "left out: attribute" in result.stderr, "simulated persons have no sex, age or BMI"
    names = {finding.name for finding in deep_findings(home, "main")}
    assert {"membership", "membership-stimuli", "membership-singled-out", "canary"} <= names
    assert deep_facts(home, "main")["left_out"].keys() == {"attribute"}
    checks = {check["name"] for check in json.loads(result.stdout)["checks"]}
    assert {"membership", "membership-stimuli", "canary"} <= checks
    assert not any(name.startswith("attribute") for name in checks)
    told = json.loads(run(home, "audit", *DEEP, "--dry-run", "--format", "json").stdout)
    assert told["worlds_left"] == told["seconds"] == 0
