"""The evaluation report: one spelling, every byte counts, and the intervals are what the noise leaves."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.envelope import Envelope, parse_envelope
from stimset.errors import FormatError, SignatureInvalid, UnknownSigner
from stimset.evaluation import (
    EXTENSION,
    MEASURES,
    Evaluation,
    Measure,
    Privacy,
    measured,
    parse_report,
    sign_report,
    statement_bytes,
    verify_report,
)
from stimset.metrics import score
from stimset.signing import generate_key

KEY = generate_key()
KEYS = {KEY.keyid: KEY.public}
COUNTS = np.array([[210.5, 31.25], [22.0, 150.75]])


def evaluation(counts: np.ndarray = COUNTS, noise: float = 5.0, **choices: object) -> Evaluation:
    made = Evaluation(
        model="ab" * 32, release_id="apnea-0001", statement="cd" * 32, window_spec="ef" * 32, custodian="Test Hospital",
        created="2026-01-01T12:00:00Z", simulated=True, labels=tuple(f"class {i}" for i in range(len(counts))),
        counts=tuple(tuple(float(c) for c in row) for row in counts), least_patients=20,
        privacy=Privacy(0.3, 1e-6, noise, 4, 0.02), measures=measured(counts, noise),
    )  # fmt: skip
    return replace(made, **choices)


@settings(deadline=None, max_examples=30)
@given(
    cells=st.integers(2, 5).flatmap(lambda k: st.lists(st.floats(-50, 500), min_size=k * k, max_size=k * k)),
    noise=st.floats(0.5, 100),
)
def test_what_is_written_is_read_back(cells, noise):
    classes = int(len(cells) ** 0.5)
    made = evaluation(np.array(cells).reshape(classes, classes), noise)
    assert verify_report(sign_report(statement_bytes(made), KEY), KEYS) == made


def test_measures_are_those_of_the_counts():
    labels = np.repeat([0, 0, 1, 1], [210, 31, 22, 150])
    decided = np.repeat([0, 1, 0, 1], [210, 31, 22, 150])
    expected = score(np.eye(2)[decided], labels)
    found = measured(np.array([[210.0, 31.0], [22.0, 150.0]]), 1.0)
    assert {name: found[name].value for name in MEASURES} == pytest.approx({name: expected[name] for name in MEASURES}, abs=1e-6)


def test_the_interval_holds_what_the_counts_without_noise_give():
    """In about 95 of 100 draws of the noise; the oracle is the noiseless kappa."""
    rng = np.random.default_rng(3)
    truth = measured(COUNTS, 1e-9)
    held = dict.fromkeys(MEASURES, 0)
    for _ in range(200):
        found = measured(COUNTS + 14 * rng.standard_normal(COUNTS.shape), 14.0, seed=int(rng.integers(1 << 30)))
        for name in MEASURES:
            held[name] += found[name].low <= truth[name].value <= found[name].high
    assert all(180 <= times <= 200 for times in held.values()), held


def test_no_counts_give_no_measures_and_a_wide_interval_is_a_warning():
    empty = evaluation(np.full((2, 2), -500.0), 1.0)
    assert empty.measures["kappa"] == Measure(None, None, None)
    assert b'"WARNED"' in statement_bytes(empty)
    assert b'"PASSED"' in statement_bytes(evaluation(COUNTS, 1.0))


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(place, bit):
    data = bytearray(sign_report(statement_bytes(evaluation()), KEY))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises((FormatError, SignatureInvalid)):
        verify_report(bytes(data), KEYS)


def test_another_key_or_another_kind_of_envelope_is_refused():
    data = sign_report(statement_bytes(evaluation()), KEY)
    other = generate_key()
    with pytest.raises(UnknownSigner):
        verify_report(data, {other.keyid: other.public})
    parsed = parse_envelope(data)
    with pytest.raises(FormatError, match="something else"):
        verify_report(Envelope("application/json", parsed.payload, parsed.signatures).to_bytes(), KEYS)
    with pytest.raises(FormatError, match="longer"):
        verify_report(bytes(1 << 20), KEYS)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(predicateType="urn:stimset:release:v1"),
        lambda d: d["subject"].append(d["subject"][0]),
        lambda d: d["subject"][0]["digest"].update(sha256="AB" * 32),
        lambda d: d["predicate"].update(result="PASSED"),
        lambda d: d["predicate"]["passedTests"].append("precision"),
        lambda d: d["predicate"]["failedTests"].append("precision"),
        lambda d: d["predicate"]["configuration"].pop(),
        lambda d: d["predicate"][EXTENSION].update(patients=412),
        lambda d: d["predicate"][EXTENSION]["counts"].pop(),
        lambda d: d["predicate"][EXTENSION]["counts"][0].append(1.0),
        lambda d: d["predicate"][EXTENSION]["labels"].__setitem__(0, "class 1"),
        lambda d: d["predicate"][EXTENSION]["privacy"].update(advantage=0.5),
        lambda d: d["predicate"][EXTENSION]["privacy"].update(noise=0.0),
        lambda d: d["predicate"][EXTENSION]["measures"].pop("kappa"),
        lambda d: d["predicate"][EXTENSION].update(created="yesterday"),
        lambda d: d["predicate"][EXTENSION].update(leastPatients=0),
        lambda d: d["predicate"][EXTENSION].update(level=0.5),
    ],
)
def test_each_field_has_its_form(change):
    document = json.loads(statement_bytes(evaluation(noise=40.0)))
    change(document)
    with pytest.raises(FormatError):
        parse_report(json.dumps(document).encode())
