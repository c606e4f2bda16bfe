"""The networks, by name. Each maps windows ``(batch, channels, samples)`` to logits ``(batch, classes)`` for any length and any
number of channels; teachers, identity networks, attackers and students are all built here.

Usage::

    network = build_network("cnn", channels=1, samples=150, classes=2, seed=0)
    network(torch.zeros(8, 1, 150)).shape    # (8, 2)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stimset.errors import ConfigError

MAX_MEMBERS = 16
GROUP_NORM = "-gn"
"""What ends the name of a network without batch normalisation: ``cnn-gn``."""

Builder = Callable[[int, int, int], nn.Module]


class ConvNet(nn.Module):
    """Convolutions with batch normalisation, averaged over time.

    Attributes:
        blocks: each halves time while that leaves enough of it; the activations that excitation can look at.
    """

    def __init__(self, channels: int, samples: int, classes: int, widths: tuple[int, ...] = (24, 48, 64), dropout: float = 0.2) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before, length = channels, samples
        for i, width in enumerate(widths):
            kernel = 7 if i == 0 else 5
            pool: nn.Module = nn.MaxPool1d(2) if length >= 8 else nn.Identity()
            length = length // 2 if length >= 8 else length
            blocks.append(
                nn.Sequential(
                    nn.Conv1d(before, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm1d(width), nn.ReLU(), pool
                )
            )
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * before, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        features = self.blocks(windows)
        return self.head(torch.cat([features.mean(-1), features.amax(-1)], dim=1))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    def __init__(self, before: int, width: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(before, width, 5, stride, padding=2 * dilation, dilation=dilation, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False), nn.BatchNorm1d(width),
        )  # fmt: skip
        same = before == width and stride == 1
        self.skip: nn.Module = nn.Identity() if same else nn.Conv1d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.skip(x))


class ResidualNet(nn.Module):
    """A residual network (He et al. 2016) in one dimension: a deeper student than `ConvNet`."""

    def __init__(self, channels: int, samples: int, classes: int, widths: tuple[int, ...] = (24, 32, 48, 64), dropout: float = 0.2) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = channels
        for i, width in enumerate(widths):
            blocks.append(_Residual(before, width, stride=2 if samples >> i >= 8 else 1))
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(before, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        return self.head(self.blocks(windows).mean(-1))  # type: ignore[no-any-return]


class TemporalConvNet(nn.Module):
    """Dilated convolutions without pooling (Bai et al. 2018): a receptive field that doubles with each layer."""

    def __init__(self, channels: int, samples: int, classes: int, width: int = 32, depth: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        stride = max(1, samples // 128)
        self.stem = nn.Conv1d(channels, width, 2 * stride + 1, stride, padding=stride)
        self.blocks = nn.Sequential(*(_Residual(width, width, 1, dilation=2**i) for i in range(depth)))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        return self.head(self.blocks(self.stem(windows)).mean(-1))  # type: ignore[no-any-return]


def _patches(windows: Tensor, length: int) -> Tensor:
    """``(batch, channels, samples)`` cut into ``(batch, samples / length, channels * length)``."""
    return windows.unfold(2, length, length).permute(0, 2, 1, 3).flatten(2)


class RecurrentNet(nn.Module):
    """A bidirectional LSTM or GRU over patches of the window, averaged over time.

    Patches (at most `steps` of them) keep long windows affordable: the recurrent cell is stepped once per patch.
    """

    def __init__(
        self, channels: int, samples: int, classes: int, cell: str = "lstm", width: int = 48, steps: int = 75, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.patch = max(1, math.ceil(samples / steps))
        self.padding = -samples % self.patch
        self.embed = nn.Linear(channels * self.patch, width)
        recurrent = nn.LSTM if cell == "lstm" else nn.GRU
        self.recurrent = recurrent(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * width, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        patches = _patches(nn.functional.pad(windows, (0, self.padding)), self.patch)
        outputs, _ = self.recurrent(torch.tanh(self.embed(patches)))
        return self.head(torch.cat([outputs.mean(1), outputs.amax(1)], dim=1))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A small transformer encoder with learned positions (Vaswani et al. 2017) behind two convolutions.

    Cut straight into patches, a few thousand windows teach it little (agreement with the teacher 0.67 on five minutes of RR intervals, 0.91
    so): early convolutions help transformers see (T. Xiao et al., NeurIPS 2021).
    """

    def __init__(
        self, channels: int, samples: int, classes: int, width: int = 48, depth: int = 2, steps: int = 50, dropout: float = 0.1
    ) -> None:
        super().__init__()
        stride = max(1, math.ceil(samples / steps))
        self.stem = nn.Sequential(
            nn.Conv1d(channels, width, 9, padding=4), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, width, 2 * stride + 1, stride, padding=stride), nn.BatchNorm1d(width), nn.ReLU(),
        )  # fmt: skip
        self.position = nn.Parameter(0.02 * torch.randn((samples - 1) // stride + 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        steps = self.stem(windows).transpose(1, 2)
        return self.head(self.encoder(steps + self.position).mean(1))  # type: ignore[no-any-return]


class Perceptron(nn.Module):
    """A plain multi-layer perceptron on the samples: the student that knows nothing of time."""

    def __init__(self, channels: int, samples: int, classes: int, widths: tuple[int, ...] = (256, 128), dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        before = channels * samples
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
            before = width
        self.layers = nn.Sequential(*layers, nn.Linear(before, classes))

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        return self.layers(windows)  # type: ignore[no-any-return]


class SpectralPerceptron(nn.Module):
    """A perceptron on what spectral students look at: level, energy, and log power in bands that widen with frequency, per channel.

    It is differentiable in the window, so inhibition can work against attackers that look at spectra.
    """

    bands: Tensor

    def __init__(self, channels: int, samples: int, classes: int, bands: int = 24, width: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        frequencies = samples // 2 + 1
        edges = sorted({round(float(e)) for e in torch.logspace(0, math.log10(frequencies), min(bands, frequencies) + 1)})
        matrix = torch.zeros(frequencies, len(edges) - 1)
        for i, (low, high) in enumerate(itertools.pairwise(edges)):
            matrix[low:high, i] = 1 / (high - low)
        self.register_buffer("bands", matrix)
        inputs = channels * (matrix.shape[1] + 4)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(inputs), nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(width, classes),
        )  # fmt: skip

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``."""
        level = windows.mean(-1, keepdim=True)
        rest = windows - level
        spread = (rest.square().mean(-1, keepdim=True) + 1e-4).sqrt()
        unit = rest / spread
        power = torch.view_as_real(torch.fft.rfft(unit)).square().sum(-1) / windows.shape[-1]
        # A flat window (a lead that is off, a draw that hit the bounds) has no fourth moment.
        fourth = unit.pow(4).mean(-1, keepdim=True).clamp_min(1e-3)
        moments = [level, spread.log(), unit.pow(3).mean(-1, keepdim=True), fourth.log()]
        return self.layers(torch.cat([(power @ self.bands + 1e-3).log(), *moments], -1).flatten(1))  # type: ignore[no-any-return]


class Ensemble(nn.Module):
    """Several networks that answer together: the logarithm of their mean probabilities.

    Networks of unlike architectures break the dependence of stimuli on one of them (G-VBSM, Shao et al. 2024), and their mean belief is
    better than any single one's (Lakshminarayanan et al. 2017).
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits ``(batch, classes)``: their softmax is the mean of the members' probabilities."""
        answers = torch.stack([torch.log_softmax(member(windows), dim=1) for member in self.members])
        return torch.logsumexp(answers, dim=0) - math.log(len(self.members))


NETWORKS: dict[str, Builder] = {
    "cnn": ConvNet,
    "deep_cnn": ResidualNet,
    "tcn": TemporalConvNet,
    "lstm": lambda c, t, k: RecurrentNet(c, t, k, cell="lstm"),
    "gru": lambda c, t, k: RecurrentNet(c, t, k, cell="gru"),
    "transformer": Transformer,
    "mlp": Perceptron,
    "spectral_mlp": SpectralPerceptron,
}


def build_network(name: str, channels: int, samples: int, classes: int, *, seed: int) -> nn.Module:
    """A freshly initialised network; the same seed gives the same weights, and no global random state is touched.

    Args:
        name: one of `NETWORKS`, or several joined by ``+`` for an `Ensemble`, e.g. ``"cnn+tcn+gru"``; `GROUP_NORM` may end each.
        channels: of a window.
        samples: of a window.
        classes: outputs.
        seed: of the first weights; the i-th member of an ensemble takes ``seed + i``.

    Raises:
        ConfigError: there is no network of this name.
    """
    members = member_names(name)
    if len(members) > 1:
        return Ensemble([build_network(m, channels, samples, classes, seed=seed + i) for i, m in enumerate(members)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NETWORKS[name.removesuffix(GROUP_NORM)](channels, samples, classes)
    return group_normalised(network) if name.endswith(GROUP_NORM) else network


def group_normalised(network: nn.Module) -> nn.Module:
    """The network with a group normalisation (Wu and He 2018; one group) in the place of every batch normalisation.

    Each window is then answered by itself: what is learnt holds no statistics over windows, which no clipping of gradients would bound.
    """
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm1d):
            setattr(network, name, nn.GroupNorm(1, module.num_features))
        else:
            group_normalised(module)
    return network


def member_names(name: str) -> list[str]:
    """The networks of an ensemble's name, or the one network.

    Raises:
        ConfigError: one of them is unknown, or there are more than `MAX_MEMBERS`.
    """
    members = name.split("+")
    if unknown := [member for member in members if member.removesuffix(GROUP_NORM) not in NETWORKS]:
        raise ConfigError(f"there is no network '{unknown[0]}'; known are {', '.join(NETWORKS)}, or several joined by '+'")
    if len(members) > MAX_MEMBERS:
        raise ConfigError(f"an ensemble has at most {MAX_MEMBERS} members, not {len(members)}")
    return members
