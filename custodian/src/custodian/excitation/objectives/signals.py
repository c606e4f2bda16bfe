"""Drives on the stimulus as a signal; no network is asked. All of them take any number of channels."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from custodian.excitation.objectives.core import Drive, Objective, Responses


def stay_near(weight: float = 1.0) -> Objective:
    """Keep a stimulus near the prior's draw: what lies far from the data's statistics teaches unlike students nothing.

    Cost: mean squared distance to the start, in squared normalised units per sample.
    """
    return Objective((Drive("near", weight, lambda r: (r.stimuli - r.start).square().mean()),))


def keep_spectrum(weight: float, bands: int, of_class: NDArray[np.float32] | None = None) -> Objective:
    """Keep a stimulus's spectrum while its phases are free: less than `stay_near` asks, and what spectral students look at.

    Cost: mean squared difference of log power over channels and bands, in squared nats. Spectra instead of samples are how texture
    synthesis keeps what recurs and frees what doesn't (J. Portilla, E. P. Simoncelli, IJCV 2000).

    Args:
        weight: of the drive.
        bands: see `log_band_power`.
        of_class: ``(classes, channels, bands)``: mean log power per class, mixed by the wanted belief; None takes the stimulus's own start.
    """
    table = None if of_class is None else torch.from_numpy(of_class)

    def cost(r: Responses) -> Tensor:
        goal = log_band_power(r.start, bands) if table is None else _mixed(r.wanted, table)
        return (log_band_power(r.stimuli, bands) - goal).square().mean()

    return Objective((Drive("spectrum", weight, cost),))


def log_band_power(values: Tensor, bands: int) -> Tensor:
    """``(batch, channels, at most bands)``: log mean power in frequency bands that widen geometrically, the level left out."""
    power = torch.view_as_real(torch.fft.rfft(values, norm="ortho")).square().sum(-1)
    frequencies = power.shape[-1]
    edges = sorted({round(float(e)) for e in np.geomspace(1, frequencies, min(bands, frequencies) + 1)})
    return torch.stack([power[..., a:b].mean(-1) for a, b in itertools.pairwise(edges)], -1).add(1e-3).log()


def match_texture(weight: float, of_class: NDArray[np.float32]) -> Objective:
    """Drive each stimulus to its class's channel Gram and autocorrelation.

    Cost: mean over stimuli of the squared distance between lagged Grams, relative to the goal's own square. L. Gatys, A. Ecker, M. Bethge,
    "Texture Synthesis Using Convolutional Neural Networks", NeurIPS 2015, match Grams of features; here they are of the channels themselves
    and of their shifts, which for a time series are its auto- and cross-correlation.

    Args:
        weight: of the drive.
        of_class: ``(classes, channels, channels, lags + 1)`` (`custodian.excitation.readings.lagged_grams`), mixed by the wanted belief.
    """
    table = torch.from_numpy(of_class)

    def cost(r: Responses) -> Tensor:
        goal = _mixed(r.wanted, table)
        distance = (lagged_gram(r.stimuli, table.shape[-1] - 1) - goal).square().sum((1, 2, 3))
        return (distance / goal.square().sum((1, 2, 3)).clamp_min(1e-6)).mean()

    return Objective((Drive("texture", weight, cost),))


def lagged_gram(values: Tensor, lags: int) -> Tensor:
    """``(batch, channels, channels, lags + 1)``: mean of ``x_c(t) x_d(t + lag)`` around each channel's mean."""
    centred = values - values.mean(-1, keepdim=True)
    samples = centred.shape[-1]
    rows = [torch.einsum("bct,bdt->bcd", centred[..., : samples - lag], centred[..., lag:]) for lag in range(lags + 1)]
    return torch.stack(rows, -1) / samples


def stay_smooth(weight: float = 1.0) -> Objective:
    """Few changes from sample to sample.

    Cost: mean absolute difference of neighbouring samples: total variation, an image prior of A. Mahendran, A. Vedaldi, CVPR 2015, and of
    DeepInversion (Yin et al., CVPR 2020), in one dimension.
    """
    return Objective((Drive("variation", weight, lambda r: r.stimuli.diff(dim=-1).abs().mean()),))


def stay_small(weight: float = 1.0) -> Objective:
    """Small values. Cost: mean square, the other prior of Mahendran and Vedaldi, and of DeepInversion."""
    return Objective((Drive("energy", weight, lambda r: r.stimuli.square().mean()),))


def _mixed(wanted: Tensor, table: Tensor) -> Tensor:
    """``(batch, ...)``: the classes' rows of ``(classes, ...)``, mixed by the wanted belief ``(batch, classes)``."""
    mixed: Tensor = torch.tensordot(wanted, table.to(wanted), dims=1)
    return mixed
