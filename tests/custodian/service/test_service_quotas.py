"""Quotas and limits; the token bucket against a list of moments as oracle."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodian.config import Home
from custodian.service.limits import _RANGES, Limits
from custodian.service.quotas import MAX_BUCKETS, Quotas
from custodian.service.status import Busy
from stimset.errors import ConfigError

steps = st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=80)


@given(steps, st.integers(1, 8), st.integers(1, 240))
def test_no_window_of_time_sees_more_calls_than_burst_and_rate_allow(waits, burst, per_minute):
    moment = 0.0
    quotas = Quotas(Limits(burst=burst, calls_per_minute=per_minute), lambda: moment)
    allowed: list[float] = []
    for wait in waits:
        moment += wait
        try:
            quotas.take("certificate")
            allowed.append(moment)
        except Busy as error:
            assert 0 < error.retry_s <= 60 / per_minute + 1e-9
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            most = burst + (allowed[last] - allowed[first]) * per_minute / 60
            assert last - first + 1 <= most + 1e-6


def test_whoever_waits_as_told_is_let_in():
    moment = 0.0
    quotas = Quotas(Limits(burst=1, calls_per_minute=30), lambda: moment)
    quotas.take("a")
    with pytest.raises(Busy) as caught:
        quotas.take("a")
    moment += caught.value.retry_s + 1e-9
    quotas.take("a")


def test_strangers_without_end_take_bounded_memory():
    quotas = Quotas(Limits(), lambda: 0.0)
    for number in range(MAX_BUCKETS + 500):
        quotas.take(str(number))
    assert len(quotas._buckets) == MAX_BUCKETS


def test_places_are_given_back_whatever_happens():
    quotas = Quotas(Limits(calls_per_partner=1))
    with pytest.raises(RuntimeError), quotas.open_call("acme"):
        with pytest.raises(Busy) as caught, quotas.open_call("acme"):
            pass
        assert caught.value.quota == "concurrency"
        with quotas.open_call("other"):
            pass
        raise RuntimeError
    with quotas.open_call("acme"):
        pass
    assert not quotas._open


def test_every_limit_can_be_set_and_none_can_be_turned_off():
    assert {field.name for field in fields(Limits)} == set(_RANGES)
    assert Limits.of({}) == Limits()
    assert Limits.of({"calls_per_partner": 16, "call_seconds": 5}) == Limits(calls_per_partner=16, call_seconds=5.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"calls": 0}, {"calls": 1.5}, {"calls": True}, {"calls": "9"}, {"calls": 1e9}, {"burst": -1}, {"call_seconds": float("nan")},
        {"other": 1},
    ],
)  # fmt: skip
def test_limits_that_are_refused(settings):
    with pytest.raises(ConfigError, match=r"\[limits\]") as caught:
        Limits.of(settings)
    assert "\n" not in str(caught.value)


def test_they_come_from_the_settings(tmp_path):
    home = Home(tmp_path)
    home.settings_file.write_text('name = "Test Hospital"\nmetrics = ""\n[limits]\nburst = 7\n')
    assert Limits.of(home.settings().limits).burst == 7
    assert home.settings().metrics == ""
