"""Every family is a scikit-learn classifier: its own checks, clone, pipelines, searches, joblib; and families of a user's own."""

from __future__ import annotations

import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from stimset.errors import ConfigError, DataInvalid
from stimset.learning import families
from stimset.learning.families import build, register_estimator, register_network
from stimset.learning.own_family import Own, drawn
from stimset.learning.torch_family import Network

# Convolutions as products of float32 matrices round differently in another order: 1e-6 apart, where 1e-7 is asked.
ROUNDING = dict.fromkeys(("check_methods_sample_order_invariance", "check_methods_subset_invariance"), "float32 convolutions")
EXCEPTIONS = {"rocket": ROUNDING, "transformer": ROUNDING}
QUICK = {"epochs": 3, "steps_at_least": 0}
SMALL = {"random_forest": {"trees": 10}, "extra_trees": {"trees": 10}, "gradient_boosting": {"rounds": 10}}


def unfitted(name: str) -> object:
    # As scikit-learn builds estimators: no number of classes, so labels may be called anything.
    params = QUICK if families.family(name).needs_torch else SMALL.get(name, {})
    return families.family(name).make(classes=None, seed=0, **params)


def task(n: int = 240, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(classes, 0.5), n)
    wave = np.sin(2 * np.pi * 3 * np.arange(40) / 40 + rng.uniform(0, 6.3, (n, 1)))
    values = 2 * chances[:, -1:] * wave + 0.4 * rng.normal(size=(n, 40))
    return values[:, None].astype(np.float32), chances


@pytest.mark.parametrize("name", [f.name for f in families.families()])
def test_scikit_learns_own_checks(name: str) -> None:
    # Exceptions stand above, with reasons. The spectral view, and networks that average over time or roll their windows, say by their tags
    # that they score poorly on the checks' tables of two columns: accuracy then isn't asked there, all else is.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(
            unfitted(name), on_skip=None, on_fail=None, expected_failed_checks=EXCEPTIONS.get(name)
        )
    assert len(results) > 40
    assert [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"] == []


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("random_forest", {"features": "samples", "trees": 10}),
        ("logistic_regression", {"features": "samples"}),
        ("mlp", {"epochs": 8, "steps_at_least": 0, "shift": 0.0, "batch": 32, "weight_decay": 0.01}),
    ],
)
def test_accuracy_is_asked_where_columns_are_features(name: str, params: dict[str, object]) -> None:
    estimator = families.family(name).make(classes=None, seed=0, **params)
    assert not estimator.__sklearn_tags__().classifier_tags.poor_score
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert [r["check_name"] for r in results if r["status"] == "failed"] == []


@pytest.mark.parametrize("name", ["logistic_regression", "cnn"])
def test_pipeline_search_and_joblib(name: str, tmp_path: Path) -> None:
    values, chances = task()
    labels = np.array(["calm", "wild"])[chances.argmax(axis=1)]
    pipeline = make_pipeline(FunctionTransformer(lambda x: x - x.mean(axis=2, keepdims=True)), unfitted(name))
    assert set(pipeline.fit(values, labels).predict(values)) <= {"calm", "wild"}
    assert cross_val_score(unfitted(name), values, labels, cv=2, scoring="neg_log_loss").max() < 0

    grid = {"seed": [0, 1]} if name == "cnn" else {"cost": [1e-4, 1.0]}
    search = GridSearchCV(unfitted(name), grid, cv=2, n_jobs=2).fit(values, chances)
    assert search.best_score_ == max(search.cv_results_["mean_test_score"]) < 0  # minus a cross-entropy
    if name != "cnn":
        assert search.best_params_ == {"cost": 1.0}

    fitted = search.best_estimator_
    joblib.dump(fitted, tmp_path / "model.joblib")
    assert np.array_equal(joblib.load(tmp_path / "model.joblib").predict_proba(values), fitted.predict_proba(values))


def test_windows_of_one_signal_may_be_a_table() -> None:
    values, chances = task()
    table = unfitted("knn").fit(values[:, 0], chances)
    assert np.array_equal(table.predict_proba(values[:, 0]), unfitted("knn").fit(values, chances).predict_proba(values))


def test_score_is_accuracy_or_minus_the_cross_entropy() -> None:
    values, chances = task()
    fitted = unfitted("knn").fit(values, chances)
    found = fitted.predict_proba(values)
    assert fitted.score(values, chances.argmax(axis=1)) == np.mean(found.argmax(axis=1) == chances.argmax(axis=1))
    assert fitted.score(values, chances) == pytest.approx((chances * np.log(found)).sum(axis=1).mean())


def test_labels_that_are_not_known_are_refused() -> None:
    values, _ = task(20)
    with pytest.raises(DataInvalid, match="whole numbers from 0 to 1"):
        build("knn", 1, 40, 2).fit(values, np.full(20, 2))
    with pytest.raises(DataInvalid, match="none of the 2 classes"):
        unfitted("knn").fit(values, np.array(["a", "b"] * 10), (values, np.array(["a", "c"] * 10)))
    with pytest.raises(ValueError, match="different lengths"):
        unfitted("knn").fit(values, [[0.5, 0.5], [1.0]])


class Mine(torch.nn.Module):
    def __init__(self, channels: int, samples: int, classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * samples, classes))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.layers(windows.square())


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_REGISTRY", dict(families._REGISTRY))


@pytest.mark.usefixtures("registry")
def test_your_own_module_is_a_family() -> None:
    register_network("mine", Mine, epochs=20, steps_at_least=0, learning_rate=0.03)
    values, chances = task(600)
    model = build("mine", 1, 40, 2, seed=1)
    before = torch.random.get_rng_state()
    model.fit(values, chances, (values[:50], chances[:50]))
    assert torch.equal(before, torch.random.get_rng_state())
    assert isinstance(model.network_, Mine) and model.score(values, chances.argmax(axis=1)) > 0.7
    again = clone(model).fit(values, chances, (values[:50], chances[:50]))
    assert np.array_equal(again.predict_proba(values), model.predict_proba(values))
    with pytest.raises(ConfigError, match="already a family 'mine'"):
        register_network("mine", Mine)


def test_a_module_that_does_not_answer_with_logits_is_refused() -> None:
    values, chances = task(20)
    with pytest.raises(ConfigError, match=r"logits of shape \(batch, 2\)"):
        Network(lambda c, t, k: torch.nn.Flatten()).fit(values, chances)
    with pytest.raises(ConfigError, match=r"a torch\.nn\.Module is expected"):
        Network(lambda c, t, k: None).fit(values, chances)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "model",
    [
        LinearDiscriminantAnalysis(),  # takes no weights
        RandomForestClassifier(20, min_samples_leaf=5),  # takes weights
        Ridge(),
        make_pipeline(StandardScaler(), LinearDiscriminantAnalysis()),
    ],
)
def test_your_own_estimator_is_a_family(model: object) -> None:
    register_estimator("mine", model, "my model")
    values, chances = task(400, classes=3)
    fitted = build("mine", 1, 40, 3, seed=1).fit(values, chances)
    found = fitted.predict_proba(values)
    assert found.shape == (400, 3) and np.allclose(found.sum(axis=1), 1)
    assert np.abs(found - chances).mean() < np.abs(chances.mean(axis=0) - chances).mean()
    assert np.array_equal(clone(fitted).fit(values, chances).predict_proba(values), found)


def test_what_gives_no_probabilities_is_no_family() -> None:
    with pytest.raises(ConfigError, match="StandardScaler can't be a family"):
        Own(StandardScaler()).fit(*task(20))


def test_drawn_labels_follow_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    chances = np.tile([0.25, 0.7, 0.05, 0.0], (1000, 1))
    rows, labels = drawn(chances, rng)
    shares = np.bincount(labels, minlength=4) / len(labels)
    assert shares[:3] == pytest.approx([0.25, 0.7, 0.05], abs=0.01) and np.sum(labels == 3) == 1
    assert np.bincount(rows).min() >= 4
