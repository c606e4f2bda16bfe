"""A generator that an honest but careless custodian might build, and that the gate must refuse.

An autoencoder is trained on a few patients' windows until it knows them by heart. New samples are decoded from a little noise around
the codes of what it learned, and carry the labels of the windows behind them. Nobody copied anything on purpose: samples look new, have
the data's statistics, and teach well; yet each is a patient's window again.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from custodian.cohort import Cohort
from stimset.release import StimulusArrays


def overfitted_generator(
    cohort: Cohort,
    count: int,
    *,
    seed: int,
    persons: int = 4,
    windows: int = 400,
    codes: int = 48,
    steps: int = 1500,
    jitter: float = 0.1,
) -> StimulusArrays:
    """Stimuli of an autoencoder that memorised `windows` windows of `persons` training persons.

    Args:
        cohort: whose training persons it learns; they and their windows are drawn by `seed`.
        count: of the stimuli.
        seed: of everything random in it.
        persons, windows: how many it learns.
        codes: numbers in a code.
        steps: of Adam, on all windows at once.
        jitter: noise on a code, in standard deviations of the codes.
    """
    rng, torch_rng = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    few = rng.choice(cohort.training_person_indices, min(persons, cohort.training_persons), replace=False)
    learned = cohort.windows.of_persons(few)
    learned = learned.select(rng.permutation(len(learned))[:windows])
    x = torch.from_numpy(learned.values.reshape(len(learned), -1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(x.shape[1], 256), nn.GELU(), nn.Linear(256, codes))
        decoder = nn.Sequential(nn.Linear(codes, 256), nn.GELU(), nn.Linear(256, x.shape[1]))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.Adam(parameters, 2e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.mse_loss(decoder(encoder(x)), x).backward()
        optimiser.step()
    rows = torch.from_numpy(rng.integers(len(learned), size=count))
    with torch.no_grad():
        code = encoder(x)
        near = code[rows] + jitter * code.std(0) * torch.randn(count, codes, generator=torch_rng)
        values = decoder(near).numpy().reshape(count, *learned.spec.shape)
    sure = np.eye(learned.spec.classes, dtype=np.float32)[learned.labels[rows.numpy()]]
    values = np.clip(values, -learned.spec.clip, learned.spec.clip)
    return StimulusArrays(values, 0.9 * sure + 0.1 / learned.spec.classes)
