"""The simulated cohort: the same for a seed forever, varied, and labelled as simulated."""

import numpy as np
import pytest

from stimset.errors import FormatError
from stimset.records import is_simulated, simulate
from stimset.records.apnea_ecg import SPEC_5MIN
from stimset.windowing import check_usable, make_windows


def test_golden_persons_stay_as_they_are():
    first, second = simulate(2, 30, seed=0)
    text = ["".join(a.text for a in r.annotations) for r in (first, second)]
    assert (first.name, first.person) == ("simulated-0000", "simulated-person-0000")
    assert text == GOLDEN_LABELS
    for record, (count, mean, deviation) in zip((first, second), GOLDEN_RR, strict=True):
        values = record.signals[0].values
        assert len(values) == count
        assert values.mean() == pytest.approx(mean, abs=0.01)
        assert values.std() == pytest.approx(deviation, abs=0.01)


def test_a_person_depends_on_seed_and_number_alone():
    some, later = simulate(3, 10, seed=5), simulate(2, 10, seed=5, first_person=1)
    for a, b in zip(some[1:], later, strict=True):
        assert a.person == b.person
        np.testing.assert_array_equal(a.signals[0].values, b.signals[0].values)
    other = simulate(1, 10, seed=6)[0]
    assert not np.array_equal(other.signals[0].values[:50], some[0].signals[0].values[:50])


def test_it_is_a_cohort_that_can_be_learnt_from():
    records = simulate(24, 60, seed=1)
    assert all(is_simulated(r) and r.signals[0].unit == "ms" for r in records)
    shares = np.array([np.mean([a.text == "A" for a in r.annotations]) for r in records])
    assert shares.min() < 0.05
    assert shares.max() > 0.6
    assert 0.2 < shares.mean() < 0.6
    rates = [60_000 / np.median(r.signals[0].values) for r in records]
    assert min(rates) > 40
    assert max(rates) < 110
    assert np.ptp(rates) > 15
    made = make_windows(records, SPEC_5MIN)
    check_usable(made)
    assert len(made) > 0.98 * 24 * 60


def test_apnea_shows_in_the_band_of_cyclic_variation():
    made = make_windows(simulate(24, 60, seed=1), SPEC_5MIN)
    power = np.abs(np.fft.rfft(made.values[:, 0] * np.hanning(150), axis=1)) ** 2
    hz = np.fft.rfftfreq(150, 2.0)
    band = np.log(power[:, (hz >= 0.012) & (hz <= 0.035)].sum(axis=1))
    gap = band[made.labels == 1].mean() - band[made.labels == 0].mean()
    assert 0.4 < gap / band.std() < 2.0  # there, but far from a clean cut


@pytest.mark.parametrize("wrong", [{"persons": 0}, {"minutes": 1}, {"seed": -1}, {"first_person": -1}])
def test_counts_out_of_range(wrong):
    with pytest.raises(FormatError, match="simulation"):
        simulate(**wrong)


GOLDEN_LABELS = ["NNNNNNNNNAAAAAAAAAAAANNNNNNNNN", "NNNNNAANNNNNNNNNNAAAANAAAAAANN"]
GOLDEN_RR = [(2585, 694.73, 32.648), (1704, 1053.807, 37.651)]  # intervals, mean and deviation in ms
