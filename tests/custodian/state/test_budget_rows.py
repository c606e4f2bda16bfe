"""The budget's ledger keeps its promises on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from custodian.budget import Ledger, Limit, calibrated, stated
from custodian.state.spending import Entries
from stimset.errors import PolicyDenied

COHORT = "c" * 64


def test_the_chain_holds_and_writers_at_once_never_pass_the_limit(database):
    ledger = Ledger(Entries(database), Limit(3.0, 1e-5))

    def ask(_):
        try:
            ledger.commit(ledger.reserve(COHORT, stated(1.0), purpose="evaluation", subject="acme"))
        except PolicyDenied:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(ask, range(8))) == 3
    assert [e.number for e in ledger.entries()] == list(range(1, 7))
    assert ledger.total(COHORT).epsilon == pytest.approx(3.0, rel=1e-3)


def test_numbers_come_back_to_the_last_bit_and_nothing_is_changed(database):
    ledger = Ledger(Entries(database))
    drawn = calibrated(1 / 3, 1e-7)
    ledger.reserve(COHORT, drawn, purpose="aggregates", subject="main")
    (entry,) = ledger.entries()
    assert entry.epsilon == drawn.epsilon
    assert entry.mechanism["noise"] == drawn.noise
    for change in ("UPDATE budget_entries SET epsilon = 0", "DELETE FROM budget_entries"):
        with pytest.raises(DBAPIError, match="can only grow"), database.engine.begin() as connection:
            connection.execute(text(change))
