"""A recipe with epsilon, from the recordings to the signed words: paid for once, refused beyond the limit, the same from workers."""

import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

from custodian.budget import Ledger, spent
from custodian.cli import app
from custodian.config import GATE_KEY_FILE, PSEUDONYM_KEY_FILE, Home, write_secret

RUN = CliRunner()
RECIPE = """
name = "private"
summary = "Class-spectral noise behind noise."
method = "ascent"

[prior]
kind = "class-spectral"
segments = 4

[privacy]
epsilon = {epsilon}
delta = 1e-3
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    home = Home.at(folder / "hospital")
    home.create()
    home.settings_file.write_text('name = "Test"\n')
    for name in (PSEUDONYM_KEY_FILE, GATE_KEY_FILE):
        write_secret(home.keys / name, os.urandom(32))
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    for p in range(6):
        labels = rng.integers(2, size=20)
        x = np.concatenate([np.sin(np.arange(40) * (0.3 + label)) for label in labels]) + 0.3 * rng.standard_normal(800)
        np.savez(
            folder / "data" / f"r{p}.npz", signals=x[None], labels=labels, rate_hz=4.0, epoch_s=10.0, person=f"p{p}"
        )
    for epsilon in (4, 5):
        (folder / f"{epsilon}.toml").write_text(RECIPE.format(epsilon=epsilon))
    assert run(home, "ingest", folder / "data").exit_code == 0
    assert run(home, "train", "--architecture", "spectral_mlp", "--epochs", "1").exit_code == 0
    return home, folder


def run(home, *arguments):
    return RUN.invoke(app, [*map(str, arguments), "--home", str(home.root)])


@pytest.mark.slow
def test_a_private_set_is_paid_for_once_and_refused_beyond_the_limit(trained):
    home, folder = trained
    assert run(home, "budget", "limit", "--epsilon", 5, "--delta", 1e-3).exit_code == 0
    excite = ("excite", "--count", 1001, "--format", "json", "--recipe")
    made = run(home, *excite, folder / "4.toml", "--workers", 1)
    assert made.exit_code == 0, made.output
    (entry,) = json.loads(made.stdout)["aggregates"]
    assert (entry["epsilon"], entry["delta"]) == (4.0, 1e-3)
    ledger = Ledger.open(home)
    (cohort,) = ledger.cohorts()
    assert spent(home, cohort) == {"epsilon": pytest.approx(4.0), "delta": 1e-3, "entries": 1}
    assert [(e.kind, e.subject) for e in ledger.entries(cohort)] == [("reserve", "main"), ("commit", "main")]

    again = run(home, *excite, folder / "4.toml", "--set", "again", "--workers", 2)
    assert again.exit_code == 0, again.output
    assert ledger.total(cohort).entries == 1
    shards = [(home.candidates(name) / "shard-00001.safetensors").read_bytes() for name in ("main", "again")]
    assert shards[0] == shards[1]

    refused = run(home, *excite, folder / "5.toml", "--set", "more")
    assert refused.exit_code == 11, refused.output
    assert "budget limit" in refused.stderr
    assert not (home.candidates("more") / "candidates.json").exists()
    unhidden = run(home, "excite", "--count", 40, "--recipe", "prior", "--set", "plain")
    assert unhidden.exit_code == 11
    assert "without noise" in unhidden.stderr
    shown = json.loads(run(home, "budget", "show", "--format", "json").stdout)
    assert shown["cohorts"][0]["current"]
    assert shown["cohorts"][0]["left"] == pytest.approx(1.0)
