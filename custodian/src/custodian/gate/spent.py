"""What a release states of the cohort's differential-privacy budget: the ledger's total, where it bounds anything at all.

The ledger knows what was drawn with noise. A teacher trained without a proof, or identity networks that inhibition worked against, read the
patients beside it; a set that they shaped has no guarantee, whatever the ledger's sum, and the release must not suggest one.
"""

from __future__ import annotations

from collections.abc import Mapping

from custodian.budget import cohort_id, spent
from custodian.cohort import Cohort
from custodian.config import PSEUDONYM_KEY_FILE, Home
from custodian.excitation.candidates import CandidateSet
from stimset.release import Budget

TRAINED_ON_PATIENTS = ("identity", "forget")  # drives whose networks learned the patients' windows without noise


def account_of(home: Home, cohort: Cohort) -> str:
    """The cohort's place in the ledger."""
    return cohort_id(cohort.windows.person_names, home.secret(PSEUDONYM_KEY_FILE))


def budget_of(home: Home, account: str, candidates: CandidateSet) -> Budget:
    """The cohort's cumulative budget now, this set included; unbounded where anything read the patients without noise.

    Raises:
        ConfigError: the ledger can't be read, or was tampered with.
    """
    total = spent(home, account)
    if total["epsilon"] is None or not _only_noisy(candidates):
        return Budget(None, None, int(total["entries"]))
    return Budget(float(total["epsilon"]), float(total["delta"]), int(total["entries"]))


def _only_noisy(candidates: CandidateSet) -> bool:
    """Whether teacher, statistics and drives all read the patients through noise, as far as their own descriptions say."""
    objective, membership = candidates.recipe.get("objective"), candidates.recipe.get("membership")
    if not isinstance(objective, Mapping):  # not a recipe that we know: not trusted
        return False
    referenced = isinstance(membership, Mapping) and membership.get("labels") == "references"
    networks = referenced or any(objective.get(drive, 0.0) for drive in TRAINED_ON_PATIENTS)
    statistics = all(entry.get("epsilon") is not None for entry in candidates.aggregates)
    return candidates.teacher.get("epsilon") is not None and statistics and not networks
