"""Alembic's migrations, run by `custodian.state.migrating`; one module a revision, never changed once it is published."""
