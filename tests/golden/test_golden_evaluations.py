"""A report on a student that was signed once and must verify for ever; its private key is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from stimset.errors import SignatureInvalid
from stimset.evaluation import Measure, verify_report
from stimset.signing import ED25519, PublicKey

V1 = Path(__file__).parent / "evaluation-v1"
KEY = PublicKey(ED25519, bytes.fromhex((V1 / "key.txt").read_text().strip()))
REPORT = (V1 / "report.json").read_bytes()


def test_it_says_what_it_said():
    found = verify_report(REPORT, {KEY.keyid: KEY})
    assert (found.release_id, found.model, found.least_patients) == ("apnea-0001", "ab" * 32, 20)
    assert found.counts == ((210.5, 31.25), (22.0, 150.75))
    assert found.measures["kappa"] == Measure(0.737745, 0.580805, 0.90345)
    assert not found.precise


def test_no_other_key_could_have_said_it():
    other = PublicKey(ED25519, bytes(32))
    with pytest.raises(SignatureInvalid):
        verify_report(REPORT, {KEY.keyid: other})
