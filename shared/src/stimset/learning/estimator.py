"""The contract of every family: scikit-learn's, for windows ``(n, channels, samples)`` and for soft labels.

Usage::

    student = build("random_forest", seed=1)
    student.fit(stimuli.values, stimuli.probabilities)      # or whole-number labels
    student.predict_proba(windows)                          # (n, classes)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from stimset.errors import FormatError

Floats = NDArray[np.float64]
Values = NDArray[np.float32]
Validation = tuple[ArrayLike, ArrayLike]
OnProgress = Callable[[float], None]

_SUM_TOLERANCE = 1e-3


class SoftLabelEstimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A model of windows that learns from class probabilities. Subclasses say how in `_learn` and `_answer`.

    As scikit-learn has it: ``__init__`` stores, `fit` validates and returns self, what was learned ends in ``_``, and
    ``clone`` works.

    Attributes:
        classes_: ``(classes,)`` 0, 1, ...: the order of all probabilities.
        shape_: ``(channels, samples)`` of a window.
    """

    classes_: NDArray[np.int64]
    shape_: tuple[int, int]
    classes: int | None
    seed: int

    def fit(
        self,
        X: ArrayLike,
        P: ArrayLike,
        validation: Validation | None = None,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Learn.

        Args:
            X: ``(n, channels, samples)``, finite.
            P: ``(n, classes)`` probabilities, or ``(n,)`` whole-number labels.
            validation: more windows with their `P`, which choose when to stop; families without epochs ignore them.
            on_progress: is told the share of the work that is done, from 0 to 1.

        Raises:
            FormatError: shapes don't fit, or a value is not finite, or rows of `P` are no distributions.
        """
        values, chances = checked_values(X), checked_targets(P, self.classes)
        if len(values) != len(chances) or len(values) < 2:
            raise FormatError(
                f"training: {len(values)} windows and {len(chances)} targets; equally many, 2 at least, are needed"
            )
        held: tuple[Values, Floats] | None = None
        if validation is not None and len(np.asarray(validation[1])):
            held = checked_values(validation[0]), checked_targets(validation[1], chances.shape[1])
        self.classes_ = np.arange(chances.shape[1])
        self.shape_ = (values.shape[1], values.shape[2])
        self._learn(values, chances, held, on_progress or _unwatched)
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Class probabilities ``(n, classes)`` of windows ``(n, channels, samples)``; rows sum to 1.

        Raises:
            FormatError: the windows have another shape than those it learned from.
        """
        check_is_fitted(self, "classes_")
        values = checked_values(X)
        if values.shape[1:] != self.shape_:
            raise FormatError(f"prediction: windows of shape {self.shape_} are expected, got {values.shape[1:]}")
        return self._answer(values) if len(values) else np.empty((0, len(self.classes_)))

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """The most probable class of each window."""
        decided: NDArray[np.int64] = self.predict_proba(X).argmax(axis=1)
        return decided

    def _learn(
        self, values: Values, chances: Floats, held: tuple[Values, Floats] | None, on_progress: OnProgress
    ) -> None:
        raise NotImplementedError

    def _answer(self, values: Values) -> Floats:
        raise NotImplementedError


def _unwatched(share: float) -> None:
    """An `OnProgress` for callers that don't watch."""


def checked_values(X: ArrayLike) -> Values:
    """Windows as contiguous float32 ``(n, channels, samples)``.

    Raises:
        FormatError: another number of axes, or a value that is not finite.
    """
    values = np.ascontiguousarray(np.asarray(X, dtype=np.float32))
    if values.ndim != 3 or min(values.shape[1:]) < 1:
        raise FormatError(f"windows of shape (n, channels, samples) are expected, got {values.shape}")
    if not np.isfinite(values).all():
        raise FormatError("windows: a value is not finite")
    return values


def checked_targets(P: ArrayLike, classes: int | None) -> Floats:
    """Targets as float64 probabilities ``(n, classes)``; whole-number labels become one-hot rows.

    Raises:
        FormatError: neither, or another number of classes than `classes`.
    """
    given: NDArray[Any] = np.asarray(P)
    if given.ndim == 1 and np.issubdtype(given.dtype, np.integer):
        count = classes or int(given.max(initial=0)) + 1
        if count < 2 or (given.size and not 0 <= given.min() <= given.max() < count):
            raise FormatError(f"labels must be whole numbers from 0 to {max(count, 2) - 1}, of 2 classes at least")
        one_hot: Floats = np.eye(count)[given]
        return one_hot
    chances = given.astype(np.float64) if given.ndim == 2 else np.empty((0, 0))
    if chances.shape[1] < 2 or (classes and chances.shape[1] != classes):
        raise FormatError(
            f"targets must be labels (n,) or probabilities (n, {classes or 'classes'}), got shape {given.shape}"
        )
    sums = chances.sum(axis=1)
    if (
        not np.isfinite(chances).all()
        or chances.min(initial=0) < -1e-6
        or np.abs(sums - 1).max(initial=0) > _SUM_TOLERANCE
    ):
        raise FormatError("targets: a row of probabilities is negative, not finite, or does not sum to 1")
    chances = np.clip(chances, 0.0, None)
    normalised: Floats = chances / chances.sum(axis=1, keepdims=True)
    return normalised
