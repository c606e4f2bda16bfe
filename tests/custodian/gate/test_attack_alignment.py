"""The aligned likeness: against correlating every pair at every shift, and by what it must not depend on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodian.gate.attacks.alignment import Whitening
from stimset.errors import DataInvalid


def windows(seed, n=12, channels=2, samples=31):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, channels, samples)).cumsum(-1).astype(np.float32)


def in_time(whitening, spectra):
    return np.fft.irfft(spectra, whitening.samples, axis=-1)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(8, 40))
def test_it_is_the_largest_correlation_over_all_windows_and_shifts(seed, channels, samples):
    x = windows(seed, 10, channels, samples)
    whitening = Whitening.of(x)
    queries, bank = whitening.spectra(x[:4]), whitening.spectra(x[4:])
    a, b = in_time(whitening, queries), in_time(whitening, bank)
    assert np.allclose(np.square(a).sum((1, 2)), 1, atol=1e-4)
    rolled = np.stack([np.roll(b, s, axis=-1) for s in range(samples)])
    by_hand = np.einsum("qct,sbct->qsb", a, rolled).max((1, 2))
    assert np.allclose(whitening.nearest(queries, bank, candidates=len(bank)), by_hand.clip(0, 1), atol=1e-4)
    assert (whitening.nearest(queries, bank, candidates=2) <= by_hand + 1e-4).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 30), st.floats(0.1, 10), st.floats(-5, 5))
def test_a_copy_is_found_at_any_shift_gain_and_offset_among_few_candidates(seed, shift, gain, offset):
    x = windows(seed)
    whitening = Whitening.of(x)
    copy = (np.roll(x[5:6], shift, axis=-1) * gain + offset).astype(np.float32)
    assert whitening.nearest(whitening.spectra(copy), whitening.spectra(x), candidates=1)[0] == pytest.approx(
        1, abs=1e-3
    )


def test_a_mirrored_window_is_no_copy():
    x = windows(3, n=1, channels=1, samples=64)
    whitening = Whitening.of(windows(4, 50, 1, 64))
    assert whitening.nearest(whitening.spectra(-x), whitening.spectra(x))[0] < 0.9


def test_many_queries_are_answered_in_pieces(monkeypatch):
    x = windows(5, 40)
    whitening = Whitening.of(x)
    spectra = whitening.spectra(x)
    whole = whitening.nearest(spectra[:15], spectra[15:])
    monkeypatch.setattr("custodian.gate.attacks.alignment.CHUNK_NUMBERS", 1)
    assert np.allclose(whole, whitening.nearest(spectra[:15], spectra[15:]))


def test_what_can_not_be_compared_is_refused():
    x = windows(6)
    for bad in (x[:0], np.ones_like(x), np.full_like(x, np.nan)):
        with pytest.raises(DataInvalid):
            Whitening.of(bad)
    broken = x.copy()
    broken[0, 0, 0] = np.inf
    with pytest.raises(DataInvalid, match="not finite"):
        Whitening.of(x).spectra(broken)
    flat = Whitening.of(x).spectra(np.ones_like(x))
    assert Whitening.of(x).nearest(flat, flat).max() == 0
