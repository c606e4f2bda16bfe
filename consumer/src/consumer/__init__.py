"""The partner's side of Stimset, for Python::

    import consumer

    with consumer.connect("~/acme") as hospital:
        release = hospital.pull()                      # verified: consumer.connect never hands out anything else
    X, P = release.to_numpy()                          # windows and soft labels
    model = consumer.estimator("cnn", release).fit(X, P)
    student = consumer.train_student(release, "cnn", seed=1)

`consumer.api` says more; `consumer.pipeline` is the main path on one screen. The names are looked up when they are used: importing
`consumer` imports nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.api import Connection, connect, estimator, read_windows
    from consumer.students.student import Student
    from consumer.students.training import train_student
    from stimset.learning.families import register_estimator, register_network

__all__ = [
    "Connection",
    "Student",
    "connect",
    "estimator",
    "read_windows",
    "register_estimator",
    "register_network",
    "train_student",
]

_PLACES = {
    "Student": "consumer.students.student",
    "train_student": "consumer.students.training",
    "register_estimator": "stimset.learning.families",
    "register_network": "stimset.learning.families",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'consumer' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES.get(name, "consumer.api")), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
