"""Releases of several custodians as one lesson: what must agree, who is named, what is held out.

A student may learn from the releases of several hospitals where their window specs are the same: then one array of windows means the same
at each of them, and at whoever uses the student. The order in which releases are named does not matter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from consumer.students.consensus import Halves
from consumer.students.student import JOINT, Lineage
from consumer.trust import statement_digest
from stimset.errors import ConfigError, FormatError
from stimset.release import StimulusArrays
from stimset.verifying import VerifiedRelease

LEAST_STIMULI = 20
MAX_NAME = 150
"""Of a file system's 255 characters; family, seed and adjustments follow."""

MAX_DIFFERENCES = 8
_SHORT_NAME = re.compile("[a-z0-9-]{1,63}")


def together(release: VerifiedRelease, beside: Sequence[VerifiedRelease] = ()) -> tuple[VerifiedRelease, ...]:
    """The releases in the order that their student names them.

    Raises:
        TypeError: one was not verified.
        ConfigError: one is given twice, or their window specs differ; the fields are named.
    """
    for each in (release, *beside):
        if not isinstance(each, VerifiedRelease):
            raise TypeError("a student is trained on a VerifiedRelease alone (stimset.verifying.verify)")
    by_digest = {statement_digest(r.statement): r for r in (release, *beside)}
    if len(by_digest) < 1 + len(beside):
        raise ConfigError("a release is named twice; its stimuli would count twice")
    first, *others = (by_digest[digest] for digest in sorted(by_digest, key=lambda d: (by_digest[d].id, d)))
    for other in others:
        if fields := differing(first, other):
            raise ConfigError(
                f"{first.id} and {other.id} can't train one student: their window specs differ in {'; '.join(fields)}; "
                "train a student of each, or ask the custodians to agree on one spec"
            )
    return first, *others


def differing(one: VerifiedRelease, other: VerifiedRelease) -> list[str]:
    """The fields in which two releases' window specs differ, such as ``signals.0.unit``, each with both values, shortened."""
    first, second = _leaves(one.spec.to_document()), _leaves(other.spec.to_document())
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    named = [f"{name} ({_short(first.get(name))} / {_short(second.get(name))})" for name in names[:MAX_DIFFERENCES]]
    return named + ([f"{len(names) - MAX_DIFFERENCES} more"] if len(names) > MAX_DIFFERENCES else [])


def label(release: VerifiedRelease) -> str:
    """What a release is called in the home: its id, or ``NAME.ID`` where two custodians gave the same (`consumer.standing.place`)."""
    prefix, _, rest = release.folder.name.partition(".")
    return release.folder.name if rest == release.id and _SHORT_NAME.fullmatch(prefix) else release.id


def called(releases: Sequence[VerifiedRelease]) -> str:
    """What stands for the releases in a student's name: their labels, or where these are too long their number and a digest."""
    joined = JOINT.join(label(release) for release in releases)
    if len(releases) == 1 or len(joined) <= MAX_NAME:
        return joined
    digests = "".join(statement_digest(release.statement) for release in releases)
    return f"union-of-{len(releases)}-{hashlib.sha256(digests.encode()).hexdigest()[:12]}"


def lineage(releases: Sequence[VerifiedRelease]) -> Lineage:
    """Who is named in a student's lineage."""
    return Lineage.joined(
        [
            Lineage(r.id, r.predicate.custodian, statement_digest(r.statement), r.root_fingerprint, r.predicate.simulated)
            for r in releases
        ]
    )


def halves_of(releases: Sequence[VerifiedRelease], seed: int, held_out: float) -> list[Halves]:
    """Of each release the stimuli to learn from, and the share that is held out, drawn by `seed`.

    Raises:
        FormatError: a release has fewer than `LEAST_STIMULI`.
        VerificationError: a file was changed since it was verified.
    """
    halves = []
    for release in releases:
        stimuli = release.stimuli()
        if len(stimuli) < LEAST_STIMULI:
            raise FormatError(f"{release.id} has {len(stimuli)} stimuli; at least {LEAST_STIMULI} are needed to train a student")
        halves.append(stimuli.split(held_out, seed))
    return halves


def joined(parts: Sequence[StimulusArrays]) -> StimulusArrays:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    return StimulusArrays(np.concatenate([p.values for p in parts]), np.concatenate([p.probabilities for p in parts]))


def _leaves(value: object, path: str = "") -> dict[str, object]:
    """Path -> value of everything in a document that holds nothing else."""
    if isinstance(value, dict):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list) and value:
        parts = [(str(place), part) for place, part in enumerate(value)]
    else:
        return {path: value}
    return {name: leaf for key, part in parts for name, leaf in _leaves(part, f"{path}.{key}" if path else key).items()}


def _short(value: object) -> str:
    text = "missing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
