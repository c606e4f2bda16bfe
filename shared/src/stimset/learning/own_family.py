"""A user's own scikit-learn model as a family: it learns soft labels like every other, and leaves as ONNX like every other.

Usage::

    register_estimator("discriminant", LinearDiscriminantAnalysis())
    build("discriminant", 1, 150, 2, seed=1).fit(values, probabilities)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils.validation import has_fit_parameter

from stimset.errors import ConfigError
from stimset.learning.estimator import Floats
from stimset.learning.sklearn_families import Answers, FeatureEstimator, fit_weighted

DRAWS = 4


class Own(FeatureEstimator):
    """Any scikit-learn model on the features of a window.

    A regressor regresses the probability of each class. A classifier that takes weights sees each window once per class,
    weighted by its probability; one that takes none (a pipeline, a discriminant) sees each window `DRAWS` times, labelled by
    chance as its probabilities say.

    Args:
        estimator: the model; a copy of it is trained. Its ``random_state``, where it has one, is set to `seed`.
        features: the view, see `stimset.learning.features`.
    """

    def __init__(
        self,
        estimator: Any = None,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples

    @property
    def answers(self) -> Answers:  # type: ignore[override]
        """``shares`` of a regressor, ``chances`` of a classifier."""
        return "shares" if is_regressor(self.estimator) else "chances"

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        if is_regressor(self.estimator):
            return [self._copy().fit(features, chance) for chance in chances.T]
        if not is_classifier(self.estimator) or not hasattr(self.estimator, "predict_proba"):
            raise ConfigError(
                f"{type(self.estimator).__name__} can't be a family: a scikit-learn classifier with predict_proba, or a "
                "regressor, is needed"
            )
        if has_fit_parameter(self.estimator, "sample_weight"):
            return [fit_weighted(self._copy(), features, chances)]
        rows, labels = drawn(chances, np.random.default_rng(self.seed))
        return [self._copy().fit(features[rows], labels)]

    def _copy(self) -> Any:
        copy = clone(self.estimator)
        seeds = {key: self.seed for key in copy.get_params() if key == "random_state" or key.endswith("__random_state")}
        return copy.set_params(**seeds)


def drawn(chances: Floats, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and labels drawn by probabilities ``(n, classes)``, `DRAWS` of each row, evenly spread; every class at least once."""
    rows = np.repeat(np.arange(len(chances)), DRAWS)
    at = (np.tile(np.arange(DRAWS), len(chances)) + rng.uniform(size=len(rows))) / DRAWS
    limits = chances.cumsum(axis=1)[rows, :-1]
    labels = (at[:, None] >= limits).sum(axis=1)
    missing = np.setdiff1d(np.arange(chances.shape[1]), labels)
    return (
        np.concatenate([rows, chances[:, missing].argmax(axis=0)]).astype(np.int64),
        np.concatenate([labels, missing]).astype(np.int64),
    )
