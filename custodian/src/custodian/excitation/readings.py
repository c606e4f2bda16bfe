"""What an excitation reads of patients besides its prior: few averages over many persons, each declared for the provenance.

Averages go through the recipe's reader (`custodian.excitation.aggregates`), which bounds each person's part and adds the recipe's noise.
Two things do not, and say so in the provenance: the running statistics that the teacher's training left, and the aim of inhibition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from custodian.excitation.aggregates import Floats, Reader
from custodian.excitation.objectives.signals import lagged_gram
from custodian.excitation.taps import Tap, batch_norm_moments, look
from stimset.learning.training import predict
from stimset.windows import Windows

Entry = Mapping[str, Any]
Moments = dict[Tap, tuple[Tensor, Tensor]]

LAYERS, TEXTURE, CERTAINTY = "layers", "texture", "certainty"
"""Names of what is read, among a reader's `kept`."""

GRID = 48
"""Cells of the histogram in which the teacher's certainty is read, between an even guess and `SUREST`."""
SUREST = 0.9999


def running_moments(teacher: nn.Module) -> tuple[Moments, Entry]:
    """The running statistics that the teacher's BatchNorm layers kept; nothing is read anew.

    Raises:
        ConfigError: it has none.
    """
    moments = batch_norm_moments(teacher)
    numbers = sum(mean.numel() + variance.numel() for mean, variance in moments.values())
    return moments, _entry("running statistics of the teacher's BatchNorm layers", numbers, "that of the teacher's training")


def declared_shares(persons: NDArray[np.float32]) -> Entry:
    """The aim of inhibition toward the base rate, as an aggregate."""
    return _entry("each training person's share of each class, toward which identity networks are driven", persons.size, "none")


def layer_moments(
    reader: Reader, teacher: nn.Module, windows: Windows, layers: Sequence[str], draws: NDArray[np.float32]
) -> Moments:
    """Mean and variance over windows and time of each feature (axis 1) of what leaves the named layers of the teacher.

    Args:
        reader: of the recipe.
        teacher: whose layers.
        windows: of the training persons.
        layers: by name.
        draws: stimuli ``(n, channels, samples)`` that tell nothing of patients beyond the prior: they set the scale of each layer, so that
            windows' features have a norm of about 1.

    Raises:
        ConfigError: the teacher has no such layer.
    """
    taps = [Tap(layer) for layer in layers]
    first = _means_and_squares(teacher, taps, draws)
    scales = [float(np.sqrt(squares.mean())) or 1.0 for _, squares in first]
    size = float(np.sqrt(sum(2 * mean.shape[1] for mean, _ in first)))

    def features(rows: NDArray[np.int64]) -> Floats:
        found = _means_and_squares(teacher, taps, windows.values[rows])
        return np.hstack([np.hstack([m / s, q / s**2]) / size for (m, q), s in zip(found, scales, strict=True)])

    everybody = np.zeros(len(windows), np.int64)
    words = f"mean and variance of the teacher's layers {', '.join(layers)}"
    flat = reader.read(LAYERS, windows.person, everybody, 1, features, words=words).mean[0] * size
    moments: Moments = {}
    for tap, (mean, _), scale in zip(taps, first, scales, strict=True):
        n = mean.shape[1]
        means, squares, flat = flat[:n] * scale, flat[n : 2 * n] * scale**2, flat[2 * n :]
        variance = np.maximum(squares - means**2, 0)
        moments[tap] = (torch.from_numpy(means).float(), torch.from_numpy(variance).float())
    return moments


def lagged_grams(reader: Reader, windows: Windows, lags: int) -> NDArray[np.float32]:
    """``(classes, channels, channels, lags + 1)``: each class's mean lagged Gram (`custodian.excitation.objectives.match_texture`)."""
    spec = windows.spec
    shape = (spec.channels, spec.channels, min(lags, spec.samples - 1) + 1)
    size = float(np.sqrt(np.prod(shape)))  # of the Gram of one constant wave of energy 1 in all channels

    def features(rows: NDArray[np.int64]) -> Floats:
        grams = lagged_gram(torch.from_numpy(windows.values[rows]), shape[-1] - 1)
        return grams.flatten(1).double().numpy() / size

    words = "channel Gram and autocorrelation of each class, share of each"
    means = reader.read(TEXTURE, windows.person, windows.labels, spec.classes, features, words=words)
    return (means.mean * size).reshape(spec.classes, *shape).astype(np.float32)


def certainty_quantiles(reader: Reader, teacher: nn.Module, windows: Windows, bins: int) -> tuple[Floats, Floats]:
    """How often the teacher thinks each class the likeliest, and how sure it then is.

    Returns:
        Shares ``(classes,)``, which sum to 1, and inner edges ``(classes, bins - 1)`` of bins of its certainty that hold equally many
        windows, each person counting alike; a class that is never the likeliest has a share of 0. Read from histograms: an edge is as exact
        as a cell is wide.
    """
    belief = predict(teacher, windows.values)
    grid = certainty_grid(windows.spec.classes)
    cell = np.clip(np.searchsorted(grid, belief.max(1), side="right") - 1, 0, GRID - 1)
    likeliest = belief.argmax(1).astype(np.int64)
    words = "histograms of the teacher's certainty on the validation persons, per class"
    means = reader.read(
        CERTAINTY, windows.person, likeliest, windows.spec.classes, lambda rows: np.eye(GRID)[cell[rows]], words=words
    )
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    edges = []
    for histogram in np.maximum(means.mean, 0) + 1e-9:  # noise may have left the positive; the rest keeps it rising
        reached = np.append(0, np.cumsum(histogram) / histogram.sum())
        edges.append(np.interp(inner, reached, grid))
    return means.share, np.stack(edges)


def certainty_grid(classes: int) -> Floats:
    """``(GRID + 1,)`` probabilities, evenly spaced in log odds, from an even guess to `SUREST`; the last cell is open."""
    low, high = (np.log(p / (1 - p)) for p in (1 / classes, SUREST))
    grid = 1 / (1 + np.exp(-np.linspace(low, high, GRID + 1)))
    grid[-1] = 1.0
    return np.asarray(grid)


def _means_and_squares(teacher: nn.Module, taps: list[Tap], values: NDArray[np.float32]) -> list[tuple[Floats, Floats]]:
    """Per tap and window, the mean and the mean square over time of each feature, ``(n, features)`` both."""
    parts: list[list[tuple[Floats, Floats]]] = []
    for found in look(teacher, taps, values):
        flat = [x.double().flatten(2) if x.dim() > 2 else x.double().unsqueeze(2) for x in found]
        parts.append([(x.mean(2).cpu().numpy(), x.square().mean(2).cpu().numpy()) for x in flat])
    return [(np.concatenate([p[i][0] for p in parts]), np.concatenate([p[i][1] for p in parts])) for i in range(len(taps))]


def _entry(name: str, numbers: int, bound: str) -> Entry:
    return {"name": name, "numbers": numbers, "bound": bound, "epsilon": None, "delta": None}
