"""Drives on the stimulus as a signal; no network is asked. All of them take any number of channels."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from custodian.excitation.objectives.core import Drive, Objective, Responses

POWER_FLOOR = 3e-3
"""Under the logarithm of power, about a hundredth of what a smooth window has in its high bands."""

VARIANCE_FLOOR = 1e-2
"""Under that of variances: what students' features take for silence too."""

LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
"""In samples, at which autocorrelation is held."""


def stay_near(weight: float = 1.0) -> Objective:
    """Keep a stimulus near the prior's draw: what lies far from the data's statistics teaches unlike students nothing.

    Cost: mean squared distance to the start, in squared normalised units per sample.
    """
    return Objective((Drive("near", weight, lambda r: (r.stimuli - r.start).square().mean()),))


def keep_spectrum(weight: float, bands: int, of_class: NDArray[np.float32] | None = None, *, tapered: bool = True) -> Objective:
    """Keep a stimulus's spectrum while its phases are free: less than `stay_near` asks, and what spectral students look at.

    Cost: mean squared difference of log power over channels and bands, in squared nats; tapered, the same of the tapered window
    besides. Spectra instead of samples are how texture synthesis keeps what recurs and frees what doesn't (J. Portilla,
    E. P. Simoncelli, IJCV 2000). Without a taper the jump from a window's end to its beginning leaks into all high bands and hides
    what an ascent adds there (F. J. Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform",
    Proc. IEEE 66, 1978).

    Args:
        weight: of the drive.
        bands: see `log_band_power`.
        of_class: ``(classes, channels, bands)`` of `band_powers`: means per class, mixed by the wanted belief; None takes the stimulus's
            own start.
        tapered: whether the tapered window's power is kept too.
    """
    table = None if of_class is None else torch.from_numpy(of_class)

    def cost(r: Responses) -> Tensor:
        goal = band_powers(r.start, bands, tapered=tapered) if table is None else _mixed(r.wanted, table)
        # Of either view a mean of its own.
        return (band_powers(r.stimuli, bands, tapered=tapered) - goal).square().mean() * (1 + tapered)

    return Objective((Drive("spectrum", weight, cost),))


def band_powers(values: Tensor, bands: int, *, tapered: bool) -> Tensor:
    """`log_band_power`, and where asked for that of the tapered windows after it, along the last axis."""
    plain = log_band_power(values, bands)
    if not tapered:
        return plain
    taper = torch.hann_window(values.shape[-1] + 2, periodic=False, device=values.device, dtype=values.dtype)[1:-1]
    taper = taper / taper.square().mean().sqrt()
    return torch.cat([plain, log_band_power((values - values.mean(-1, keepdim=True)) * taper, bands)], -1)


def log_band_power(values: Tensor, bands: int) -> Tensor:
    """``(batch, channels, at most bands)``: log mean power in frequency bands that widen geometrically, the level left out."""
    power = torch.view_as_real(torch.fft.rfft(values, norm="ortho")).square().sum(-1)
    frequencies = power.shape[-1]
    edges = sorted({round(float(e)) for e in np.geomspace(1, frequencies, min(bands, frequencies) + 1)})
    return torch.stack([power[..., a:b].mean(-1) for a, b in itertools.pairwise(edges)], -1).add(POWER_FLOOR).log()


def keep_moments(weight: float = 1.0) -> Objective:
    """Keep what else unlike students look at: level, energy, roughness, skewness and kurtosis of each channel.

    Cost: mean squared difference of these five from the start's (`moments`). Marginal statistics beside spectra are the other half of how
    Portilla and Simoncelli (see `keep_spectrum`) describe a texture.
    """
    return Objective((Drive("moments", weight, lambda r: (moments(r.stimuli) - moments(r.start)).square().mean()),))


def keep_correlation(weight: float = 1.0) -> Objective:
    """Keep a stimulus's autocorrelation near its start's: bands of power leave room within them, and trees look at single lags.

    Cost: mean squared difference over channels and `LAGS` (`correlation`). An ascent may then be a little rougher as a whole
    (`keep_moments` says how much), but not differently so at one lag and at another.
    """
    return Objective((
        Drive("correlation", weight, lambda r: (correlation(r.stimuli) - correlation(r.start)).square().mean()),
    ))  # fmt: skip


def correlation(values: Tensor) -> Tensor:
    """``(batch, channels, lags)``: autocorrelation at those of `LAGS` that are shorter than half the window."""
    centred = values - values.mean(-1, keepdim=True)
    variance = centred.square().mean(-1) + VARIANCE_FLOOR
    samples = values.shape[-1]
    lags = [lag for lag in LAGS if 2 * lag <= samples]
    return torch.stack([(centred[..., lag:] * centred[..., :-lag]).sum(-1) / samples / variance for lag in lags], -1)


def moments(values: Tensor) -> Tensor:
    """``(batch, channels, 5)``: level, log variance, log mean square of the differences, skewness, half the kurtosis."""
    level = values.mean(-1, keepdim=True)
    centred = values - level
    variance = centred.square().mean(-1, keepdim=True) + VARIANCE_FLOOR
    unit = centred / variance.sqrt()
    rough = values.diff(dim=-1).square().mean(-1, keepdim=True) + VARIANCE_FLOOR
    skewness, kurtosis = (unit.pow(power).mean(-1, keepdim=True) for power in (3, 4))
    return torch.cat([level, variance.log(), rough.log(), skewness, kurtosis / 2], -1)


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
