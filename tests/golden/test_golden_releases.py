"""Releases that were signed once and must verify for ever. A later version may add folders here, never change one.

`v1` was made by tests/support/tiny_release.py on 2026-01-01 with a validity of 100 years and is signed by one Ed25519 key. `v2` is signed
by two people with Ed25519 and ML-DSA-65 each; its root has recovery keys too. All private keys are gone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stimset.envelope import Envelope, parse_envelope
from stimset.errors import SignatureInvalid
from stimset.release import ENVELOPE_FILE
from stimset.verifying import TrustedRoot, verify

V1 = Path(__file__).parent / "v1"
V2 = V1.parent / "v2"


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


def test_v2_verifies_and_needs_all_four_signatures(tmp_path):
    root = TrustedRoot.load(V2 / "root.json", (V2 / "fingerprint.txt").read_text())
    assert (root.threshold, root.persons, root.hybrid) == (4, 2, True)
    release = verify(V2 / "one-signal-0001", root)
    assert len(release.signed_by) == 4
    assert np.isclose(release.stimuli().values.sum(dtype=np.float64), -10.406313443556428, rtol=1e-12)
    copy = shutil.copytree(V2 / "one-signal-0001", tmp_path / "copy")
    envelope = parse_envelope((copy / ENVELOPE_FILE).read_bytes())
    for missing in envelope.signatures:
        rest = tuple(s for s in envelope.signatures if s != missing)
        (copy / ENVELOPE_FILE).write_bytes(Envelope(envelope.payload_type, envelope.payload, rest).to_bytes())
        with pytest.raises(SignatureInvalid):
            verify(copy, root)


def test_the_old_root_says_that_one_person_signs(root):
    assert (root.persons, root.hybrid) == (1, False)
