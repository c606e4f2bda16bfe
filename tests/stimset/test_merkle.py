"""The Merkle tree against RFC 6962's own recursion, and proofs that must not hold."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stimset.errors import LogForked
from stimset.merkle import check_consistency, consistency, grown, leaf_hash, root_hash


def naive_root(records):
    """RFC 6962, section 2.1, word for word: the oracle."""
    if not records:
        return hashlib.sha256().digest()
    if len(records) == 1:
        return hashlib.sha256(b"\0" + records[0]).digest()
    k = 1
    while 2 * k < len(records):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(records[:k]) + naive_root(records[k:])).digest()


def tree(records):
    nodes = {}
    for size, record in enumerate(records):
        for level, index, value in grown(size, leaf_hash(record), lambda a, b: nodes[a, b]):
            nodes[level, index] = value
    return lambda level, index: nodes[level, index]


RECORDS = [bytes([i, i + 1]) for i in range(70)]
READ = tree(RECORDS)


@pytest.mark.parametrize("size", range(71))
def test_the_root_is_that_of_the_rfc(size):
    assert root_hash(size, READ) == naive_root(RECORDS[:size])


def test_published_vectors():
    """The reference vectors of the certificate-transparency project: eight leaves, some of their roots."""
    leaves = [
        bytes.fromhex(x)
        for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
    ]
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    assert {size: root_hash(size, tree(leaves)).hex() for size in roots} == roots


@pytest.mark.parametrize("new", [1, 2, 3, 7, 8, 9, 31, 64, 65, 70])
def test_every_past_is_proved(new):
    for old in range(new + 1):
        check_consistency(old, root_hash(old, READ), new, root_hash(new, READ), consistency(old, new, READ))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 69), st.integers(2, 70), st.data())
def test_another_past_is_not(old, new, data):
    old = min(old, new - 1)
    changed = list(RECORDS)
    changed[data.draw(st.integers(0, old - 1))] = b"forged"
    proof = consistency(old, new, tree(changed))
    with pytest.raises(LogForked):
        check_consistency(old, root_hash(old, READ), new, root_hash(new, tree(changed)), proof)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 69), st.integers(2, 70), st.data())
def test_a_proof_that_was_touched_is_refused(old, new, data):
    old = min(old, new - 1)
    proof = consistency(old, new, READ)
    kind = data.draw(st.sampled_from(["drop", "add", "flip", "none"]))
    at = data.draw(st.integers(0, len(proof) - 1))
    if kind == "drop":
        del proof[at]
    elif kind == "add":
        proof.insert(at, bytes(32))
    elif kind == "flip":
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
    else:
        proof = []
    with pytest.raises(LogForked):
        check_consistency(old, root_hash(old, READ), new, root_hash(new, READ), proof)


def test_a_shorter_log_is_refused():
    with pytest.raises(LogForked):
        check_consistency(9, root_hash(9, READ), 8, root_hash(8, READ), [])
    with pytest.raises(ValueError, match="past"):
        consistency(9, 8, READ)
