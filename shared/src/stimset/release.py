"""What a release says about itself: the types behind ``statement.json``, and the one way to write them as bytes.

A release is a folder::

    stimuli-00000.safetensors ...   shards: `stimuli` (n, channels, samples) float32, `probabilities` (n, classes) float32
    card.json, CARD.md              Croissant, and the same for people
    statement.json                  in-toto Statement v1; its subjects are the files above, by SHA-256 and size
    provenance.dsse.json            DSSE envelope over exactly the bytes of statement.json

Nothing here reads a file or a key: `custodian.publish` writes releases, `stimset.verifying` checks them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stimset.errors import FormatError
from stimset.windows import WindowSpec

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:stimset:release:v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_FILE = "statement.json"
ENVELOPE_FILE = "provenance.dsse.json"
SHARD_PATTERN = "stimuli-{:05d}.safetensors"

# Documented bounds on what comes from outside (shared/FORMAT.md).
MAX_STATEMENT_BYTES = 4 << 20
MAX_ENVELOPE_BYTES = 8 << 20
MAX_FILES = 10_000
MAX_SHARD_BYTES = 256 << 20
MAX_CARD_BYTES = 4 << 20
MAX_NESTING = 32


@dataclass(frozen=True)
class StimulusArrays:
    """Stimuli in memory.

    Attributes:
        values: ``(n, channels, samples)`` float32, finite, in the units of the window spec after normalisation.
        probabilities: ``(n, classes)`` float32, the teacher's belief (rows sum to 1).
    """

    values: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def split(self, held_out: float = 0.1, seed: int = 0) -> tuple[StimulusArrays, StimulusArrays]:
        """Stimuli to learn from, and the share `held_out` of them, drawn by `seed`.

        Raises:
            FormatError: one side would be empty.
        """
        count = round(held_out * len(self)) if 0 < held_out < 1 else 0
        if not 0 < count < len(self):
            raise FormatError(f"{len(self)} stimuli can't be split with {held_out:g} of them held out")
        held, learned = np.split(np.random.default_rng(seed).permutation(len(self)), [count])
        return (
            StimulusArrays(self.values[learned], self.probabilities[learned]),
            StimulusArrays(self.values[held], self.probabilities[held]),
        )


@dataclass(frozen=True)
class FileEntry:
    """One signed file: its name (no folders), SHA-256 in hex, and size in bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class CheckResult:
    """One check of the gate.

    Attributes:
        name: e.g. ``"identity-certainty"``.
        value: what was measured; None where the check could not run, which counts as failed.
        limit: what the policy allows.
        rule: ``"<="`` or ``">="``: how `value` must stand to `limit`.
        passed: whether it does.
        meaning: one sentence for a data-protection officer: what the number says, and what it does not.
    """

    name: str
    value: float | None
    limit: float
    rule: str
    passed: bool
    meaning: str


@dataclass(frozen=True)
class ReportDigests:
    """The gate's report on this set, which stays with the custodian: SHA-256 (hex) of ``report.json`` and of ``report.html``."""

    json: str
    html: str


@dataclass(frozen=True)
class Override:
    """Two people let a set leave that the gate refused. It stays visible to everybody who holds the release.

    Attributes:
        people: role -> name, as they signed: at least two different people in different roles.
        reason: their own words, 20 to 1,000 characters.
        failed: names of the checks that failed, in their order: exactly those of the verdict.
        approval: SHA-256 (hex) of the document that all of them signed before the set was admitted.
    """

    people: Mapping[str, str]
    reason: str
    failed: tuple[str, ...]
    approval: str


@dataclass(frozen=True)
class GateResult:
    """The gate's verdict as it stands in the signed provenance.

    Attributes:
        admitted: true only when every check passed.
        policy: name of the policy, and `policy_digest` its SHA-256 (hex).
        checks: every check, in the order in which they ran.
        measurements: every further number that was measured on the way, by name.
        persons: how many patients the attackers knew; None in releases that do not say.
        warnings: what is to be read beside the numbers, such as a cohort too small for any claim.
        report: digests of the custodian's report; None where there is none.
        override: who let it leave all the same; None unless checks failed.
    """

    admitted: bool
    policy: str
    policy_digest: str
    checks: tuple[CheckResult, ...]
    measurements: Mapping[str, float]
    persons: int | None = None
    warnings: tuple[str, ...] = ()
    report: ReportDigests | None = None
    override: Override | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that did not pass, in their order."""
        return tuple(check.name for check in self.checks if not check.passed)

    @property
    def may_leave(self) -> bool:
        """Whether a release may carry it: every check passed, or an override names exactly those that did not."""
        if self.override is None:
            return self.admitted and bool(self.checks) and not self.failed
        return not self.admitted and bool(self.failed) and self.override.failed == self.failed


@dataclass(frozen=True)
class Budget:
    """What the cohort has spent of its differential-privacy budget, this release included.

    Attributes:
        epsilon, delta: composed over everything that was recorded; None where something was read without noise, so that no
            guarantee holds.
        entries: how many recorded uses were composed.
    """

    epsilon: float | None
    delta: float | None
    entries: int


@dataclass(frozen=True)
class Predicate:
    """What the custodian signs about a stimulus set, beside the digests of its files.

    Attributes:
        release_id: ``"<name>-<sequence, 4 digits>"``; lower-case letters, digits and hyphens.
        name: the series that the release belongs to; sequence numbers count within it.
        sequence: from 1; a consumer refuses to go back (rollback).
        custodian: the organisation's name.
        created, expires: UTC, ``YYYY-MM-DDTHH:MM:SSZ``.
        simulated: true where the patients are simulated; shown wherever the release appears.
        window_spec: how a recording becomes what the students expect.
        stimuli: how many in all; `shards` says how many in each, in order.
        teacher: name of the architecture, digests, training regime and validation kappa: plain JSON values.
        recipe: the recipe's name, digest and whole document: plain JSON values.
        aggregates: every statistic of patients that the recipe read: name, how many numbers, how a patient's part is bounded,
            epsilon and delta (None where no noise was added).
        gate: the measured verdict.
        software: versions of what made it.
        budget: the cohort's cumulative privacy budget; None in releases that do not say.
    """

    release_id: str
    name: str
    sequence: int
    custodian: str
    created: str
    expires: str
    simulated: bool
    window_spec: WindowSpec
    stimuli: int
    shards: Mapping[str, int]
    teacher: Mapping[str, Any]
    recipe: Mapping[str, Any]
    aggregates: tuple[Mapping[str, Any], ...]
    gate: GateResult
    software: Mapping[str, str]
    budget: Budget | None = None


@dataclass(frozen=True)
class Statement:
    """An in-toto Statement v1 about a release: the files, and what is said of them."""

    subjects: tuple[FileEntry, ...]
    predicate: Predicate


def canonical_json(document: Any) -> bytes:
    """Compact JSON with sorted keys in UTF-8; NaN and infinities are refused. Equal documents give equal bytes.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
