"""The ascent, learned: one network makes the change of a hundred gradient steps in a single pass.

The ascent asks every network forward and back for every step of every stimulus. An editor is trained once per set, on fresh draws of the
prior and towards the very objective that the ascent climbs, and then only looks at each draw once. Amortised optimisation (B. Amos,
"Tutorial on amortized optimization", 2023, arXiv 2202.00665); feed-forward style transfer (J. Johnson et al., ECCV 2016) did so to texture
synthesis by gradient descent. What is gained is speed; a stimulus's cost ends higher than after the steps that it stands in for, and a
few steps of ascent may follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from custodian.device import one_thread
from custodian.excitation.objectives import Responses
from custodian.excitation.priors import Draws, Prior
from custodian.excitation.shard import Excitation
from custodian.excitation.taps import tapped
from stimset.errors import ConfigError
from stimset.learning.training import predict
from stimset.windows import WindowSpec

EDITOR_STREAM = 2**31 + 16
"""Of randomness: no shard's number, and none of the streams of `custodian.excitation.assembly`, reaches it."""

BATCH = 64
LEARNING_RATE = 6e-3
WIDTH = 24
KERNEL = 9
EDITOR_FILE = "editor.safetensors"

OnStep = Callable[[int, str], None]


class Editor(nn.Module):
    """Stimuli ``(batch, channels, samples)`` to edited ones within ``[-clip, clip]``: a residual of strided and dilated convolutions."""

    def __init__(self, spec: WindowSpec) -> None:
        super().__init__()
        self.clip = spec.clip
        same = partial(nn.Conv1d, WIDTH, WIDTH, KERNEL)
        self.body = nn.Sequential(
            nn.Conv1d(spec.channels, WIDTH, KERNEL, 2, padding=KERNEL // 2), nn.ReLU(),
            same(padding=KERNEL // 2), nn.ReLU(),
            same(padding=KERNEL - 1, dilation=2), nn.ReLU(),
            nn.ConvTranspose1d(WIDTH, spec.channels, 4, 2, 1),
        )  # fmt: skip

    def forward(self, start: Tensor) -> Tensor:
        """The edited stimuli."""
        samples = start.shape[-1]
        change = self.body(nn.functional.pad(start, (0, samples % 2)))[..., :samples]
        return (start + change).clamp(-self.clip, self.clip)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class EditedPrior:
    """Another prior's draws, edited."""

    inner: Prior
    editor: Editor
    batch: int
    device: str

    @property
    def spec(self) -> WindowSpec:
        """The inner prior's."""
        return self.inner.spec

    @property
    def aggregates(self) -> Sequence[Mapping[str, Any]]:
        """The inner prior's: an editor learns from the prior's draws and from networks, never from a window."""
        return self.inner.aggregates

    @torch.no_grad()
    def sample(self, count: int, rng: np.random.Generator) -> Draws:
        """Draws of the inner prior, `batch` edited at once."""
        values, classes = self.inner.sample(count, rng)
        parts = [
            self.editor(torch.from_numpy(values[i : i + self.batch]).to(self.device)).cpu()
            for i in range(0, count, self.batch)
        ]
        return torch.cat(parts).numpy(), classes


def train_editor(job: Excitation, steps: int, *, on_step: OnStep = lambda step, note: None) -> Editor:
    """An editor for the job's prior, objective and networks; the same job gives the same editor on the same kind of device.

    Args:
        job: what the ascent would do.
        steps: of training, on `BATCH` fresh draws each (on one group, where the objective couples its stimuli).
        on_step: told after each.

    Raises:
        ConfigError: the job has no prior whose draws could be edited.
    """
    recipe, rng, prior = job.recipe, np.random.default_rng([job.seed, EDITOR_STREAM]), job.prior
    if prior is None:
        raise ConfigError(f"recipe '{recipe.name}' has no prior whose draws could be edited")
    size = recipe.ascent.group if recipe.couples else BATCH
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        editor = Editor(job.spec).to(job.device)
    optimiser = torch.optim.Adam(editor.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    with one_thread(), tapped(job.teacher, job.objective.taps) as seen:
        for step in range(steps):
            draws, _ = prior.sample(size, rng)
            belief = predict(job.teacher, draws).astype(np.float32)
            start, wanted = (torch.from_numpy(a).to(job.device) for a in (draws, belief))
            stimuli = editor(start)
            identity, references = (
                tuple(network(stimuli) for network in networks) for networks in (job.identity, job.references)
            )
            cost, _ = job.objective(Responses(stimuli, start, wanted, job.teacher(stimuli), identity, references, seen))
            optimiser.zero_grad(set_to_none=True)
            cost.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            on_step(step + 1, f"editor: step {step + 1} of {steps}")
    return editor.eval().requires_grad_(False)


def kept_editor(job: Excitation, steps: int, folder: Path, *, on_step: OnStep = lambda step, note: None) -> bytes:
    """The weights of the set's editor as safetensors bytes: those of `folder`, or of a new one that is then kept there."""
    file = folder / EDITOR_FILE
    if file.is_file():
        return file.read_bytes()
    editor = train_editor(job, steps, on_step=on_step)
    data: bytes = save({name: weight.contiguous().cpu() for name, weight in sorted(editor.state_dict().items())})
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial_file = folder / f".{EDITOR_FILE}"
    partial_file.write_bytes(data)
    partial_file.replace(file)
    return data


def edited(prior: Prior, weights: bytes, batch: int, device: str) -> EditedPrior:
    """The prior with the editor of these weights behind it."""
    editor = Editor(prior.spec)
    editor.load_state_dict(load(weights))
    return EditedPrior(prior, editor.eval().requires_grad_(False).to(device), batch, device)
