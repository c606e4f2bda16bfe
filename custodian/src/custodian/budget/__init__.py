"""The privacy budget: what has been learnt of a cohort's persons by everything that was ever given out, and what may still be.

::

    mechanisms.py   what a piece of work draws from the budget, and how draws compose (a well-kept accounting library does the sums)
    limits.py       what a cohort may spend in all
    ledger.py       append-only, hash-chained entries in the custodian's database: reserve, then commit; what is left
    account.py      one cohort's account with the secret that its noise is drawn from

Everything speaks of one person: (epsilon, delta) bound how much more likely any outcome becomes when one person is added to the cohort
or removed from it, with all of their recordings.

Usage::

    ledger = Ledger.open(home)
    with ledger.spend(cohort_id(names, key), calibrated(1.0, 1e-5), purpose="aggregates", subject="main"):
        ...                                     # refused before this line where the limit does not allow it
    spent(home, cohort)                         # {"epsilon": 1.0, "delta": 1e-05, "entries": 1}
"""

from custodian.budget.account import Account, cohort_id
from custodian.budget.ledger import Ledger, Total, spent
from custodian.budget.limits import Limit
from custodian.budget.mechanisms import Mechanism, calibrated, gaussian, laplace, stated, unbounded

__all__ = [
    "Account", "Ledger", "Limit", "Mechanism", "Total", "calibrated", "cohort_id", "gaussian", "laplace", "spent", "stated", "unbounded",
]  # fmt: skip
