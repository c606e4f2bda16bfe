"""A trained network with everything needed to rebuild it: weights as safetensors, the rest as JSON. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import nn

from stimset.errors import ConfigError, FormatError
from stimset.learning.networks import build_network
from stimset.learning.training import predict
from stimset.windows import WindowSpec


@dataclass(frozen=True)
class TrainedNetwork:
    """A network, how it was built, and what is worth knowing about its training.

    Attributes:
        network: in evaluation mode.
        architecture: its name in `stimset.learning.networks`.
        spec: the windows that it takes.
        outputs: how many classes (or persons) it tells apart.
        facts: plain JSON values: plan, seed, validation score ...
    """

    network: nn.Module
    architecture: str
    spec: WindowSpec
    outputs: int
    facts: Mapping[str, Any]

    def predict(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities ``(n, outputs)`` for windows ``(n, channels, samples)``."""
        return predict(self.network, values)

    def weights(self) -> bytes:
        """The weights as safetensors bytes; equal weights give equal bytes."""
        return save({k: v.contiguous().cpu() for k, v in sorted(self.network.state_dict().items())})

    def digest(self) -> str:
        """SHA-256 (hex) over the weights."""
        return hashlib.sha256(self.weights()).hexdigest()

    def save(self, folder: Path, name: str) -> None:
        """Write ``NAME.safetensors`` and ``NAME.json``; the latter last, so that it vouches for the former."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / f"{name}.safetensors").write_bytes(self.weights())
        document = {
            "architecture": self.architecture, "windowSpec": self.spec.to_document(), "outputs": self.outputs,
            "facts": dict(self.facts), "sha256": self.digest(),
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(document, indent=1, allow_nan=False))

    @classmethod
    def load(cls, folder: Path, name: str) -> TrainedNetwork:
        """Rebuild what `save` wrote.

        Raises:
            ConfigError: there is no such checkpoint.
            FormatError: its weights are not those that were saved.
        """
        try:
            document = json.loads((folder / f"{name}.json").read_text())
            weights = (folder / f"{name}.safetensors").read_bytes()
        except (OSError, ValueError):
            raise ConfigError(f"{folder} holds no trained '{name}'; run 'custodian train' first") from None
        if hashlib.sha256(weights).hexdigest() != document["sha256"]:
            raise FormatError(f"{folder / name}.safetensors is not what was saved; run 'custodian train' again")
        spec = WindowSpec.from_document(document["windowSpec"])
        network = build_network(document["architecture"], spec.channels, spec.samples, document["outputs"], seed=0)
        network.load_state_dict(load(weights))
        network.eval()
        return cls(network, document["architecture"], spec, document["outputs"], document["facts"])
