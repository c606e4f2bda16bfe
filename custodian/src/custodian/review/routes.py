"""Request -> response: the checks that hold for every request stand here, once, before anything else happens.

    1. the Host that was printed, else a page elsewhere could rename its own host to this machine (DNS rebinding)
    2. the session's cookie, but for the style sheet and the door
    3. for a form: from this very origin, of a form's type, with the session's form secret

Paths: ``/style.css``, ``/open?token=...``, and under the session's secret place: ``.``, ``proposal/NAME``,
``proposal/NAME/report``, ``override/NAME``; forms go to ``proposal/NAME/approve``, ``proposal/NAME/reject``, ``override/NAME/approve``
and ``end``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, unquote

from custodian.review.access import Access, Session
from custodian.review.desk import Desk
from custodian.review.items import State
from custodian.review.pages import Pages, style_sheet
from stimset.errors import FileMissing, PolicyDenied, RollbackRefused, StimsetError

COOKIE = "review"
MAX_FIELDS = 8
FORM_TYPE = "application/x-www-form-urlencoded"
_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# The report brings its own style sheet, and plots made of it; it runs no script, sends no form and has no origin.
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _PAGE_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Request:
    """What came in, already bounded.

    Attributes:
        method: GET, HEAD or POST.
        target: path and query as sent.
        headers: by lower-case name; of one that was sent twice, nothing but a comma-joined value.
        body: of a POST.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """What goes out.

    Attributes:
        status: of HTTP.
        body: its bytes.
        kind: of the body.
        headers: beside those that every response has; they win.
    """

    status: int
    body: bytes
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """Every header, those that protect included."""
        return {**_HEADERS, "Content-Type": self.kind, "Content-Length": str(len(self.body)), **self.headers}


class Routes:
    """Answers requests; safe to use from many threads.

    Args:
        desk: what is looked at.
        access: who may.
        host: ``ADDRESS:PORT`` as it was printed.
    """

    def __init__(self, desk: Desk, access: Access, host: str) -> None:
        self._desk, self._access, self._host = desk, access, host
        self._base = f"/{access.place}/"
        self._pages = Pages(self._base, access.limits.idle_seconds / 60)

    @property
    def url(self) -> str:
        """The address to be printed, once; raises PolicyDenied when the token has died."""
        return f"http://{self._host}/open?token={self._access.token}"

    def answer(self, request: Request) -> Response:
        """The response to a request; every error of the tree becomes one."""
        if request.headers.get("host") != self._host:
            return self.refuse(421, "Another address", "This page answers under the address that was printed, and no other.")
        if request.method not in ("GET", "HEAD", "POST"):
            return self.refuse(405, "Not possible", "This page is read and its forms are sent; nothing else.")
        path, _, query = request.target.partition("?")
        try:
            if path == "/style.css":
                return Response(200, style_sheet().encode(), "text/css; charset=utf-8")
            if path == "/open":
                return self._open(request, query)
            session = self._access.resume(_cookie(request))
            if not path.startswith(self._base):
                return self._unknown()
            steps = [unquote(step) for step in path.removeprefix(self._base).split("/")]
            return self._post(request, session, steps) if request.method == "POST" else self._get(session, steps)
        except PolicyDenied as error:
            return self.refuse(403, "Not open to you", str(error))
        except FileMissing as error:
            return self._html(self._pages.message("Not here", str(error), back=True), 404)
        except StimsetError as error:
            return self._html(self._pages.message("This did not work", str(error), back=True), 409)

    def refuse(self, status: int, title: str, text: str) -> Response:
        """A refusal without a way back, for whoever has no session."""
        return self._html(self._pages.message(title, text), status)

    def _open(self, request: Request, query: str) -> Response:
        if request.method != "GET":
            return self.refuse(405, "Not possible", "Open the printed address in a browser.")
        session = self._access.enter(_fields(query).get("token", ""))
        cookie = f"{COOKIE}={session.cookie}; Path={self._base}; HttpOnly; SameSite=Strict"
        return Response(200, self._pages.entered().encode(), headers={"Set-Cookie": cookie})

    def _get(self, session: Session, steps: list[str]) -> Response:
        match steps:
            case [""]:
                lying = (*self._desk.overrides.items(), *self._desk.items())
                return self._html(self._pages.desk(lying, self._desk.decisions, session.form))
            case ["proposal", name]:
                return self._proposal(session, name)
            case ["override", name]:
                return self._override(session, name)
            case ["proposal", name, "report"]:
                framed = {"Content-Security-Policy": _REPORT_POLICY, "X-Frame-Options": "SAMEORIGIN"}
                return Response(200, self._desk.report(name), headers=framed)
        return self._unknown()

    def _post(self, request: Request, session: Session, steps: list[str]) -> Response:
        origin, kind = request.headers.get("origin"), request.headers.get("content-type", "").partition(";")[0].strip()
        if origin != f"http://{self._host}" or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise PolicyDenied("this form was sent by another page; decide here")
        if kind != FORM_TYPE:
            return self.refuse(415, "Not possible", "Only forms are taken.")
        given = _fields(request.body.decode("utf-8", "replace"))
        self._access.check_form(session, given.get("form", ""))
        match steps:
            case ["end"]:
                self._access.end()
                return self.refuse(200, "The review has ended.", "You can close this window. Another 'custodian review' opens a new one.")
            case ["proposal", name, "approve" | "reject" as decision]:
                return self._decide(session, name, decision, given)
            case ["override", name, "approve"]:
                return self._agree(session, name, given)
        return self._unknown()

    def _decide(self, session: Session, name: str, decision: str, given: dict[str, str]) -> Response:
        digest = given.get("digest", "")
        try:
            if decision == "approve":
                self._desk.approve(name, digest, typed=given.get("typed", ""), words=given.get("words", ""))
            else:
                self._desk.reject(name, digest, reason=given.get("reason", ""))
        except FileMissing:
            raise
        except StimsetError as error:
            return self._proposal(session, name, complaint=str(error), given=given)
        return Response(303, b"", headers={"Location": f"{self._base}#content"})

    def _proposal(self, session: Session, name: str, *, complaint: str = "", given: dict[str, str] | None = None) -> Response:
        """The page of one proposal: for a decision while it waits and holds, else why not."""
        item = self._desk.item(name)
        status = 422 if complaint else 200
        if item.state in (State.APPROVED, State.REJECTED):
            return self._html(self._pages.unusable(item, session.form), status)
        try:
            proposal = self._desk.examine(name)
            report = self._desk.has_report(proposal)
        except StimsetError as error:
            overtaken = isinstance(error, RollbackRefused)
            return self._html(self._pages.unusable(item, session.form, str(error), overtaken=overtaken), 409)
        page = self._pages.proposal(item, proposal, report=report, form=session.form, complaint=complaint, given=given)
        return self._html(page, status)

    def _agree(self, session: Session, name: str, given: dict[str, str]) -> Response:
        """Sign an override."""
        try:
            self._desk.overrides.approve(
                name, given.get("digest", ""), typed=given.get("typed", ""), words=given.get("words", "")
            )
        except FileMissing:
            raise
        except StimsetError as error:
            return self._override(session, name, complaint=str(error), given=given)
        return Response(303, b"", headers={"Location": f"{self._base}#content"})

    def _override(self, session: Session, name: str, *, complaint: str = "", given: dict[str, str] | None = None) -> Response:
        """The page of one override: for a decision while it waits and holds, else why not."""
        item = self._desk.overrides.item(name)
        status = 422 if complaint else 200
        if item.state is State.APPROVED:
            return self._html(self._pages.unusable(item, session.form), status)
        try:
            proposal = self._desk.overrides.examine(name)
        except StimsetError as error:
            return self._html(self._pages.unusable(item, session.form, str(error)), 409)
        return self._html(self._pages.override(item, proposal, form=session.form, complaint=complaint, given=given), status)

    def _unknown(self) -> Response:
        return self.refuse(404, "Not here", f"Nothing is at this address. Go back, or open {quote(self._base)} again.")

    def _html(self, page: str, status: int = 200) -> Response:
        return Response(status, page.encode())


def _cookie(request: Request) -> str:
    try:
        found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        found = None
    return "" if found is None else found.value


def _fields(text: str) -> dict[str, str]:
    """The fields of a form or a query; none where there are too many, or one stands twice."""
    try:
        parsed = parse_qs(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}
    return {} if any(len(values) > 1 for values in parsed.values()) else {name: values[0] for name, values in parsed.items()}
