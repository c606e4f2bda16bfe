"""Every family keeps one contract, learns from soft labels, and only networks load torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from stimset.errors import ConfigError, FormatError
from stimset.learning import families
from stimset.learning.families import Family, build

QUICK = {"epochs": 2, "steps_at_least": 0}
ALL = [family.name for family in families.families()]
WITHOUT_TORCH = [family.name for family in families.families() if not family.needs_torch]


def quick(name: str, channels: int = 1, samples: int = 40, classes: int = 2, **params: object) -> object:
    if families.family(name).needs_torch:
        params = {**QUICK, **params}
    elif name in ("random_forest", "extra_trees"):
        params = {"trees": 30, **params}
    return build(name, channels, samples, classes, seed=3, **params)


def posterior_task(n: int, classes: int, seed: int, samples: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows whose true class probabilities are known: the stronger a slow wave in it, the likelier a later class."""
    rng = np.random.default_rng(seed)
    strength = rng.uniform(0, 1, n)
    phase = rng.uniform(0, 2 * np.pi, n)
    wave = np.sin(2 * np.pi * 4 * np.arange(samples) / samples + phase[:, None])
    values = (2 * strength[:, None] * wave + 0.5 * rng.normal(size=(n, samples)))[:, None].astype(np.float32)
    logits = 5 * (strength[:, None] - np.linspace(0, 1, classes)) * np.linspace(-1, 1, classes)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)
    return values, chances, labels


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(1, 40, 2), (2, 33, 3)])
def test_contract(name: str, shape: tuple[int, int, int]) -> None:
    channels, samples, classes = shape
    rng = np.random.default_rng(0)
    values = rng.normal(size=(120, channels, samples)).astype(np.float32)
    chances = rng.dirichlet(np.ones(classes), size=120)
    estimator = quick(name, *shape)
    before = estimator.get_params()
    assert estimator.fit(values, chances, (values[:20], chances[:20])) is estimator
    assert estimator.get_params() == before
    found = estimator.predict_proba(values)
    assert found.shape == (120, classes) and found.dtype == np.float64
    assert np.allclose(found.sum(axis=1), 1, atol=1e-6) and found.min() >= 0
    assert np.array_equal(estimator.predict(values), found.argmax(axis=1))
    assert np.array_equal(estimator.classes_, np.arange(classes))
    again = clone(estimator)
    assert not hasattr(again, "classes_")
    assert np.array_equal(again.fit(values, chances, (values[:20], chances[:20])).predict_proba(values), found)
    with pytest.raises(FormatError, match="shape"):
        estimator.predict_proba(values[:, :, :-1])
    assert estimator.predict_proba(values[:0]).shape == (0, classes)


@pytest.mark.parametrize(
    "name", [n for n in ALL if n not in ("naive_bayes", "transformer", "tcn", "deep_cnn", "gru", "lstm")]
)
def test_soft_labels_carry_more_than_their_most_probable_class(name: str) -> None:
    values, chances, _ = posterior_task(900, 2, 0)
    unseen, truth, _ = posterior_task(1500, 2, 1)
    # The defaults suit thousands of stimuli; here there are 900, and the answer is one smooth curve.
    params = {"knn": {"neighbours": 15}, "logistic_regression": {"cost": 1.0}}.get(name, {})
    params = {"epochs": 15} if families.family(name).needs_torch else params
    soft = quick(name, **params).fit(values, chances).predict_proba(unseen)
    hard = quick(name, **params).fit(values, chances.argmax(axis=1)).predict_proba(unseen)
    error = {kind: np.abs(found[:, 1] - truth[:, 1]).mean() for kind, found in (("soft", soft), ("hard", hard))}
    assert error["soft"] < 0.85 * error["hard"], error
    assert error["soft"] < 0.15


@pytest.mark.parametrize("name", ["random_forest", "svm", "logistic_regression", "gradient_boosting", "knn"])
def test_three_classes_are_learned(name: str) -> None:
    values, chances, _ = posterior_task(900, 3, 0)
    unseen, truth, _ = posterior_task(500, 3, 1)
    found = quick(name, classes=3).fit(values, chances).predict_proba(unseen)
    assert np.abs(found - truth).mean() < 0.12


def test_a_class_that_nobody_believes_in_keeps_its_column() -> None:
    values, chances, _ = posterior_task(100, 2, 0)
    widened = np.concatenate([chances, np.zeros((100, 1))], axis=1)
    for name in WITHOUT_TORCH:
        found = quick(name, classes=3).fit(values, widened).predict_proba(values)
        assert found.shape == (100, 3) and found[:, 2].max() < 0.2, name


def test_max_samples_bounds_what_is_kept() -> None:
    values, chances, _ = posterior_task(300, 2, 0)
    small = quick("knn", max_samples=80).fit(values, chances)
    assert len(small.models_[0]._fit_X) == 80


def test_the_seed_decides() -> None:
    values, chances, _ = posterior_task(200, 2, 0)
    for name in ("random_forest", "mlp"):
        params = QUICK if name == "mlp" else {"trees": 10}
        first, same, other = (
            build(name, 1, 40, 2, seed=s, **params).fit(values, chances).predict_proba(values) for s in (1, 1, 2)
        )
        assert np.array_equal(first, same) and not np.array_equal(first, other), name


def test_the_samples_view_is_there_too() -> None:
    values, chances, _ = posterior_task(200, 2, 0)
    estimator = quick("random_forest", features="samples").fit(values, chances)
    assert len(estimator.mean_) == 40 and estimator.limit_ is None
    with pytest.raises(ConfigError, match="no feature view"):
        quick("random_forest", features="wavelets").fit(values, chances)


def test_progress_ends_at_one() -> None:
    values, chances, _ = posterior_task(100, 2, 0)
    for name in ("cnn", "knn"):
        told: list[float] = []
        quick(name).fit(values, chances, on_progress=told.append)
        assert told == sorted(told) and told[-1] == 1.0


@pytest.mark.parametrize(
    ("values", "targets"),
    [
        (np.zeros(4), np.array([0, 1, 0, 1])),
        (np.zeros((4, 1, 1, 40)), np.array([0, 1, 0, 1])),
        (np.zeros((4, 1, 1)), np.array([0, 1, 0, 1])),
        (np.full((4, 1, 40), np.nan), np.array([0, 1, 0, 1])),
        (np.zeros((4, 1, 40)), np.array([0, 1, 0])),
        (np.zeros((4, 1, 40)), np.array([0, 1, 2, 0])),
        (np.zeros((4, 1, 40)), np.array([0.0, 1.0, 0.0, 1.0])),
        (np.zeros((4, 1, 40)), np.full((4, 2), 0.7)),
        (np.zeros((4, 1, 40)), np.full((4, 3), 1 / 3)),
        (np.zeros((4, 1, 40)), np.tile([1.5, -0.5], (4, 1))),
        (np.zeros((1, 1, 40)), np.array([0])),
    ],
)
def test_bad_training_data_is_refused(values: np.ndarray, targets: np.ndarray) -> None:
    with pytest.raises(FormatError):
        quick("logistic_regression").fit(values, targets)


def test_registry() -> None:
    assert {"cnn", "lstm", "mlp", "random_forest", "svm", "knn", "logistic_regression"} <= set(ALL)
    with pytest.raises(ConfigError, match="already a family 'cnn'"):
        families.register(Family("cnn", "another", False, lambda **_: None))
    with pytest.raises(ConfigError, match="no family 'vgg'; known are cnn"):
        families.family("vgg")
    with pytest.raises(ConfigError, match=r"'knn'.*depth"):
        build("knn", 1, 40, 2, depth=3)
    with pytest.raises(ConfigError, match="impossible"):
        build("knn", 1, 40, 1)


def test_families_without_networks_do_not_load_torch() -> None:
    code = (
        "import sys, numpy as np; from stimset.learning import families as f\n"
        "assert 'sklearn' not in sys.modules and 'torch' not in sys.modules\n"
        "x = np.random.default_rng(0).normal(size=(60, 1, 20)); y = np.arange(60) % 2\n"
        "for family in f.families():\n"
        "    if not family.needs_torch: f.build(family.name, 1, 20, 2).fit(x, y).predict_proba(x)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in [m for m in sys.modules if m.startswith("stimset.learning.") and "famil" in m and "torch" in m]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "stimset.learning.torch_family", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'stimset-consumer\[torch\]'"):
        build("cnn", 1, 40, 2)
