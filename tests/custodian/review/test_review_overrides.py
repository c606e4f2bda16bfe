"""Overrides on the officer's page: seen first, read in full, signed only with the set's name and the words."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import tiny_release
from custodian.gate.override import check_approved
from custodian.publish.keys import load_signers, own_root
from custodian.publish.overriding import examine_override, request_override
from review_desk import CHECKS, FAILED, PROBE, RESULT, Caller, desk_of, propose_with_report, serving
from stimset.envelope import Envelope, Signature, parse_envelope
from stimset.signing import generate_key
from two_people import OFFICER_PASSPHRASE, TwoPeople

REFUSED = replace(RESULT, admitted=False, checks=(*CHECKS, FAILED))
PEOPLE = {"builder": "A. Meyer", "officer": f"B. Holm {PROBE}"}
REASON = "A rehearsal with simulated patients, agreed on Monday."
FILE = "override.proposal.dsse.json"


def asked(two: TwoPeople) -> Path:
    """A request, in the custodian's home."""
    two.home.candidates("main").mkdir(parents=True)
    signers = load_signers(two.home, tiny_release.PASSPHRASE)
    return request_override(two.home, "main", (REFUSED, "ab" * 32), PEOPLE, REASON, signers)[0]


@pytest.fixture
def carried(two) -> Path:
    return Path(shutil.copy(asked(two), two.stick / FILE))


def form(caller: Caller, name: str = FILE) -> dict[str, str]:
    _, _, text = caller.get(f"override/{name}")
    return dict(re.findall(r'<input type="hidden" name="(form|digest)" value="([^"]+)">', text))


def signatures(file: Path) -> int:
    return len(parse_envelope(file.read_bytes()).signatures)


def test_it_is_seen_first_and_shows_all_that_is_signed(two, carried):
    two.carry(propose_with_report(two))
    (two.stick / "broken.dsse.json").write_bytes(b"{")
    (two.stick / "elsewhere.dsse.json").symlink_to(carried)
    with serving(desk_of(two)) as server:
        caller = Caller(server.url).enter()
        _, _, desk = caller.get()
        status, headers, text = caller.get(f"override/{FILE}")
        broken, _, why = caller.get("override/broken.dsse.json")
        gone, _, _ = caller.get("override/elsewhere.dsse.json")
    assert desk.index("override: the gate refused this set") < desk.index("a release")
    assert "2 proposals wait" in desk
    found = examine_override(carried, two.officer)
    assert status == 200 and headers["content-security-policy"].startswith("default-src 'none'; ")
    for shown in ("A. Meyer", "B. Holm", REASON, "linkage", "did not run", found.digest, found.request.verdict, "main"):
        assert shown in text, shown
    assert found.words not in text, "who reads them off the screen has compared nothing"
    assert PROBE not in text and "&lt;script&gt;" in text
    assert (broken, "Don't sign this" in why, gone) == (409, True, 404)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"typed": "mian"}, "type main to override"),
        ({"words": "bidol-bidol-bidol-bidol-bidol-bidol"}, "words are not those of what lies here"),
        ({"digest": "0" * 64}, "was changed while you looked at it"),
    ],
)
def test_a_wrong_word_signs_nothing(two, carried, wrong, said):
    before = carried.read_bytes()
    with serving(desk_of(two)) as server:
        caller = Caller(server.url).enter()
        fields = {**form(caller), "typed": "main", "words": examine_override(carried, two.officer).words, **wrong}
        status, _, text = caller.post(f"override/{FILE}/approve", fields)
    assert (status, said in text) == (422, True)
    assert carried.read_bytes() == before


def test_both_have_signed_what_goes_back(two, carried):
    words = examine_override(carried, two.officer).words
    desk = desk_of(two)
    with serving(desk) as server:
        caller = Caller(server.url).enter()
        fields = {**form(caller), "typed": "main", "words": words.replace("-", " ").upper()}
        assert caller.post(f"override/{FILE}/approve", {**fields, "form": "x"})[0] == 403
        assert caller.post(f"override/{FILE}/approve", fields)[0] == 303
        assert caller.post(f"override/{FILE}/approve", fields)[0] == 422
        _, _, after = caller.get()
        _, _, again = caller.get(f"override/{FILE}")
    assert "custodian override install" in after and str(carried) in after
    assert "You have signed this override already" in again
    request, _ = check_approved(carried.read_bytes(), own_root(two.home))
    assert (request.set_name, request.reason) == ("main", REASON)
    (decision,) = desk.decisions
    assert (decision.approved, decision.command) == (True, "custodian override install")


def test_where_both_homes_lie_on_one_machine_it_lies_beside_its_set(two):
    file = asked(two)
    two.home.proposals.mkdir(exist_ok=True)
    desk = desk_of(two, two.home.proposals, home=two.home)
    (item,) = desk.overrides.items()
    assert item.name == f"main.{FILE}"
    found = desk.overrides.examine(item.name)
    desk.overrides.approve(item.name, found.digest, typed="main", words=found.words)
    assert signatures(file) == len(own_root(two.home).keys)


def test_somebody_elses_request_is_not_to_be_signed(two, carried):
    envelope = parse_envelope(carried.read_bytes())
    stranger = generate_key()
    forged = Envelope(envelope.payload_type, envelope.payload, (Signature(stranger.keyid, stranger.sign(envelope.pae())),))
    carried.write_bytes(forged.to_bytes())
    with serving(desk_of(two)) as server:
        status, _, text = Caller(server.url).enter().get(f"override/{FILE}")
    assert (status, "<form class=\"reject\"" in text) == (409, False)
    assert OFFICER_PASSPHRASE not in text
