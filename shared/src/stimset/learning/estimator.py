"""The contract of every family: scikit-learn's, for windows ``(n, channels, samples)`` and for soft labels.

Usage::

    student = build("random_forest", seed=1)
    student.fit(stimuli.values, stimuli.probabilities)      # or whole-number labels
    student.predict_proba(windows)                          # (n, classes)

Windows of one signal may come as ``(n, samples)`` too, and labels may be called anything, so that whatever takes a
scikit-learn classifier takes these: `clone`, pipelines, `GridSearchCV`, joblib.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from stimset.errors import DataInvalid

Floats = NDArray[np.float64]
Values = NDArray[np.float32]
Targets = NDArray[Any]
Validation = tuple[ArrayLike, ArrayLike]
OnProgress = Callable[[float], None]

_SUM_TOLERANCE = 1e-3


class SoftLabelEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model of windows that learns from class probabilities. Subclasses say how in `_learn` and `_answer`.

    As scikit-learn has it: ``__init__`` stores, `fit` validates and returns self, what was learned ends in ``_``, and
    ``clone`` works.

    Attributes:
        classes_: ``(classes,)`` the labels, in the order of all probabilities: 0, 1, ... where it learned from
            probabilities or `classes` was given, else the sorted labels that it met.
        shape_: ``(channels, samples)`` of a window.
        n_features_in_: the length of the second axis of what `fit` was given.
    """

    classes_: NDArray[Any]
    shape_: tuple[int, int]
    n_features_in_: int
    classes: int | None
    seed: int

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        validation: Validation | None = None,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Learn.

        Args:
            X: ``(n, channels, samples)``, or ``(n, samples)`` of one signal; finite.
            y: ``(n, classes)`` probabilities, or ``(n,)`` labels (whole numbers below `classes` where that is given).
            validation: more windows with their `y`, which choose when to stop; families without epochs ignore them.
            on_progress: is told the share of the work that is done, from 0 to 1.

        Raises:
            DataInvalid: shapes don't fit, or a value is not finite, or rows of `y` are no distributions.
            TypeError: `X` is sparse, or holds objects that are no numbers.
        """
        if y is None:
            raise DataInvalid(f"{type(self).__name__} requires y to be passed, but the target y is None")
        soft = _is_soft(y)
        try:
            given, targets = validate_data(
                self, X, y, dtype=np.float32, order="C", allow_nd=True, force_writeable=True, multi_output=soft,
                ensure_min_samples=2,
            )  # fmt: skip
            if not soft:
                check_classification_targets(targets)
        except ValueError as error:
            raise DataInvalid(_one_line(error)) from None
        values = _as_windows(given)
        self.classes_ = _classes_of(targets, self.classes, soft)
        chances = _chances(targets, self.classes_)
        self.shape_ = (values.shape[1], values.shape[2])
        held: tuple[Values, Floats] | None = None
        if validation is not None and len(np.asarray(validation[1])):
            held = self._checked(validation[0]), _chances(np.asarray(validation[1]), self.classes_)
        self._learn(values, chances, held, on_progress or _unwatched)
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Class probabilities ``(n, classes)`` of windows ``(n, channels, samples)``; rows sum to 1.

        Raises:
            DataInvalid: the windows have another shape than those it learned from.
        """
        check_is_fitted(self, "classes_")
        values = self._checked(X)
        return self._answer(values) if len(values) else np.empty((0, len(self.classes_)))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most probable class of each window."""
        places = self.predict_proba(X).argmax(axis=1)
        decided: NDArray[Any] = self.classes_[places]
        return decided

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """How well it answers, higher is better: accuracy against labels, minus the cross-entropy in nats against
        probabilities (so `GridSearchCV` may choose by soft labels)."""
        if not _is_soft(y):
            return float(super().score(X, y, sample_weight))
        surprise = (_chances(np.asarray(y), self.classes_) * np.log(np.maximum(self.predict_proba(X), 1e-12))).sum(axis=1)
        return float(np.average(surprise, weights=None if sample_weight is None else np.asarray(sample_weight)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _checked(self, X: ArrayLike) -> Values:
        """Windows of the shape that it learned from."""
        try:
            values = check_array(
                X, dtype=np.float32, order="C", allow_nd=True, force_writeable=True, ensure_min_samples=0, estimator=self,
                input_name="X",
            )  # fmt: skip
            validate_data(self, X, reset=False, skip_check_array=True)
        except ValueError as error:
            raise DataInvalid(f"{_one_line(error)} (windows of shape {self.shape_} are expected)") from None
        windows = _as_windows(values)
        if windows.shape[1:] != self.shape_:
            raise DataInvalid(f"prediction: windows of shape {self.shape_} are expected, got {windows.shape[1:]}")
        return windows

    def _learn(
        self, values: Values, chances: Floats, held: tuple[Values, Floats] | None, on_progress: OnProgress
    ) -> None:
        raise NotImplementedError

    def _answer(self, values: Values) -> Floats:
        raise NotImplementedError


def _unwatched(share: float) -> None:
    """An `OnProgress` for callers that don't watch."""


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())


def _is_soft(y: ArrayLike) -> bool:
    """Whether targets are probabilities: two axes, the second longer than one."""
    try:
        shape = np.asarray(y).shape
    except ValueError:  # rows of different lengths
        raise DataInvalid("targets must be labels (n,) or probabilities (n, classes), got rows of different lengths") from None
    return len(shape) == 2 and shape[1] > 1


def _as_windows(values: Values) -> Values:
    """``(n, channels, samples)``; of two axes the second is the samples of one channel."""
    windows: Values = values[:, None] if values.ndim == 2 else values
    if windows.ndim != 3 or not windows.shape[1]:
        raise DataInvalid(f"windows of shape (n, channels, samples) are expected, got shape {values.shape}")
    if windows.shape[2] < 2:
        raise DataInvalid(f"a window needs at least 2 samples, got {windows.shape[2]} feature(s)")
    return windows


def _classes_of(y: Targets, classes: int | None, soft: bool) -> NDArray[Any]:
    """The labels in the order of the probabilities.

    Raises:
        DataInvalid: not `classes` many, or fewer than two.
    """
    if soft:
        if classes and y.shape[1] != classes:
            raise DataInvalid(f"targets must be labels (n,) or probabilities (n, {classes}), got shape {y.shape}")
        return np.arange(y.shape[1])
    if classes:
        if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= classes:
            raise DataInvalid(f"labels must be whole numbers from 0 to {classes - 1}")
        return np.arange(classes)
    found: NDArray[Any] = np.unique(y)
    if len(found) < 2:
        raise DataInvalid("training: all windows have the same label; at least 2 classes are needed, got 1 class")
    return found


def _chances(y: Targets, known: NDArray[Any]) -> Floats:
    """Targets as float64 probabilities ``(n, classes)``; labels become one-hot rows.

    Raises:
        DataInvalid: a label is not in `known`, or a row is no distribution over as many classes.
    """
    if not _is_soft(y):
        labels = y.reshape(-1)
        place = np.searchsorted(known, labels).clip(max=len(known) - 1)
        if (known[place] != labels).any():
            raise DataInvalid(f"a label is none of the {len(known)} classes that are known")
        one_hot: Floats = np.eye(len(known))[place]
        return one_hot
    if y.shape[1] != len(known) or y.dtype.kind not in "fiub":
        raise DataInvalid(f"targets must be probabilities (n, {len(known)}), got shape {y.shape}")
    chances = y.astype(np.float64)
    sums = chances.sum(axis=1)
    if not np.isfinite(chances).all() or chances.min() < -1e-6 or np.abs(sums - 1).max() > _SUM_TOLERANCE:
        raise DataInvalid("targets: a row of probabilities is negative, not finite, or does not sum to 1")
    chances = np.clip(chances, 0.0, None)
    normalised: Floats = chances / chances.sum(axis=1, keepdims=True)
    return normalised
