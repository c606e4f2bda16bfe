"""Releases that were signed once and must verify for ever. A later version may add folders here, never change one.

`v1` was made by tests/support/tiny_release.py on 2026-01-01 with a validity of 100 years; its private keys are gone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stimset.verifying import TrustedRoot, verify

V1 = Path(__file__).parent / "v1"


@pytest.fixture(scope="module")
def root() -> TrustedRoot:
    return TrustedRoot.load(V1 / "root.json", (V1 / "fingerprint.txt").read_text())


@pytest.mark.parametrize(
    ("name", "shape", "window_spec", "sums"),
    [
        (
            "one-signal-0001",
            (5, 1, 10),
            "b53763a9c36a6276d2b32098a94eefd874dd0a1561667daa65ab7499f6bbf410",
            (-10.406313443556428, 1.276531981304288),
        ),
        (
            "two-signals-0001",
            (9, 2, 9),
            "f340344649685ce4a0705cc21800293036ef558f9947b54e0475db7a49c8256e",
            (-24.81887097004801, 2.0179226850159466),
        ),
    ],
)
def test_v1_verifies(root, name, shape, window_spec, sums):
    release = verify(V1 / name, root)
    assert release.id == name
    assert release.spec.digest() == window_spec
    stimuli = release.stimuli()
    assert stimuli.values.shape == shape
    assert np.isclose(stimuli.values.sum(dtype=np.float64), sums[0], rtol=1e-12)
    assert np.isclose(stimuli.probabilities[:, 0].sum(dtype=np.float64), sums[1], rtol=1e-12)
