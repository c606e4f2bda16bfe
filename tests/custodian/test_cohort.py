"""Pseudonyms, the split, and the keyed seal of the cohort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.cohort import Cohort, person_shares, pseudonym, pseudonymised, split_persons
from small_cohort import SPEC, cohort
from stimset.errors import ConfigError, FormatError
from stimset.windows import Windows


def windows_of(person: np.ndarray, labels: np.ndarray) -> Windows:
    n, names = len(person), tuple(str(p) for p in range(person.max() + 1))
    zeros = np.zeros(n)
    return Windows(
        SPEC, np.zeros((n, *SPEC.shape), np.float32), labels, person, person, zeros, zeros.astype(np.float32), names, names
    )


def test_no_person_stands_on_both_sides_and_nobody_is_lost():
    c = cohort()
    training, validation = set(c.training.person), set(c.validation.person)
    assert not training & validation
    assert len(c.training) + len(c.validation) == len(c.windows)
    assert set(c.training_person_indices) == training
    assert c.training_persons == len(training)


@settings(max_examples=25, deadline=None)
@given(persons=st.integers(3, 12), seed=st.integers(0, 100), share=st.floats(0.1, 0.5))
def test_every_class_is_on_both_sides(persons, seed, share):
    rng = np.random.default_rng(seed)
    w = windows_of(np.repeat(np.arange(persons), 30), rng.integers(3, size=30 * persons))
    chosen = split_persons(w, share=share, seed=seed)
    assert 0 < len(chosen) < persons
    assert chosen == split_persons(w, share=share, seed=seed)
    held = np.isin(w.person, chosen)
    for side in (held, ~held):
        assert set(w.labels[side]) == {0, 1, 2}


def test_too_few_persons_and_a_class_of_one_person_are_refused():
    with pytest.raises(FormatError, match="at least 3"):
        split_persons(windows_of(np.repeat([0, 1], 6), np.tile([0, 1, 2], 4)))
    labels = np.tile([0, 1], 15)
    labels[:3] = 2
    with pytest.raises(FormatError, match="'fast' occurs in too few persons"):
        split_persons(windows_of(np.repeat(np.arange(5), 6), labels))


def test_pseudonyms_need_the_key_and_hide_the_name():
    assert pseudonym(b"a" * 32, "person:Ada") != pseudonym(b"b" * 32, "person:Ada")
    hidden = pseudonymised(cohort().windows, b"k" * 32)
    assert not set(hidden.person_names) & set(cohort().windows.person_names)
    assert len(set(hidden.person_names)) == len(hidden.person_names)
    assert not set(hidden.person_names) & set(hidden.record_names), "a person's pseudonym is no record's"


def test_a_cohort_survives_the_disk_and_its_seal_tells_changes(tmp_path):
    c, key = cohort(), b"k" * 32
    c.save(tmp_path / "cohort")
    back = Cohort.load(tmp_path / "cohort")
    assert back.validation_persons == c.validation_persons
    assert back.simulated
    assert back.seal(key) == c.seal(key) != c.seal(b"x" * 32)
    assert cohort(seed=1).seal(key) != c.seal(key)
    with pytest.raises(ConfigError, match="custodian ingest"):
        Cohort.load(tmp_path)


def test_person_shares_are_what_the_label_tells():
    c = cohort()
    shares = person_shares(c.training, c.training_person_indices)
    assert shares.shape == (3, c.training_persons)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    first = c.training_person_indices[0]
    own = np.sum((c.training.person == first) & (c.training.labels == 2)) / np.sum(c.training.labels == 2)
    assert shares[2, 0] == pytest.approx(own, abs=0.01)
