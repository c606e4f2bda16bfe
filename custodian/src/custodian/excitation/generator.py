"""The published recipe, kept runnable as a baseline.

K. Nikolaidis, T. Plagemann, S. Kristiansen, V. Goebel, M. Kankanhalli, "Learning Realistic Patterns from (Visually) Unrealistic
Stimuli: Generalization and Data Anonymization", JAIR 72, 2021 (arXiv 2009.10007): a generator network maps normal noise to one
stimulus and is trained, one stimulus at a time, until the teacher is sure enough of a class drawn uniformly. Its weights are
carried over from stimulus to stimulus, and re-initialised after a failure. Ported to one dimension; multi-class as published.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from custodian.excitation.sections import Generator
from stimset.errors import ConfigError
from stimset.windows import WindowSpec

ATTEMPTS_PER_STIMULUS = 40


class StimulusGenerator(nn.Module):
    """Normal noise ``(1, latent)`` to one stimulus ``(1, channels, samples)`` within ``[-clip, clip]``."""

    def __init__(self, spec: WindowSpec, latent: int, width: int = 64) -> None:
        super().__init__()
        self.spec, self.width = spec, width
        self.short = -(-spec.samples // 8)
        self.dense = nn.Linear(latent, width * self.short)
        self.upsample = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(width, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(width, width // 2, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(width // 2, width // 2, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv1d(width // 2, spec.channels, 7, padding=3), nn.Tanh(),
        )  # fmt: skip

    def forward(self, noise: Tensor) -> Tensor:
        """One stimulus."""
        short = self.dense(noise).unflatten(1, (self.width, self.short))
        return self.spec.clip * self.upsample(short)[..., : self.spec.samples]  # type: ignore[no-any-return]


def generate(
    settings: Generator, spec: WindowSpec, teacher: nn.Module, count: int, rng: np.random.Generator, *, device: str = "cpu",
    on_stimulus: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:  # fmt: skip
    """``count`` stimuli ``(count, channels, samples)``, one after another as published.

    Raises:
        ConfigError: the teacher never became sure enough of any class.
    """
    made: list[NDArray[np.float32]] = []
    attempts = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        generator, optimiser = _fresh(settings, spec, device)
        while len(made) < count:
            attempts += 1
            if attempts > ATTEMPTS_PER_STIMULUS * (len(made) + 5):
                raise ConfigError(
                    f"the teacher accepted {len(made)} stimuli in {attempts} attempts; lower threshold_low in the recipe, "
                    "or use the recipe 'spectral'"
                )
            wanted = int(rng.integers(spec.classes))
            threshold = rng.uniform(settings.threshold_low, settings.threshold_high)
            noise = torch.randn(1, settings.latent).to(device)
            stimulus = _until_sure(generator, optimiser, teacher, noise, wanted, threshold, settings.steps)
            if stimulus is None:
                generator, optimiser = _fresh(settings, spec, device)
                continue
            made.append(stimulus)
            on_stimulus(len(made))
    return np.concatenate(made)


def _fresh(settings: Generator, spec: WindowSpec, device: str) -> tuple[StimulusGenerator, torch.optim.Optimizer]:
    generator = StimulusGenerator(spec, settings.latent).to(device)
    return generator, torch.optim.Adam(generator.parameters(), lr=settings.learning_rate)


def _until_sure(
    generator: nn.Module, optimiser: torch.optim.Optimizer, teacher: nn.Module, noise: Tensor, wanted: int, threshold: float,
    steps: int,
) -> NDArray[np.float32] | None:  # fmt: skip
    """The stimulus ``(1, channels, samples)`` once its class's probability exceeds the threshold; None after `steps` steps."""
    for _ in range(steps):
        stimulus = generator(noise)
        log_belief = torch.log_softmax(teacher(stimulus), dim=1)[0, wanted]
        if log_belief.exp().item() > threshold:
            return stimulus.detach().cpu().numpy()  # type: ignore[no-any-return]
        optimiser.zero_grad(set_to_none=True)
        (-log_belief).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return None
