"""The officer's way through the page in a real browser, by mouse and by keyboard; and what the browser lets others do."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from browser import Browser, program
from custodian.review.access import Limits
from review_desk import REASON, desk_of, propose_overridden, propose_with_report, serving

pytestmark = pytest.mark.skipif(program() is None, reason="no Chromium is installed; apt-get install chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser.start(tmp_path_factory.mktemp("browser") / "profile") as started:
        yield started


@pytest.fixture
def server(two):
    two.carry(propose_with_report(two))
    with serving(desk_of(two)) as started:
        yield started


def enter(browser: Browser, server) -> str:
    """Follow the printed address; the desk's own address."""
    browser.events.clear()
    browser.open(server.url)
    browser.wait_for("document.querySelector('.items')")
    return browser.run("location.href")


def signed(two) -> bool:
    return (two.officer / "approved.json").exists()


def words(two, name: str = "apnea-0001") -> str:
    return desk_of(two).examine(name).words


def test_approve(two, server, browser):
    desk = enter(browser, server)
    assert "token" not in desk and browser.text("h1") == "One proposal waits for your signature."
    browser.click("a[href$='apnea-0001']")
    assert "apnea-0001: 5 stimuli" in browser.text("h1") and "Simulated" in browser.text(".banner")
    browser.fill("#typed", "apnea-0001")
    browser.fill("#words", "quite other words")
    browser.click(".approve button")
    assert "The words are not those" in browser.text("[role=alert]") and not signed(two)
    assert browser.run("document.querySelector('#typed').value") == "apnea-0001", "nobody types it again"
    browser.fill("#words", words(two))
    browser.click(".approve button")
    assert "apnea-0001 is signed." in browser.text() and signed(two)
    browser.click(".bar button")
    assert browser.text("h1") == "The review has ended."
    assert browser.run("getComputedStyle(document.querySelector('h1')).maxWidth") != "none", "the last page has its style sheet too"
    assert server.access.over
    assert two.publish(two.stick / "apnea-0001")["release"] == "apnea-0001"


def test_reject(two, server, browser):
    two.carry(propose_overridden(two))
    enter(browser, server)
    browser.click("a[href$='forced-0001']")
    assert "The gate refused this set" in browser.text(".overridden") and "linkage" in browser.text("tr.failed")
    browser.run("document.querySelector('.reject button').click()")
    assert browser.run("document.activeElement.id") == "reason", "the browser itself asks for a reason"
    browser.fill("#reason", f"{REASON}\nThen propose it anew.")
    browser.click(".reject button")
    assert "forced-0001 is rejected." in browser.text() and not signed(two)
    assert f"{REASON} Then propose it anew." in two.publish(two.stick / "forced-0001", exit_code=10)["said"]


def test_by_keyboard_alone(two, server, browser):
    enter(browser, server)

    def until(selector: str) -> None:
        for _ in range(40):
            if browser.run(f"document.activeElement.matches({selector!r})"):
                return
            browser.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab")

    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    until(".items a")
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid", "one sees where one is"
    browser.press("Enter", leaves=True)
    until("#typed")
    browser.type("apnea-0001")
    browser.press("Tab")
    browser.type(words(two))
    browser.press("Enter", leaves=True)
    assert "apnea-0001 is signed." in browser.text() and signed(two)


def test_every_field_has_a_name_and_every_id_is_one(server, browser):
    enter(browser, server)
    browser.click("a[href$='apnea-0001']")
    assert browser.run("[...document.querySelectorAll('input:not([type=hidden]), textarea')].every(e => e.labels.length === 1)")
    assert browser.run("[...document.querySelectorAll('iframe')].every(e => e.title)")
    assert browser.run("(ids => new Set(ids).size === ids.length)([...document.querySelectorAll('[id]')].map(e => e.id))")
    assert browser.run("document.documentElement.lang === 'en' && document.querySelectorAll('main').length === 1")


def test_nothing_from_outside_and_no_script(server, browser):
    enter(browser, server)
    browser.click("a[href$='apnea-0001']")
    browser.wait_for("document.querySelector('iframe').contentWindow.length === 0")
    host = f"http://127.0.0.1:{server.server_port}/"
    asked = browser.addresses()
    assert any(url.endswith("/report") for url in asked)
    assert not [url for url in asked if not url.startswith(host)]
    assert browser.complaints() == [], "the page keeps to its own policy"
    assert browser.run("document.title") == "apnea-0001: for your signature", "a check's text is text"
    browser.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.taken = true'}))")
    assert browser.run("window.taken === undefined")
    assert browser.run("fetch('/style.css').then(() => 'read', () => 'refused')") == "refused"
    assert browser.run("document.cookie") == "", "no script can read the session"


def test_it_prints(server, browser):
    enter(browser, server)
    browser.click("a[href$='apnea-0001']")
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.querySelector('.decide')).display") == "none"
    assert browser.run("getComputedStyle(document.querySelector('iframe')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")
    assert browser.pdf().startswith(b"%PDF")


def test_a_narrow_screen_does_not_scroll_sideways(server, browser):
    enter(browser, server)
    browser.click("a[href$='apnea-0001']")
    browser.call("Emulation.setDeviceMetricsOverride", width=380, height=700, deviceScaleFactor=1, mobile=True)
    assert browser.run("document.documentElement.scrollWidth <= 380")
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_the_token_works_once(server, browser):
    url = server.url
    enter(browser, server)
    browser.open(url)
    assert browser.text("h1") == "Not open to you" and "used before" in browser.text()


def test_an_expired_token(two, browser):
    with serving(desk_of(two), Limits(token_seconds=0.5), outlive=True) as server:
        url = server.url
        threading.Event().wait(0.6)
        browser.open(url)
        assert "too old" in browser.text()


def test_a_form_without_its_secret(two, server, browser):
    enter(browser, server)
    browser.click("a[href$='apnea-0001']")
    browser.run("document.querySelector('.reject [name=form]').remove()")
    browser.fill("#reason", REASON)
    browser.click(".reject button")
    assert browser.text("h1") == "Not open to you" and not list(two.stick.rglob("rejection.dsse.json"))


@contextmanager
def elsewhere(page: str) -> Iterator[tuple[str, list[str]]]:
    """Another page on this machine: its address, and the cookies that it gets."""
    cookies: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *arguments) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{other.server_port}/", cookies
        finally:
            other.shutdown()
            thread.join()


def test_another_page_can_not_decide_frame_or_get_the_cookie(two, server, browser):
    desk = enter(browser, server)
    browser.click("a[href$='apnea-0001']")
    secrets = browser.run("Object.fromEntries(new FormData(document.querySelector('.reject')))")
    fields = "".join(f"<input name={n} value='{v}'>" for n, v in (secrets | {"reason": REASON}).items())
    form = f"<form method=post action='{desk}proposal/apnea-0001/reject'>{fields}</form><iframe src='{desk}'></iframe>"
    with elsewhere(form) as (url, cookies):
        browser.open(url)  # of the same host on another port, which cookies do not tell apart
        assert cookies and not any(cookies)
        assert not browser.run("!!document.querySelector('iframe').contentDocument?.querySelector('.items')")
        browser.submit("form")
    assert "sent by another page" in browser.text() and not list(two.stick.rglob("rejection.dsse.json"))


def test_another_name_for_this_machine(server, browser):
    browser.open(server.url.replace("127.0.0.1", "localhost"))
    assert browser.text("h1") == "Another address"
    assert server.url, "the token is not used up by it"
