"""The page's sockets: who is refused, what every answer carries, and what a hostile program on the same machine can do."""

from __future__ import annotations

import socket
import time

import pytest

from custodian.publish.keys import own_root
from custodian.publish.officer import examine
from custodian.review.access import Limits
from custodian.review.desk import Desk
from custodian.review.serving import ReviewServer
from review_desk import PROBE, REASON, Caller, decisions, desk_of, propose_overridden, propose_with_report, serving
from stimset.errors import ConfigError
from stimset.verifying import verify
from two_people import OFFICER_PASSPHRASE

PROTECTION = {
    "cache-control": "no-store", "x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
}  # fmt: skip


@pytest.fixture
def page(two):
    two.carry(propose_with_report(two))
    with serving(desk_of(two)) as server:
        yield Caller(server.url).enter()


def unsigned(two) -> bool:
    return not (two.officer / "approved.json").exists() and not list(two.stick.rglob("rejection.dsse.json"))


def words(two, name: str = "apnea-0001") -> str:
    return desk_of(two).examine(name).words


def protected(headers: dict[str, str], frame: str = "DENY") -> bool:
    policy = headers["content-security-policy"]
    return (PROTECTION | {"x-frame-options": frame}).items() <= headers.items() and policy.startswith("default-src 'none'; ")


def test_what_is_signed_is_shown(two, page):
    status, headers, text = page.get("proposal/apnea-0001")
    found = desk_of(two).examine("apnea-0001")
    assert status == 200 and protected(headers) and "script-src" not in headers["content-security-policy"]
    counts = ("5 stimuli", "2 of 2", "ε 2.5", "class spectrum")
    for shown in (found.digest, *counts, "membership-student", "Six patients are few.", "Simulated"):
        assert shown in text, shown
    assert found.words not in text, "who reads them off the screen has compared nothing"
    assert PROBE not in text and "&lt;script&gt;" in text
    assert "<script" not in text and " style=" not in text and "http://" not in text


def test_the_report_is_shown_in_a_sandbox(page):
    status, headers, text = page.get("proposal/apnea-0001/report")
    assert status == 200 and "The gate's report" in text and "<svg" in text
    assert protected(headers, "SAMEORIGIN") and "sandbox" in headers["content-security-policy"].split("; ")
    assert "allow-" not in headers["content-security-policy"]


def test_an_override_can_not_be_overlooked(two):
    two.carry(propose_overridden(two))
    with serving(desk_of(two)) as server:
        _, _, text = Caller(server.url).enter().get("proposal/forced-0001")
    for shown in ("The gate refused this set", "A. Meyer", "B. Holm", "A rehearsal with simulated patients", "unbounded", "not measured"):
        assert shown in text, shown
    assert "Every check of the gate passed" not in text and "Simulated." not in text


def test_the_token_is_for_one(two):
    with serving(desk_of(two)) as server:
        caller = Caller(server.url)
        status, headers, text = caller.send("GET", "/open?token=wrong", Cookie=None)
        assert (status, "not the token" in text, "set-cookie" in headers) == (403, True, False)
        cookie = caller.send("GET", caller.path, Cookie=None)[1]["set-cookie"]
        assert "; HttpOnly; SameSite=Strict" in cookie and "Path=/" in cookie and "Path=/;" not in cookie
        status, headers, text = caller.send("GET", caller.path, Cookie=None)
        assert (status, "used before" in text, "set-cookie" in headers) == (403, True, False)
        assert protected(headers)


def test_a_token_that_is_too_old(two):
    with serving(desk_of(two), Limits(token_seconds=0.3), outlive=True) as server:
        caller = Caller(server.url)
        time.sleep(0.4)
        assert caller.send("GET", caller.path, Cookie=None)[0] == 403
        assert server.access.over


@pytest.mark.parametrize("host", ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1", "", None])
def test_another_host_is_refused_with_every_secret_in_hand(two, page, host):
    fields = page.secrets("apnea-0001") | {"reason": REASON}
    assert page.get("", Host=host)[0] == 421
    assert page.send("GET", "/style.css", Host=host)[0] == 421
    assert page.post("proposal/apnea-0001/reject", fields, Host=host)[0] == 421
    assert unsigned(two)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": None}, {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"}, {"Cookie": None}, {"Cookie": "review=x"}, {"Cookie": "a=b; c=\"; review"},
    ],
)  # fmt: skip
def test_a_form_from_elsewhere_is_refused(two, page, headers):
    fields = page.secrets("apnea-0001") | {"reason": REASON}
    status, answered, _ = page.post("proposal/apnea-0001/reject", fields, **headers)
    assert status == 403 and protected(answered) and unsigned(two)


@pytest.mark.parametrize("form", ["", "guess", None])
def test_a_form_without_its_secret_is_refused(two, page, form):
    fields = page.secrets("apnea-0001") | {"reason": REASON, "form": form}
    if form is None:
        del fields["form"]
    status, _, text = page.post("proposal/apnea-0001/reject", fields)
    assert status == 403 and "did not come from this page" in text and unsigned(two)
    assert page.post("end", {})[0] == 403 and page.get()[0] == 200


def test_only_forms_are_taken(two, page):
    fields = page.secrets("apnea-0001") | {"reason": REASON}
    for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x", None):
        assert page.post("proposal/apnea-0001/reject", fields, Content_Type=kind)[0] == 415
    twice = page.place + "proposal/apnea-0001/reject"
    body = f"form={fields['form']}&form={fields['form']}&digest={fields['digest']}&reason=x"
    assert page.send("POST", twice, body)[0] == 403
    assert page.send("POST", twice, "&".join(f"a{i}=1" for i in range(9)) + f"&form={fields['form']}")[0] == 403
    assert unsigned(two)


def test_without_a_session_there_is_nothing_to_see(page):
    for path in (page.place, page.place + "proposal/apnea-0001", page.place + "proposal/apnea-0001/report", "/", "/favicon.ico"):
        status, headers, text = page.send("GET", path, Cookie=None)
        assert (status, protected(headers)) == (403, True), path
        assert "apnea" not in text


@pytest.mark.parametrize("name", ["..", "../stick/apnea-0001", "%2e%2e%2fofficer", "apnea-0001%00", "officer.keys.json", ".", "a" * 5000])
def test_only_what_lies_on_the_desk_has_a_page(page, name):
    for end in ("", "/report"):
        assert page.get(f"proposal/{name}{end}")[0] == 404


def test_approve_by_hand_and_what_is_refused_before(two, page):
    fields = page.secrets("apnea-0001")
    good = fields | {"typed": " apnea-0001 ", "words": words(two).upper().replace("-", " ")}
    for wrong, why in (
        ({"typed": "apnea-0002"}, "type apnea-0001"),
        ({"words": "babab-" * 6}, "words are not those"), ({"words": ""}, "words are not those"),
        ({"digest": "0" * 64}, "was changed while you looked"), ({"digest": ""}, "was changed while you looked"),
    ):  # fmt: skip
        status, _, text = page.post("proposal/apnea-0001/approve", good | wrong)
        assert status == 422 and why in text and "Nothing was decided" in text and unsigned(two)
    status, headers, _ = page.post("proposal/apnea-0001/approve", good)
    assert (status, headers["location"]) == (303, f"{page.place}#content")
    assert "apnea-0001 is signed" in page.get()[2]
    assert "You have signed this already" in page.get("proposal/apnea-0001")[2]
    assert page.post("proposal/apnea-0001/reject", fields | {"reason": REASON})[0] == 422
    assert two.publish(two.stick / "apnea-0001")["release"] == "apnea-0001"


def test_a_folder_that_is_changed_while_it_is_read(two, page):
    fields = page.secrets("apnea-0001") | {"typed": "apnea-0001", "words": words(two)}
    page_before = (two.stick / "apnea-0001" / "report.html").read_bytes()
    (two.stick / "apnea-0001" / "report.html").write_bytes(page_before.replace(b"0.56", b"0.50"))
    status, _, text = page.post("proposal/apnea-0001/approve", fields)
    assert status == 409 and "Don't sign this" in text
    (two.stick / "apnea-0001" / "report.html").write_bytes(page_before)
    shard = next((two.stick / "apnea-0001" / "release").glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x00")
    assert page.post("proposal/apnea-0001/approve", fields)[0] == 409
    assert unsigned(two)


def test_what_is_overtaken_says_so(two):
    two.carry(propose_with_report(two))
    two.carry(two.propose("other"))
    desk = desk_of(two)
    desk.approve("other-0001", desk.examine("other-0001").digest, typed="other-0001", words=words(two, "other-0001"))
    with serving(desk) as server:
        status, _, text = Caller(server.url).enter().get("proposal/apnea-0001")
    assert status == 409 and "This was overtaken" in text


def test_on_one_machine_decisions_enter_the_log_at_once(two):
    first, second = propose_with_report(two), two.propose("other")
    desk = desk_of(two, two.home.proposals, home=two.home)
    with serving(desk) as server:
        page = Caller(server.url).enter()
        assert page.post("proposal/other-0001/reject", page.secrets("other-0001") | {"reason": f"{REASON}\r\n Thanks."})[0] == 303
        assert "Nothing is left to do" in page.get()[2] and not second.exists()
        typed = {"typed": "apnea-0001", "words": examine(first, two.officer).words}
        assert page.post("proposal/apnea-0001/approve", page.secrets("apnea-0001") | typed)[0] == 303
    assert (len(decisions(two.home, "reject")), len(decisions(two.home, "approve"))) == (1, 1)
    two.publish(first)
    assert len(decisions(two.home, "approve")) == 1, "publishing is no second approval"
    assert len(verify(two.home.releases / "apnea-0001", own_root(two.home)).signed_by) == 4


def test_a_decision_stands_where_the_log_can_not_be_written(two):
    first, second = two.propose(), two.propose("other")
    desk = desk_of(two, two.home.proposals, home=two.home)
    database = two.home.database
    database.rename(database.with_suffix(".away"))
    database.mkdir()
    assert desk.reject("other-0001", desk.examine("other-0001").digest, reason=REASON).folder == second
    found = desk.examine("apnea-0001")
    assert desk.approve("apnea-0001", found.digest, typed="apnea-0001", words=found.words).approved
    database.rmdir()
    database.with_suffix(".away").rename(database)
    two.publish(second, exit_code=10)
    two.publish(first)
    assert (len(decisions(two.home, "reject")), len(decisions(two.home, "approve"))) == (1, 1)


def raw(server: ReviewServer, data: bytes, *, wait: float = 20) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=wait) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
        return answer


def test_only_loopback_listens_and_a_taken_port_is_told(two):
    with serving(desk_of(two)) as server:
        assert server.socket.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match="--port"):
            ReviewServer(desk_of(two), server.access, server.server_port)


def test_bounds_on_what_is_sent(two):
    limits = Limits(request_bytes=8192, request_seconds=1.0)
    with serving(desk_of(two), limits) as server:
        host = f"Host: 127.0.0.1:{server.server_port}\r\n".encode()
        head = b"POST /x HTTP/1.1\r\n" + host
        assert b" 411 " in raw(server, head + b"\r\n").split(b"\r\n")[0]
        assert b" 411 " in raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").split(b"\r\n")[0]
        assert b" 411 " in raw(server, head + b"Content-Length: -1\r\n\r\n").split(b"\r\n")[0]
        assert b" 413 " in raw(server, head + b"Content-Length: 8193\r\n\r\n").split(b"\r\n")[0]
        assert b" 200 " not in raw(server, b"GET /style.css HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n" + host + b"\r\n")
        assert b" 200 " not in raw(server, b"GET /" + b"x" * 9000)
        for method in (b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"):
            answer = raw(server, method + b" /style.css HTTP/1.1\r\n" + host + b"\r\n")
            assert b" 501 " in answer.split(b"\r\n")[0] and b"default-src 'none'" in answer
        assert raw(server, b"GET /style.css\r\n") == b""  # HTTP/0.9 knows no headers
        head_only = raw(server, b"HEAD /style.css HTTP/1.1\r\n" + host + b"\r\n")
        assert head_only.endswith(b"\r\n\r\n") and b" 200 " in head_only and b"Python" not in head_only
        assert server.url, "none of that used the token up"


def test_who_is_slow_or_many_does_not_stop_the_page(two):
    with serving(desk_of(two), Limits(request_seconds=1.0, connections=3)) as server:
        caller = Caller(server.url)
        begun = time.monotonic()
        idle = [socket.create_connection(("127.0.0.1", server.server_port), timeout=20) for _ in range(3)]
        idle[0].sendall(b"GET /style.css HTTP/1.1\r\n")
        time.sleep(0.2)
        assert raw(server, b"GET /style.css HTTP/1.1\r\n") == b""  # closed unread
        for connection in idle:
            while connection.recv(4096):
                pass
            connection.close()
        assert time.monotonic() - begun < 8
        caller.enter()


def test_it_ends_by_itself(two):
    desk = desk_of(two)
    with serving(desk, Limits(token_seconds=0.2)) as server:
        time.sleep(0.3)
        assert server.access.over
    with serving(desk, Limits(idle_seconds=1.0), outlive=True) as server:
        page = Caller(server.url).enter()
        time.sleep(1.1)
        assert page.get()[0] == 403 and server.access.over


def test_the_desk_needs_the_right_person(two, tmp_path):
    with pytest.raises(ConfigError):
        Desk(two.stick, two.officer, "another passphrase")
    with pytest.raises(ConfigError, match="no folder"):
        Desk(tmp_path / "nothing", two.officer, OFFICER_PASSPHRASE)
    with pytest.raises(ConfigError):
        Desk(two.stick, tmp_path, OFFICER_PASSPHRASE)
