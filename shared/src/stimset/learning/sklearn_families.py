"""The families without a network. Each one learns the probabilities themselves, never only the most probable class.

Three ways, after what each model can do:

- trees, forests, boosting and nearest neighbours regress the probabilities (`answers` is ``shares``),
- support vectors regress the centred log-probabilities (``logits``),
- logistic regression and naive Bayes see each window once per class, weighted by its probability (``chances``).

Kappa on 8 held-out persons of Apnea-ECG's training half, from 6,000 true windows with soft labels / from class-spectral
noise: random forest 0.61 / 0.65, extra trees 0.60 / 0.64, gradient boosting 0.62 / 0.65, support vectors 0.64 / 0.60,
nearest neighbours 0.64 / 0.69, logistic regression 0.64 / 0.63, naive Bayes 0.65 / 0.54, decision tree 0.60 / 0.54.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from stimset.learning.estimator import Floats, OnProgress, SoftLabelEstimator, Values
from stimset.learning.features import LIMIT, describe

Answers = Literal["shares", "logits", "chances"]

LEAST_SHARE = 1e-4  # a regressed probability is never taken as impossible
LEAST_CHANCE = 1e-2  # before the logarithm: a belief of 0.9999 says hardly more than one of 0.99
LEAST_SPREAD = 1e-4  # a direction that varies less than this share of the widest is none
_LEAST_WEIGHT = 1e-6  # so that a classifier knows every class, even one that no stimulus believes in


class FeatureEstimator(SoftLabelEstimator):
    """Describe windows by features, standardise these, and let scikit-learn models learn.

    Attributes:
        answers: what `models_` give: ``shares`` (clipped and normalised), ``logits`` (softmax) or ``chances`` (as they
            are).
        models_: one model with all classes as outputs, or one model per class.
        mean_, scale_: ``(features,)`` of the standardisation.
        limit_: standardised features are held within +- this; None holds nothing.
        axes_: ``(features, components)`` onto which they are then projected; None leaves them.
    """

    answers: ClassVar[Answers] = "shares"

    features: str
    max_samples: int | None
    models_: list[Any]
    mean_: Floats
    scale_: Floats
    limit_: float | None
    axes_: Floats | None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # scikit-learn's own check learns tables of two columns, which have no spectrum.
        tags.classifier_tags.poor_score = self.features != "samples"
        return tags

    def _learn(
        self, values: Values, chances: Floats, held: tuple[Values, Floats] | None, on_progress: OnProgress
    ) -> None:
        if self.max_samples and len(values) > self.max_samples:
            rows = np.random.default_rng(self.seed).choice(len(values), self.max_samples, replace=False)
            values, chances = values[rows], chances[rows]
        described = self._describe(values)
        on_progress(0.1)
        self.mean_ = described.mean(axis=0)
        deviation = described.std(axis=0)
        self.scale_ = np.where(deviation > 1e-9, deviation, 1.0)
        self.limit_ = None if self.features == "samples" else LIMIT
        self.axes_ = None
        self.axes_ = self._axes(self._standardised(described))
        self.models_ = self._models(self._standardised(described), chances)
        on_progress(1.0)

    def _answer(self, values: Values) -> Floats:
        described = self._standardised(self._describe(values))
        if self.answers == "chances":
            certain: Floats = self.models_[0].predict_proba(described).astype(np.float64)
            return certain
        outputs = np.concatenate([m.predict(described).reshape(len(values), -1) for m in self.models_], axis=1)
        return finished(outputs, self.answers)

    def _describe(self, values: Values) -> Floats:
        """``(n, features)`` of windows, before standardisation."""
        return describe(values, self.features)

    def _standardised(self, described: Floats) -> NDArray[np.float32]:
        scaled = (described - self.mean_) / self.scale_
        if self.limit_ is not None:
            scaled = np.clip(scaled, -self.limit_, self.limit_)
        if self.axes_ is not None:
            scaled = scaled @ self.axes_
        return scaled.astype(np.float32)

    def _axes(self, features: NDArray[np.float32]) -> Floats | None:
        """Onto what the standardised features ``(n, features)`` are projected; None leaves them as they are."""
        return None

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        """Fitted models of ``(n, features)`` and ``(n, classes)``."""
        raise NotImplementedError


def finished(outputs: Floats, answers: Answers) -> Floats:
    """Probabilities from what models gave, both ``(n, classes)``."""
    raised = np.clip(outputs, LEAST_SHARE, 1.0)
    if answers == "logits":
        raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities: Floats = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


def fading(distances: Floats) -> Floats:
    """Weights of the nearest neighbours that fall to nothing at the farthest of them (Epanechnikov's kernel).

    The answer is then continuous in the window: which of two equally far windows counts as the last neighbour does not
        matter.
    """
    squared = np.square(distances)
    weights: Floats = np.maximum(1 - squared / (squared.max(axis=1, keepdims=True) + 1e-9), 0.0) + 1e-9
    return weights


def log_chances(chances: Floats) -> Floats:
    """Log-probabilities, floored at `LEAST_CHANCE` and centred over the classes."""
    logs = np.log(np.maximum(chances, LEAST_CHANCE))
    centred: Floats = logs - logs.mean(axis=1, keepdims=True)
    return centred


def fit_weighted(model: Any, features: NDArray[np.float32], chances: Floats) -> Any:
    """Fit a classifier on each window once per class, weighted by the class's probability."""
    classes = chances.shape[1]
    weights = np.maximum(chances.T.ravel(), _LEAST_WEIGHT)
    return model.fit(
        np.tile(features, (classes, 1)), np.repeat(np.arange(classes), len(features)), sample_weight=weights
    )


class RandomForest(FeatureEstimator):
    """A random forest (Breiman 2001) that regresses the class probabilities."""

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = None,
        trees: int = 150,
        min_leaf: int = 3,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.trees = trees
        self.min_leaf = min_leaf

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        forest = RandomForestRegressor(
            self.trees, min_samples_leaf=self.min_leaf, max_features="sqrt", random_state=self.seed
        )
        return [forest.fit(features, chances)]


class ExtraTrees(RandomForest):
    """Extremely randomised trees (Geurts et al. 2006) that regress the class probabilities."""

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        forest = ExtraTreesRegressor(
            self.trees, min_samples_leaf=self.min_leaf, max_features="sqrt", random_state=self.seed
        )
        return [forest.fit(features, chances)]


class DecisionTree(FeatureEstimator):
    """One regression tree of the class probabilities: the family that a person can read."""

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = None,
        min_leaf: int = 30,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.min_leaf = min_leaf

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        return [DecisionTreeRegressor(min_samples_leaf=self.min_leaf, random_state=self.seed).fit(features, chances)]


class GradientBoosting(FeatureEstimator):
    """Histogram gradient boosting, one regression of the probability per class."""

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = None,
        rounds: int = 120,
        learning_rate: float = 0.08,
        leaves: int = 15,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        return [
            HistGradientBoostingRegressor(
                max_iter=self.rounds,
                learning_rate=self.learning_rate,
                max_leaf_nodes=self.leaves,
                early_stopping=False,
                random_state=self.seed,
            ).fit(features, chance)
            for chance in chances.T
        ]


class NearestNeighbours(FeatureEstimator):
    """The mean belief of the nearest stimuli, with weights that fade with distance."""

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = 8000,
        neighbours: int = 50,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.neighbours = neighbours

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        count = min(self.neighbours, len(features))
        return [KNeighborsRegressor(count, weights=fading, algorithm="brute").fit(features, chances)]


class SupportVectors(FeatureEstimator):
    """Support vector regression of the log-probabilities with a Gaussian kernel, one per class."""

    answers: ClassVar[Answers] = "logits"

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = 6000,
        cost: float = 0.3,
        tolerance: float = 0.1,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.cost = cost
        self.tolerance = tolerance

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        return [SVR(C=self.cost, epsilon=self.tolerance).fit(features, logs) for logs in log_chances(chances).T]


class Logistic(FeatureEstimator):
    """Multinomial logistic regression, fitted to the probabilities by weights."""

    answers: ClassVar[Answers] = "chances"

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = None,
        cost: float = 0.01,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.cost = cost

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        return [fit_weighted(LogisticRegression(C=self.cost, max_iter=500), features, chances)]


class NaiveBayes(FeatureEstimator):
    """Gaussian naive Bayes on principal components, fitted to the probabilities by weights; its own probabilities are
    far too certain.

    It takes features to be independent, and counts what twenty lags of an autocorrelation say twenty times; where stimuli
    and recordings differ in one of them, they differ in all. So it sees the first principal components, brought to the
    same variance, and the variances are raised by 0.3 of the largest: stimuli vary less than recordings in some
    directions, which would then decide alone. Apnea-ECG, persons kept apart, mean of six splits, true windows and labels
    / stimuli: 0.525 / 0.449 on the features as they are, 0.544 / 0.595, 0.548 / 0.612, 0.552 / 0.595 and 0.567 / 0.597 on
    8, 10, 12 and 16 components.

    Attributes:
        components: at most so many.
    """

    answers: ClassVar[Answers] = "chances"

    def __init__(
        self,
        classes: int | None = None,
        seed: int = 0,
        features: str = "spectral",
        max_samples: int | None = None,
        components: int = 10,
    ) -> None:
        self.classes = classes
        self.seed = seed
        self.features = features
        self.max_samples = max_samples
        self.components = components

    def _models(self, features: NDArray[np.float32], chances: Floats) -> list[Any]:
        return [fit_weighted(GaussianNB(var_smoothing=0.3), features, chances)]

    def _axes(self, features: NDArray[np.float32]) -> Floats:
        centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
        _, spread, directions = np.linalg.svd(centred, full_matrices=False)
        # What hardly varies at all would be brought to the others' variance out of rounding errors.
        kept = max(1, min(self.components, int((spread > LEAST_SPREAD * spread[0]).sum())))
        deviation = np.maximum(spread[:kept] / np.sqrt(len(features)), 1e-9)
        axes: Floats = directions[:kept].T / deviation
        return axes
