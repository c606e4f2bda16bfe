"""Proposals on an officer's stick, made by the real publisher, and a review page that really listens.

The gate's findings are the only thing invented; its report is written by the gate's own code.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import tiny_release
from custodian.config import Home
from custodian.gate import report
from custodian.gate.attacks import Curve, Finding
from custodian.gate.judging import Judgement
from custodian.gate.policy import load_policy
from custodian.publish.keys import load_signers
from custodian.publish.publishing import propose
from custodian.review.access import Access, Limits
from custodian.review.desk import Desk
from custodian.review.serving import ReviewServer
from custodian.state.engine import Database
from custodian.state.log import records
from small_cohort import SPEC, cohort
from stimset.release import Budget, CheckResult, GateResult, Override
from two_people import OFFICER_PASSPHRASE, TwoPeople

PROBE = "<script>document.title = 'taken over'</script>"
FINDING = Finding(
    "membership-student", "auc", {"auc": 0.56}, f"Words {PROBE}.", "A caveat.", intervals={"auc": (0.49, 0.63)},
    curves={"stimuli": Curve((0.0, 0.5, 1.0), (0.0, 0.6, 1.0))}, positive_control=0.9, negative_control=0.5,
)  # fmt: skip
CHECKS = (
    CheckResult("membership-student", 0.56, 0.6, "<=", True, f"How well members are told apart {PROBE}."),
    CheckResult("utility-loss-mlp", 0.03, 0.15, "<=", True, "What a student loses."),
)
FAILED = CheckResult("linkage", None, 0.1, "<=", False, "The attack 'linkage' did not run.")
RESULT = GateResult(True, "default-2", "ab" * 32, CHECKS, {}, persons=6, warnings=("Six patients are few.",))
OVERRIDE = Override(
    {"builder": "A. Meyer", "officer": "B. Holm"}, "A rehearsal with simulated patients, agreed on Monday.", ("linkage",), "cd" * 32
)
REASON = "The attack on linkage was not measured; measure it first."


def propose_with_report(two: TwoPeople, name: str = "apnea") -> Path:
    """A proposal, in the custodian's home, that brings the gate's report."""
    made = tiny_release.candidates(two.home.candidates(f"{name}-set"), spec=SPEC)
    budget = Budget(2.5, 1e-6, 3)
    written = report.write(made, cohort(), load_policy(), Judgement(RESULT, (FINDING,), (), {}), budget)
    admitted = tiny_release.admit(made, replace(RESULT, report=written), budget)
    return propose(admitted, two.home, load_signers(two.home, tiny_release.PASSPHRASE), name=name)


def propose_overridden(two: TwoPeople, name: str = "forced") -> Path:
    """A proposal of a set that the gate refused, of patients who are not simulated."""
    result = replace(RESULT, admitted=False, checks=(*CHECKS, FAILED), override=OVERRIDE)
    made = tiny_release.candidates(two.home.candidates(f"{name}-set"), simulated=False)
    admitted = tiny_release.admit(made, result, Budget(None, None, 4))
    return propose(admitted, two.home, load_signers(two.home, tiny_release.PASSPHRASE), name=name)


def desk_of(two: TwoPeople, waiting: Path | None = None, **options: Any) -> Desk:
    """The officer's desk over the stick."""
    return Desk(waiting or two.stick, two.officer, OFFICER_PASSPHRASE, **options)


def decisions(home: Home, event: str) -> list[dict[str, Any]]:
    """The facts of every record of an event, in order."""
    database = Database.open(home)
    try:
        with database.reading() as session:
            return [r["facts"] for row in records(session) if (r := json.loads(row.record))["event"] == event]
    finally:
        database.close()


@contextmanager
def serving(desk: Desk, limits: Limits | None = None, *, outlive: bool = False) -> Iterator[ReviewServer]:
    """The page on a port of its own, until the block ends; `outlive` answers even when the review is over, to see what it says then."""
    with ReviewServer(desk, Access(limits)) as server:
        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                server.handle_request()

        thread = threading.Thread(target=answer if outlive else server.serve)
        thread.start()
        try:
            yield server
        finally:
            done.set()
            server.access.end()
            thread.join()


class Caller:
    """A program that speaks HTTP to the page, as nosy as it likes."""

    def __init__(self, url: str) -> None:
        self.host, self.path = re.fullmatch(r"http://([^/]+)(/.*)", url).groups()
        self.cookie, self.place = "", ""

    def send(self, method: str, path: str, body: str | bytes | None = None, **headers: str | None) -> tuple[int, dict[str, str], str]:
        """One request: status, headers by lower-case name, text. A header of None is left out."""
        sent = {"Host": self.host, "Cookie": f"review={self.cookie}", "Origin": f"http://{self.host}"}
        sent |= {"Content-Type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            data = body.encode() if isinstance(body, str) else body or b""
            for name, value in ({"Content-Length": str(len(data))} | sent if method == "POST" else sent).items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def enter(self) -> Caller:
        """Exchange the token for the session."""
        status, headers, text = self.send("GET", self.path, Cookie=None)
        assert status == 200, text
        self.cookie = re.match(r"review=([\w-]+);", headers["set-cookie"])[1]
        self.place = re.search(r"Path=(/[\w-]+/);", headers["set-cookie"])[1]
        return self

    def get(self, path: str = "", **headers: str | None) -> tuple[int, dict[str, str], str]:
        """A page under the session's place."""
        return self.send("GET", self.place + path, **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str | None) -> tuple[int, dict[str, str], str]:
        """A form under the session's place."""
        return self.send("POST", self.place + path, urlencode(fields), **headers)

    def secrets(self, name: str) -> dict[str, str]:
        """The hidden fields of a proposal's forms."""
        _, _, text = self.get(f"proposal/{name}")
        return dict(re.findall(r'<input type="hidden" name="(form|digest)" value="([^"]+)">', text))
