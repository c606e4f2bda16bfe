"""Who may look: whoever brings the token first gets the session, and nobody else gets one.

The token is printed once. It dies when it is used, and after a time. The session is a cookie that no script can read and no other site can
send, under a path that nobody else knows: cookies do not tell ports apart, so another program that listens on this machine must not get it
from the browser by being visited. Nothing here knows HTTP beyond that.

Usage::

    access = Access()
    session = access.enter(token)        # once
    access.resume(session.cookie); access.check_form(session, given)
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from stimset.errors import PolicyDenied

SECRET_BYTES = 32


@dataclass(frozen=True)
class Limits:
    """What one review is worth.

    Attributes:
        token_seconds: until the token dies unused.
        idle_seconds: until a session ends by itself, counted from the last request.
        request_seconds: for a connection to say its first byte, and from there to the last one of the request.
        request_bytes: of one request, head and body.
        connections: at once; further ones are closed unread.
    """

    token_seconds: float = 120.0
    idle_seconds: float = 600.0
    request_seconds: float = 10.0
    request_bytes: int = 64 << 10
    connections: int = 16


@dataclass(frozen=True)
class Session:
    """The one session.

    Attributes:
        cookie: what the browser must bring with every request.
        form: what every form of the page must bring besides; another site can make the browser send the cookie at most, never this.
    """

    cookie: str
    form: str


class Access:
    """The door of one review; safe to use from many threads.

    Args:
        limits: how long token and session live.
        clock: seconds that never go back.
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock, self._lock = clock, Lock()
        self._token: str | None = secrets.token_urlsafe(SECRET_BYTES)
        self._session: Session | None = None
        self._touched = clock()
        self._ended = False
        self.place = secrets.token_urlsafe(16)

    @property
    def token(self) -> str:
        """The token, to be printed once.

        Raises:
            PolicyDenied: it was used, or died.
        """
        with self._lock:
            return self._living_token()

    @property
    def over(self) -> bool:
        """Whether nobody can get in any more."""
        with self._lock:
            if self._session is not None or self._ended:
                return self._living_session() is None
            return self._expired(self.limits.token_seconds)

    def enter(self, token: str) -> Session:
        """Exchange the token for the session.

        Raises:
            PolicyDenied: it is another one, was used before, or is too old.
        """
        with self._lock:
            if not _same(token, self._living_token()):
                raise PolicyDenied("this is not the token that was printed; copy the whole address")
            self._token, self._touched = None, self._clock()
            self._session = Session(secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES))
            return self._session

    def resume(self, cookie: str) -> Session:
        """The session of a request, which goes on for another while.

        Raises:
            PolicyDenied: the cookie is missing or another one, or the session has ended.
        """
        with self._lock:
            session = self._living_session()
            if session is None or not _same(cookie, session.cookie):
                raise PolicyDenied("this review is not open in this browser; run 'custodian review' again for a new address")
            self._touched = self._clock()
            return session

    def check_form(self, session: Session, given: str) -> None:
        """Raise PolicyDenied unless a form was made by this session's own pages."""
        if not _same(given, session.form):
            raise PolicyDenied("the form did not come from this page; open the proposal again and decide there")

    def end(self) -> None:
        """End the session."""
        with self._lock:
            self._session, self._token, self._ended = None, None, True

    def _living_token(self) -> str:
        if self._token is None or self._expired(self.limits.token_seconds):
            self._token = None
            raise PolicyDenied("the token was used before, or is too old; run 'custodian review' again for a new address")
        return self._token

    def _living_session(self) -> Session | None:
        if self._session is not None and self._expired(self.limits.idle_seconds):
            self._session, self._ended = None, True
        return self._session

    def _expired(self, seconds: float) -> bool:
        return self._clock() - self._touched >= seconds


def _same(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
