"""A loaded model is asked: first about what is public, then about the patients, one by one and in a time of its own.

A model may fail, hang or answer nonsense on one patient's windows alone, and so try to tell by its failure that the patient is there. So it
can be refused by public windows only; on patients every failure is a vote like another, and the answer comes when the allotted time is
over. """

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from custodian.evaluation.box import Sandbox
from custodian.evaluation.counting import vote
from custodian.evaluation.held_out import HeldOut
from custodian.evaluation.limits import BATCH, Limits, ModelRefused
from stimset.windows import WindowSpec

PUBLIC_WINDOWS = 256
SLACK = 4.0
"""The patients' windows are allotted so many times what public windows took; a busy machine must not cost votes."""

LEAST_SHARE = 1.0
"""Seconds that each patient's windows are allotted at the least."""

_TOLERANCE = 1e-3


def public_windows(spec: WindowSpec, stimuli: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a model is refused by: silence, the extremes, noise, and stimuli of the release; ``(n, channels, samples)``."""
    flat = [np.full((1, *spec.shape), level, np.float32) for level in (0.0, spec.clip, -spec.clip)]
    noise = np.random.default_rng(0).normal(size=(BATCH, *spec.shape)).clip(-spec.clip, spec.clip).astype(np.float32)
    return np.concatenate([*flat, noise, stimuli])[:PUBLIC_WINDOWS]


def probe(box: Sandbox, windows: NDArray[np.float32]) -> float:
    """Ask about public windows, and hold the answers against what probabilities are.

    Returns:
        Seconds for a batch.

    Raises:
        ModelRefused: an answer is no probability, or it takes too long.
    """
    began = time.monotonic()
    left = box.limits.probe_seconds
    batches = [windows[i : i + BATCH] for i in range(0, len(windows), BATCH)]
    for batch in batches:
        found = box.answers(batch, max(0.01, left - (time.monotonic() - began))).astype(np.float64)
        if not np.isfinite(found).all():
            raise ModelRefused("the model is refused: an answer is not a finite number")
        if found.min() < -_TOLERANCE or found.max() > 1 + _TOLERANCE or np.abs(found.sum(axis=1) - 1).max() > _TOLERANCE:
            raise ModelRefused("the model is refused: its answers are no probabilities; each row must lie in [0, 1] and sum to 1")
    return (time.monotonic() - began) / len(batches)


def allotted(pace: float, patients: HeldOut, limits: Limits) -> float:
    """Wall seconds for all patients' windows, as if there were the next power of two of them: neither the time until an answer nor a model
    that is refused as too slow tells how many there are.

    Raises:
        ModelRefused: it would be too long.
    """
    batches = sum(math.ceil(len(labels) / BATCH) for _, labels in patients.each())
    slot = limits.least_slot + SLACK * pace * (1 << (batches - 1).bit_length())
    if slot > limits.longest_slot:
        raise ModelRefused("the model is refused: it is too slow for the windows that it would meet; make it smaller")
    return slot


def votes(box: Sandbox, patients: HeldOut, pace: float, slot: float) -> Iterator[NDArray[np.float64]]:
    """Each patient's vote; the last one comes when the allotted time is over, not before.

    A patient on whom the model fails, or takes many times its pace, has a vote all the same (`counting.vote`), and costs the others no time
    beyond that patient's own share.
    """
    deadline = time.monotonic() + slot
    for windows, labels in patients.each():
        share = max(LEAST_SHARE, 2 * SLACK * pace * math.ceil(len(labels) / BATCH))
        yield vote(labels, _answers(box, windows, min(deadline, time.monotonic() + share)), patients.spec.classes)
    time.sleep(max(0.0, deadline - time.monotonic()))


def _answers(box: Sandbox, windows: NDArray[np.float32], deadline: float) -> NDArray[np.float32] | None:
    """The model's answers on one patient's windows; None where it gives none in time."""
    try:
        if not box.alive:
            box.again()
        parts = []
        for i in range(0, len(windows), BATCH):
            if (left := deadline - time.monotonic()) <= 0:
                return None
            parts.append(box.answers(windows[i : i + BATCH], left))
    except ModelRefused:
        return None
    return np.concatenate(parts)
