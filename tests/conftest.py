"""What holds for all tests, set before anything of ours is imported."""

from __future__ import annotations

import os

# A worker of pytest-xdist, or a user's shell, may state a width; rich would keep it for good and fold what tests look for.
os.environ.pop("COLUMNS", None)
# One thread per process: the tests start many, and threads that contend are ten times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

# How long an example takes depends on what else the machine does; no test is judged by it.
settings.register_profile("stimset", deadline=None)
settings.load_profile("stimset")
