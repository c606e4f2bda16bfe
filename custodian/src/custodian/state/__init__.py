"""What the custodian remembers between processes: partners, grants, the privacy budget, and the log of every decision.

::

    engine.py       SQLite in the home, or PostgreSQL by URL; one writer, readers of one moment
    migrating.py    the database to this version's revision (Alembic, `migrations/`)
    database.py     partners and grants
    spending.py     the privacy budget's entries
    log.py          decisions: hash-chained, in a Merkle tree, only growing
    witnesses.py    signed checkpoints of the log, and holding the log against them
    backup.py       a home's backup while the daemon serves, and the way back (`archive.py` the file, `copying.py` the database)
"""
