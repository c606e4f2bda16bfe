"""A real headless Chromium, driven over the DevTools protocol through a pipe: no driver, no library, no port.

Messages are JSON, each ended by a zero byte, on descriptors 3 (to the browser) and 4 (from it); see
https://chromedevtools.github.io/devtools-protocol/.

Usage::

    with Browser.start(tmp_path / "profile") as browser:
        browser.open("http://127.0.0.1:8000/"); browser.click("a"); browser.text("h1")
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
)  # fmt: skip
SECONDS = 60.0  # on a busy machine a page may take long; it costs nothing where it doesn't


def program() -> str | None:
    """The browser's program; None where there is none."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """One tab of one browser."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._buffer, self._number, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []

    @classmethod
    @contextmanager
    def start(cls, profile: Path, *flags: str) -> Iterator[Browser]:
        """A browser with a profile of its own; it is gone afterwards."""
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()

        def place() -> None:  # in the child: its ends become 3 and 4, whatever their numbers were
            first, second = os.dup(theirs_in), os.dup(theirs_out)
            while first < 5:
                first = os.dup(first)
            while second < 5:
                second = os.dup(second)
            os.dup2(first, 3)
            os.dup2(second, 4)

        process = subprocess.Popen(
            [program() or PROGRAMS[0], *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=place, pass_fds=(3, 4), start_new_session=True,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        browser = cls(ours_out, ours_in)
        try:
            target = next(t for t in browser.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
            browser._session = browser.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                browser.call(f"{domain}.enable")
            yield browser
        finally:
            os.close(ours_out)  # the browser ends with its pipe
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(ours_in)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command, and its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError("the browser did not answer")
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        """Go to an address as if it were typed, and wait until the page is there."""
        self._leaving(lambda: self.call("Page.navigate", url=url))

    def click(self, selector: str) -> None:
        """Click, and wait for the page that follows."""
        self._leaving(lambda: self.run(f"document.querySelector({json.dumps(selector)}).click()"))

    def submit(self, selector: str) -> None:
        """Send a form as a script of its page would, and wait for the page that follows."""
        self._leaving(lambda: self.run(f"document.querySelector({json.dumps(selector)}).submit()"))

    def press(self, key: str, *, leaves: bool = False) -> None:
        """A key, as from the keyboard; `leaves` where another page follows."""
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        code = {"Enter": 13, "Tab": 9}.get(key, 0)

        def strike() -> None:
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

        self._leaving(strike) if leaves else strike()

    def type(self, text: str) -> None:
        """Text into whatever has the focus, as from the keyboard."""
        self.call("Input.insertText", text=text)

    def fill(self, selector: str, text: str) -> None:
        """Put the focus on a field, and type into it."""
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.type(text)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:500])
        return result["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def wait_for(self, expression: str) -> Any:
        """Ask again and again until an expression is true."""
        until = time.monotonic() + SECONDS
        while True:
            try:
                if value := self.run(f"!!({expression})"):
                    return value
            except RuntimeError:  # between two pages there is nothing to ask
                pass
            if time.monotonic() > until:
                raise TimeoutError(f"never true: {expression}; the page says: {self.text()[:500]}")
            time.sleep(0.03)

    def screenshot(self, path: Path, *, width: int = 1200, dark: bool = False) -> None:
        """The whole page as PNG."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        height = int(self.run("document.documentElement.scrollHeight"))
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        time.sleep(0.5)  # frames of another process are drawn later
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def addresses(self) -> set[str]:
        """Every address that was asked for since the browser began."""
        self.call("Runtime.evaluate", expression="1")  # what was said until now is read with the answer
        return {e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"}

    def complaints(self) -> list[str]:
        """What the browser's console holds against the pages, such as a breach of their own policy."""
        self.call("Runtime.evaluate", expression="1")
        return [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]

    def _leaving(self, action: Any) -> None:
        """Do something that leads to another page, and wait until that one has loaded."""
        self.run("window.stale = true")
        action()
        self.wait_for("!window.stale && document.readyState === 'complete' && location.href !== 'about:blank'")
