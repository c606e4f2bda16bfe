"""What workers are given survives the way."""

import json
from dataclasses import asdict

import pytest

from custodian.excitation.recipe import load_recipe
from custodian.shadows.plan import Plan
from custodian.workers.orders import files_in, hold_versions, laid_out, revived, versions
from stimset.errors import ConfigError
from stimset.learning.training import TrainingPlan


@pytest.mark.parametrize("training", [None, TrainingPlan(epochs=2)])
def test_a_plan_comes_back_from_json_as_it_was(training):
    plan = Plan(load_recipe("spectral"), "cnn", "plain", training, students=("knn", "cnn"))
    assert revived(Plan, json.loads(json.dumps(asdict(plan)))) == plan


def test_files_come_back_as_they_were(tmp_path):
    (tmp_path / "there").mkdir()
    files = {"a.json": b"{}", "b.safetensors": bytes(range(256))}
    laid_out(files, tmp_path)
    assert files_in(tmp_path) == files, "folders are left out"


def test_another_version_is_named():
    hold_versions(versions())
    with pytest.raises(ConfigError, match=r"numpy .* instead of 0\.1.*every machine"):
        hold_versions({**versions(), "numpy": "0.1"})
