"""Frozen networks, made cheaper without changing what they answer.

In evaluation mode a batch normalisation is an affine map with constant numbers; it is folded into the convolution before it, exactly but
for rounding. Excitation asks each network thousands of times, forward and back, so this is worth a copy.
"""

from __future__ import annotations

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A frozen copy of `network`, in evaluation mode, without those batch normalisations that follow a convolution in a sequence.

    An `nn.Identity` stands in the place of each, so that the layers keep their names.
    """
    made = copy.deepcopy(network).eval()
    for sequence in [module for module in made.modules() if isinstance(module, nn.Sequential)]:
        for i, (first, second) in enumerate(pairwise(sequence)):
            if isinstance(first, nn.Conv1d) and isinstance(second, nn.BatchNorm1d) and second.running_mean is not None:
                sequence[i], sequence[i + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return made.requires_grad_(False)
