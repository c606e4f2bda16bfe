"""Every kind of model that the custodian's gate and the consumer can train, by name, all from soft labels.

::

    for family in families():
        print(family.name, "-", family.title)
    build("cnn", 1, 150, 2, seed=1).fit(values, probabilities).predict_proba(windows)
    register_network("mine", MyModule)                              # MyModule(channels, samples, classes)
    register_estimator("discriminant", LinearDiscriminantAnalysis())

Naming a family imports nothing; `build` imports scikit-learn, and torch only for the families that need it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from stimset.errors import ConfigError

if TYPE_CHECKING:
    from stimset.learning.estimator import SoftLabelEstimator

_REGISTRY: dict[str, Family] = {}


@dataclass(frozen=True)
class Family:
    """One kind of model.

    Attributes:
        name: as on the command line.
        title: for people.
        needs_torch: false where scikit-learn is enough.
        make: keyword parameters (``classes`` and ``seed`` among them) to an estimator that was not fitted yet.
        aliases: other names that it is found by.
    """

    name: str
    title: str
    needs_torch: bool
    make: Callable[..., SoftLabelEstimator]
    aliases: tuple[str, ...] = ()


def register(family: Family) -> None:
    """Add a family.

    Raises:
        ConfigError: the name is taken.
    """
    taken = {name for known in _REGISTRY.values() for name in (known.name, *known.aliases)}
    for name in (family.name, *family.aliases):
        if name in taken:
            raise ConfigError(f"there is already a family '{name}'; register this one under another name")
    _REGISTRY[family.name] = family


def register_network(name: str, network: Callable[[int, int, int], Any], title: str = "", **plan: Any) -> None:
    """Make a family of your own network.

    Args:
        name: of the family.
        network: makes a ``torch.nn.Module`` of ``(channels, samples, classes)`` that maps windows to logits.
        title: for people.
        plan: defaults of `stimset.learning.torch_family.Network`, such as ``epochs=30``.

    Raises:
        ConfigError: the name is taken.
    """
    register(Family(name, title or name, True, partial(_make, "torch_family", "Network", **{"network": network, **plan})))


def register_estimator(name: str, estimator: Any, title: str = "", **params: Any) -> None:
    """Make a family of your own scikit-learn classifier, regressor or pipeline.

    Args:
        name: of the family.
        estimator: see `stimset.learning.own_family.Own`, which teaches it soft labels.
        title: for people.
        params: defaults of `Own`, such as ``features="samples"``.

    Raises:
        ConfigError: the name is taken.
    """
    register(Family(name, title or name, False, partial(_make, "own_family", "Own", **{"estimator": estimator, **params})))


def families() -> tuple[Family, ...]:
    """All families, in the order of registration."""
    return tuple(_REGISTRY.values())


def family(name: str) -> Family:
    """The family of this name or alias.

    Raises:
        ConfigError: there is none.
    """
    found = next((f for f in _REGISTRY.values() if name in (f.name, *f.aliases)), None)
    if found is None:
        raise ConfigError(f"there is no family '{name}'; known are {', '.join(_REGISTRY)}")
    return found


def build(name: str, channels: int, samples: int, classes: int, seed: int = 0, **params: Any) -> SoftLabelEstimator:
    """An estimator that was not fitted yet.

    Args:
        name: the family.
        channels: of a window; like `samples`, held against bounds here and taken from the data by `fit`.
        samples: of a window.
        classes: how many.
        seed: of everything random in it.
        params: the family's own parameters (``get_params`` lists them).

    Raises:
        ConfigError: no such family or parameter, an impossible shape, or a library is not installed.
    """
    chosen = family(name)
    if channels < 1 or samples < 2 or classes < 2:
        raise ConfigError(f"a model of {channels} channels, {samples} samples and {classes} classes is impossible")
    try:
        return chosen.make(classes=classes, seed=seed, **params)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "sklearn"):
            raise
        extra = "stimset-consumer[torch]" if chosen.needs_torch else "stimset-consumer[train]"
        raise ConfigError(
            f"family '{name}' needs {error.name}, which is not installed; run: pip install '{extra}'"
        ) from None
    except TypeError as error:
        raise ConfigError(f"family '{name}': {error}") from None


def _make(module: str, kind: str, **params: Any) -> SoftLabelEstimator:
    made: SoftLabelEstimator = getattr(importlib.import_module(f"stimset.learning.{module}"), kind)(**params)
    return made


_NETWORKS = {
    "cnn": "convolutional network",
    "deep_cnn": "residual convolutional network",
    "tcn": "temporal convolutional network",
    "lstm": "bidirectional LSTM",
    "gru": "bidirectional GRU",
    "transformer": "transformer encoder",
    "mlp": "multi-layer perceptron",
}
# Knowing nothing of time, a perceptron needs windows rolled by any length, and many passes: it goes on learning long after
# other networks are done. Apnea-ECG, kappa on persons kept apart in two parts of eight, 6,000 examples, 60 passes / 300 with
# less noise: from true windows 0.64, 0.62 / 0.69, 0.71, from stimuli 0.58, 0.51 / 0.66, 0.73 (their teacher 0.73, 0.77).
_PLANS: dict[str, dict[str, Any]] = {
    "mlp": {"epochs": 300, "batch": 256, "shift": 0.5, "noise": 0.1, "weight_decay": 0.1, "patience": 80},
}
_OTHERS = {
    "random_forest": ("random forest", "RandomForest"),
    "extra_trees": ("extremely randomised trees", "ExtraTrees"),
    "gradient_boosting": ("gradient boosting", "GradientBoosting"),
    "svm": ("support vector machine", "SupportVectors"),
    "knn": ("nearest neighbours", "NearestNeighbours"),
    "logistic_regression": ("logistic regression", "Logistic"),
    "naive_bayes": ("naive Bayes", "NaiveBayes"),
    "decision_tree": ("decision tree", "DecisionTree"),
}
_ALIASES = {"deep_cnn": ("resnet",)}
for _name, _title in _NETWORKS.items():
    _plan = partial(_make, "torch_family", "Network", network=_name, **_PLANS.get(_name, {}))
    register(Family(_name, _title, True, _plan, _ALIASES.get(_name, ())))
for _name, (_title, _kind) in _OTHERS.items():
    register(Family(_name, _title, False, partial(_make, "sklearn_families", _kind)))
register(Family("rocket", "random convolutions with a linear head", False, partial(_make, "rocket", "Rocket")))
