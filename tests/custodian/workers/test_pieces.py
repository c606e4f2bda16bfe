"""Every piece is made once, however workers fare."""

from hypothesis import given
from hypothesis import strategies as st

from custodian.excitation.order import Shard
from custodian.workers.pieces import MAX_ATTEMPTS, Ledger


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.data())
def test_every_shard_is_made_once_however_workers_fare(counts, data):
    shards = [Shard(i, n) for i, n in enumerate(counts)]
    told = []
    ledger = Ledger(shards, told.append)
    working, finished, lost = [], [], dict.fromkeys(shards, 0)
    while not ledger.complete:
        if (shard := ledger.next()) is not None:
            working.append(shard)
        shard = working.pop(data.draw(st.integers(0, len(working) - 1)))
        if lost[shard] < MAX_ATTEMPTS - 1 and data.draw(st.booleans()):
            lost[shard] += 1
            ledger.progress(shard, shard.count / 2)
            ledger.lost(shard, "killed")
            assert told[-1] == sum(s.count for s in finished), "a lost part is not counted"
        else:
            ledger.finished(shard)
            finished.append(shard)
    assert sorted(finished, key=lambda s: s.number) == shards
    assert ledger.next() is None
    assert told[-1] == sum(counts)
    assert max(told) <= sum(counts)
