"""One cohort's account: its place in the ledger, and the secret that its noise is drawn from."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from numpy.typing import NDArray

from custodian.budget.ledger import Ledger
from custodian.budget.mechanisms import Mechanism
from custodian.config import PSEUDONYM_KEY_FILE, Home
from stimset.release import canonical_json

GRAIN = 2.0**-24
"""Noisy answers are rounded to this share of the noise: the last bits of floating-point noise would tell the true value
(I. Mironov, "On Significance of the Least Significant Bits for Differential Privacy", CCS 2012)."""


@dataclass(frozen=True)
class Account:
    """What private statistics are paid from.

    Attributes:
        ledger: the home's.
        cohort: of `cohort_id`.
        secret: the home's own; noise from a seed that stands in a provenance could be subtracted again.
        subject: what is paid for, such as the candidate set's name.
    """

    ledger: Ledger
    cohort: str
    secret: bytes
    subject: str = ""

    @classmethod
    @contextmanager
    def open(cls, home: Home, persons: Iterable[str], subject: str = "") -> Iterator[Account]:
        """The account of the cohort of these pseudonyms in a home's ledger.

        Raises:
            ConfigError: the settings, the pseudonym key or the database can't be used.
        """
        secret = home.secret(PSEUDONYM_KEY_FILE)
        with closing(Ledger.open(home)) as ledger:
            yield cls(ledger, cohort_id(persons, secret), secret, subject)

    def release(
        self, values: NDArray[np.float64], sensitivity: float, mechanism: Mechanism, *, purpose: str
    ) -> NDArray[np.float64]:  # fmt: skip
        """``values`` of any shape with Gaussian noise of ``mechanism.noise * sensitivity``; without noise for an unbounded mechanism.

        The noise is a keyed function of the values themselves and of everything stated about them: asked again, the very same answer
        comes back and costs nothing; other values never meet the same noise, so no two answers can be subtracted.

        Raises:
            PolicyDenied: the budget does not allow it; nothing was drawn.
        """
        exact = np.ascontiguousarray(values, dtype=np.float64)
        stated = {
            "mechanism": mechanism.document(),
            "sensitivity": sensitivity,
            "shape": list(exact.shape),
            "purpose": purpose,
        }
        key = hmac.new(self.secret, b"stimset-noise:" + canonical_json(stated) + exact.tobytes(), hashlib.sha256)
        name = hashlib.sha256(key.digest()).hexdigest()
        reservation = self.ledger.reserve(self.cohort, mechanism, purpose=purpose, subject=self.subject, key=name)
        answer = exact
        if mechanism.kind == "gaussian":
            answer = with_noise(exact, mechanism.noise * sensitivity, key.digest())
        self.ledger.commit(reservation, hashlib.sha256(answer.tobytes()).hexdigest())
        return answer


def with_noise(exact: NDArray[np.float64], deviation: float, key: bytes) -> NDArray[np.float64]:
    """``exact`` with normal noise of this standard deviation, rounded to `GRAIN`, from a 32-byte key used for nothing else."""
    grain = 2.0 ** np.floor(np.log2(deviation * GRAIN))
    noisy = exact + deviation * normal_noise(key, exact.size).reshape(exact.shape)
    return np.asarray(np.round(noisy / grain) * grain, dtype=np.float64)


def normal_noise(key: bytes, count: int) -> NDArray[np.float64]:
    """``count`` standard normal numbers from the key stream of ChaCha20 under a 32-byte key used for nothing else."""
    from scipy.special import ndtri

    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(8 * count))
    uniform = ((np.frombuffer(stream, dtype="<u8") >> np.uint64(11)) + 0.5) * 2.0**-53
    return np.asarray(ndtri(uniform), dtype=np.float64)


def cohort_id(persons: Iterable[str], secret: bytes) -> str:
    """The name of a cohort's account: a keyed digest of its persons' pseudonyms (64 hex digits).

    The same persons keep their account however their recordings are cut or split. A cohort with another person in it has an account
    of its own: budgets of cohorts that share persons add up for these, and the custodian must see to it that they do.
    """
    return hmac.new(secret, canonical_json(["stimset-cohort", *sorted(set(persons))]), hashlib.sha256).hexdigest()
