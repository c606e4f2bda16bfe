"""Every table of the database in one place, for what has to know them all: migrations, backup."""

from __future__ import annotations

from custodian.state import database, log, spending
from custodian.state.base import Base

METADATA = Base.metadata
MODULES = (database, log, spending)  # imported so that their tables are known
