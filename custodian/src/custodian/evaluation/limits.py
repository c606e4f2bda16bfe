"""What a model may use."""

from __future__ import annotations

from dataclasses import dataclass

from stimset.errors import FormatError, PolicyDenied

MAX_MODEL_BYTES = 64 << 20
BATCH = 16
"""Windows that a model is asked about at once."""


class ModelRefused(FormatError):
    """A partner's model is not evaluated. The text is sent to the partner; it speaks of nothing but the model."""


class EvaluationDenied(PolicyDenied):
    """No evaluation is offered, no more of them, or no model was sent. The text is sent to the partner."""


@dataclass(frozen=True)
class Limits:
    """Of one sandbox.

    Attributes:
        memory_bytes: address space beyond what the libraries take.
        cpu_seconds: processor time in all.
        start_seconds: wall time until the sandbox is up.
        load_seconds: wall time for checking and loading the model.
        probe_seconds: wall time for the answers on public windows.
        least_slot, longest_slot: seconds of wall time that the answers on patients are allotted, at the least and at the most.
    """

    memory_bytes: int = 1 << 30
    cpu_seconds: int = 300
    start_seconds: float = 60.0
    load_seconds: float = 30.0
    probe_seconds: float = 20.0
    least_slot: float = 2.0
    longest_slot: float = 256.0
