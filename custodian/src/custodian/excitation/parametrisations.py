"""What the ascent steps: the samples of a stimulus themselves, or its Fourier coefficients.

The same gradient taken in other coordinates leads elsewhere: Adam makes steps of equal size in each coordinate, so that in scaled Fourier
coordinates a stimulus changes as smoothly as the scale says. A generator's weights, the third way, are `custodian.excitation.generator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from custodian.excitation.sections import Ascent


class Parametrisation(Protocol):
    """A change of coordinates that can be undone."""

    def encode(self, stimuli: Tensor) -> Tensor:
        """Coordinates ``(batch, ...)`` of stimuli ``(batch, channels, samples)``; a new tensor."""
        ...

    def decode(self, coordinates: Tensor) -> Tensor:
        """The stimuli ``(batch, channels, samples)``; differentiable."""
        ...


@dataclass(frozen=True)
class Time:
    """The samples themselves."""

    def encode(self, stimuli: Tensor) -> Tensor:
        """A copy."""
        return stimuli.clone()

    def decode(self, coordinates: Tensor) -> Tensor:
        """The same."""
        return coordinates


@dataclass(frozen=True)
class Fourier:
    """Fourier coefficients ``(batch, channels, frequencies, 2)``, each divided by ``frequency ** -decay``.

    Decorrelated coordinates with a power law are those of C. Olah, A. Mordvintsev, L. Schubert, "Feature Visualization", Distill 2017 (also
    in captum.optim); here in one dimension, per channel. Scales are normalised to a mean square of 1, so that a step of one size in all
    coordinates moves the samples by about as much as in time.

    Attributes:
        samples: of a stimulus.
        decay: exponent of the power law.
    """

    samples: int
    decay: float = 1.0

    def _scale(self, like: Tensor) -> Tensor:
        frequency = torch.arange(self.samples // 2 + 1, device=like.device, dtype=like.dtype).clamp_min(1)
        scale = frequency**-self.decay
        return (scale / scale.square().mean().sqrt())[:, None]

    def encode(self, stimuli: Tensor) -> Tensor:
        """Scaled coefficients, orthonormal."""
        return torch.view_as_real(torch.fft.rfft(stimuli, norm="ortho")) / self._scale(stimuli)

    def decode(self, coordinates: Tensor) -> Tensor:
        """The inverse, up to rounding."""
        coefficients = torch.view_as_complex((coordinates * self._scale(coordinates)).contiguous())
        stimuli: Tensor = torch.fft.irfft(coefficients, n=self.samples, norm="ortho")
        return stimuli


def parametrisation_of(ascent: Ascent, samples: int) -> Parametrisation:
    """What a recipe asks for."""
    return Fourier(samples, ascent.decay) if ascent.parametrisation == "fourier" else Time()
