"""What a GPU is good for beside being one: half the precision where it does no harm, and networks compiled into fewer kernels.

On the CPU nothing is changed: a set must come out the same, byte for byte, whoever makes a shard. On a GPU it never does (sums are taken in
another order on each model), so nothing is lost there. The stimuli themselves, the objective and Adam's moments stay in single precision;
convolutions and matrix products run in bfloat16, whose range is that of single precision, so that no gradient needs to be scaled
(P. Micikevicius et al., "Mixed Precision Training", ICLR 2018; `torch.amp`, `torch.compile`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Acceleration:
    """How the ascent asks its networks.

    Attributes:
        mixed: under autocast, in bfloat16.
        compiler: the backend of `torch.compile`, or None for networks as they are.
    """

    mixed: bool = False
    compiler: str | None = None

    @classmethod
    def of(cls, device: str) -> Acceleration:
        """All of it on a GPU, nothing elsewhere."""
        return cls(mixed=True, compiler="inductor") if device.startswith("cuda") else EXACT

    def compiled(self, networks: Iterable[nn.Module]) -> None:
        """Have frozen networks compiled, in place, at their first answer; one that can't be compiled answers as it is.

        Hooks on a network's layers need `compiler` None: a compiled network has no layers to speak of.
        """
        if self.compiler is None:
            return
        torch._dynamo.config.suppress_errors = True
        for network in networks:
            network.compile(backend=self.compiler)

    def ask(self, network: nn.Module, stimuli: Tensor) -> Tensor:
        """The network's logits of stimuli ``(batch, channels, samples)``, in single precision."""
        with torch.autocast(stimuli.device.type, torch.bfloat16, enabled=self.mixed):
            logits: Tensor = network(stimuli)
        return logits.float()


EXACT = Acceleration()
