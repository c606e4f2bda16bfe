"""What Alembic runs: every migration within the caller's transaction, on the caller's connection."""

from alembic import context

from custodian.state.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
