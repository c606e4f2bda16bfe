"""``custodian review`` and ``release reject`` as a user runs them, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from review_desk import REASON, Caller, desk_of
from two_people import OFFICER_PASSPHRASE, command

PROGRAM = Path(sys.executable).with_name("custodian")


@contextmanager
def review(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"CUSTODIAN_PASSPHRASE": OFFICER_PASSPHRASE, "CUSTODIAN_HOME": "", "COLUMNS": "60"}
    with subprocess.Popen(
        [PROGRAM, "review", *map(str, arguments), "--format", "json"], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=_hear_interrupts,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _hear_interrupts() -> None:
    """What a shell starts in the background, the tests perhaps among it, ignores them and hands that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def address(process: subprocess.Popen[str]) -> str:
    """The printed address; it stands on a line of its own, however narrow the terminal is."""
    for line in process.stderr:
        if found := re.fullmatch(r"(http://127\.0\.0\.1:\d+/open\?token=[\w-]{43})\n", line):
            return found[1]
    raise AssertionError("no address was printed")


def test_from_the_printed_address_to_the_signature(two):
    two.carry(two.propose())
    with review(two.stick, "--officer-home", two.officer) as process:
        page = Caller(address(process)).enter()
        fields = page.secrets("apnea-0001")
        fields |= {"typed": "apnea-0001", "words": desk_of(two).examine("apnea-0001").words}
        assert page.post("proposal/apnea-0001/approve", fields)[0] == 303
        assert page.post("end", {"form": fields["form"]})[0] == 200
        said, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
    (decision,) = json.loads(said)["decisions"]
    assert decision == {
        "proposal": "apnea-0001", "approved": True, "digest": fields["digest"], "folder": str(two.stick / "apnea-0001")
    }  # fmt: skip
    assert page.cookie not in said and two.publish(two.stick / "apnea-0001")["release"] == "apnea-0001"


def test_the_custodians_own_folder_and_the_interrupt(two):
    two.propose()
    with review("--officer-home", two.officer, "--home", two.home.root) as process:
        page = Caller(address(process)).enter()
        assert page.post("proposal/apnea-0001/reject", page.secrets("apnea-0001") | {"reason": REASON})[0] == 303
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(said)["decisions"][0]["folder"] is None
    shown = command("log", "show", "--event", "reject", "--home", two.home.root)["records"]
    assert [record["facts"]["release"] for record in shown] == ["apnea-0001"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("{stick}", "--home", "{home}"), "not both"),
        ((), "name the FOLDER"),
        (("{stick}/nothing",), "is no folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(two, arguments, why):
    named = [argument.format(stick=two.stick, home=two.home.root) for argument in arguments]
    said = command("review", *named, "--officer-home", two.officer, passphrase=OFFICER_PASSPHRASE, exit_code=3)["said"]
    assert why in said and said.count("error:") == 1


def test_reject_says_what_is_wrong(two):
    carried = two.carry(two.propose())
    base = ("release", "reject", carried, "--home", two.officer)
    assert "20 to 1000" in command(*base, "--reason", "no", passphrase=OFFICER_PASSPHRASE, exit_code=4)["said"]
    command(*base, "--reason", REASON, passphrase="another passphrase", exit_code=3)
    command("release", "reject", two.officer, "--home", two.officer, "--reason", REASON, passphrase=OFFICER_PASSPHRASE, exit_code=3)
