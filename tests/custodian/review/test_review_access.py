"""The door of the review: one token, one session, both mortal."""

from __future__ import annotations

import pytest

from custodian.review.access import Access, Limits
from stimset.errors import PolicyDenied

LIMITS = Limits(token_seconds=120, idle_seconds=600)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock) -> Access:
    return Access(LIMITS, clock)


def test_the_token_opens_once(access):
    token = access.token
    session = access.enter(token)
    assert access.resume(session.cookie) == session
    with pytest.raises(PolicyDenied, match="used before"):
        access.enter(token)
    with pytest.raises(PolicyDenied):
        assert access.token
    assert access.resume(session.cookie) == session  # a thief's try does not end the session


@pytest.mark.parametrize("given", ["", "x", "ä\udcff", None])
def test_another_token_opens_nothing(access, given):
    with pytest.raises(PolicyDenied, match="not the token"):
        access.enter(access.token[:-1] if given is None else given)
    access.enter(access.token)


def test_the_token_dies_unused(access, clock):
    token = access.token
    clock.now += 119
    assert not access.over
    clock.now += 1
    assert access.over
    with pytest.raises(PolicyDenied, match="too old"):
        access.enter(token)


def test_a_session_lives_from_click_to_click(access, clock):
    session = access.enter(access.token)
    for _ in range(5):
        clock.now += 599
        access.resume(session.cookie)
    clock.now += 600
    assert access.over
    with pytest.raises(PolicyDenied):
        access.resume(session.cookie)
    clock.now -= 600
    assert access.over, "what has ended does not begin again"


def test_a_strangers_request_does_not_keep_it_alive(access, clock):
    session = access.enter(access.token)
    clock.now += 599
    with pytest.raises(PolicyDenied):
        access.resume("x" * 43)
    clock.now += 1
    with pytest.raises(PolicyDenied):
        access.resume(session.cookie)


def test_forms_carry_another_secret_than_the_cookie(access):
    session = access.enter(access.token)
    access.check_form(session, session.form)
    for wrong in ("", session.cookie, session.form + "x"):
        with pytest.raises(PolicyDenied, match="form"):
            access.check_form(session, wrong)


def test_ended_is_over(access):
    session = access.enter(access.token)
    access.end()
    assert access.over
    with pytest.raises(PolicyDenied):
        access.resume(session.cookie)


def test_no_two_are_alike():
    made = [Access() for _ in range(20)]
    assert len({a.token for a in made} | {a.place for a in made}) == 40
