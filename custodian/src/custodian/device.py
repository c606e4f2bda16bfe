"""Where torch computes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from stimset.errors import ConfigError

GPUS = "CUDA_VISIBLE_DEVICES"


def choose_device(name: str) -> str:
    """``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: the name is unknown, or CUDA is asked for and there is none.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"there is no device '{name}'; known are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch sees no CUDA device; use --device cpu, or install a CUDA build of torch"
        )
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    named = os.environ.get(GPUS)
    return [name for name in named.split(",") if name] if named else [str(i) for i in range(torch.cuda.device_count())]


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread, as every worker has: sums are taken in the same order whoever makes a shard, and workers don't contend."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
