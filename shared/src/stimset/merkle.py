"""A Merkle tree over a log's records (RFC 6962, section 2; the checks of RFC 9162, section 2.1.4): pure arithmetic, no I/O.

Whoever keeps the root of a tree of some size can later be shown, by about log2(size) hashes, that a larger tree begins with the very
same records. A log that was changed, shortened or forked can't show it.

Only complete subtrees are stored, as ``(level, index)``: the node covers the records from ``index * 2**level`` on. Usage::

    for level, index, value in grown(size, leaf_hash(record), read): store(...)
    root_hash(size + 1, read)
    check_consistency(old_size, old_root, new_size, new_root, consistency(old_size, new_size, read))
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from stimset.errors import LogForked

HASH_BYTES = 32
MAX_SIZE = 1 << 53
MAX_PROOF = 2 * 54

Read = Callable[[int, int], bytes]


def leaf_hash(record: bytes) -> bytes:
    """The hash of one record; the prefix keeps a record from passing as an inner node."""
    return hashlib.sha256(b"\0" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


def grown(size: int, leaf: bytes, read: Read) -> list[tuple[int, int, bytes]]:
    """The nodes that a further record completes.

    Args:
        size: how many records there were before it.
        leaf: its `leaf_hash`.
        read: gives the stored node of a level and index.

    Returns:
        ``(level, index, hash)`` from the leaf upwards; two on average.
    """
    nodes, level, index, value = [(0, size, leaf)], 0, size, leaf
    while index & 1:
        value = node_hash(read(level, index - 1), value)
        level, index = level + 1, index >> 1
        nodes.append((level, index, value))
    return nodes


def root_hash(size: int, read: Read) -> bytes:
    """The root of the tree of the first `size` records; that of no records is the SHA-256 of nothing."""
    return _subtree(0, size, read) if size else hashlib.sha256().digest()


def consistency(old: int, new: int, read: Read) -> list[bytes]:
    """The proof that the tree of `new` records begins with that of `old`; empty where nothing is to prove.

    Raises:
        ValueError: not ``0 <= old <= new``.
    """
    if not 0 <= old <= new:
        raise ValueError("a log's past is not longer than its present")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    low, high, whole = 0, new, True
    pending: list[bytes] = []
    while old < high:
        middle = low + _split(high - low)
        if old <= middle:
            pending.append(_subtree(middle, high, read))
            high = middle
        else:
            pending.append(_subtree(low, middle, read))
            low, whole = middle, False
    if not whole:
        proof.append(_subtree(low, high, read))
    return proof + pending[::-1]


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Return when the proof shows that the log of `new` records begins with the one of `old` records.

    Raises:
        LogForked: it does not.
    """
    if old == new:
        holds = not proof and hmac.compare_digest(old_root, new_root)
    elif old == 0:
        holds = not proof
    else:
        holds = 0 < old < new and 0 < len(proof) <= MAX_PROOF and _climb(old, old_root, new, new_root, proof)
    if not holds:
        raise LogForked(
            f"the custodian's log of {new} records does not go on from the {old} that it showed before: it was changed, or we "
            "are shown another one than others are; keep the witness file and ask the custodian"
        )


def _climb(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    first, second = old - 1, new - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    before = after = path[0]
    for value in path[1:]:
        if second == 0:
            return False
        if first & 1 or first == second:
            before, after = node_hash(value, before), node_hash(value, after)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            after = node_hash(after, value)
        first, second = first >> 1, second >> 1
    return second == 0 and hmac.compare_digest(before, old_root) and hmac.compare_digest(after, new_root)


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(low: int, high: int, read: Read) -> bytes:
    """The hash over the records ``low <= i < high``; `low` is a multiple of the power of two above their number."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return read(level, low >> level)
    middle = low + _split(count)
    return node_hash(_subtree(low, middle, read), _subtree(middle, high, read))
