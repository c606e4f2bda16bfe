"""The same tests on both databases."""

from __future__ import annotations

import pytest

import databases
from custodian.config import Home
from custodian.state.engine import PASSWORD_VARIABLE, Database
from custodian.state.migrating import upgrade


@pytest.fixture(scope="session")
def cluster():
    programs = databases.binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    started = databases.Cluster.start(programs)
    yield started
    started.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_home(request, tmp_path, monkeypatch):
    """A home whose database has no table yet."""
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster").new_url()
        monkeypatch.setenv(PASSWORD_VARIABLE, databases.PASSWORD)
    return databases.settle(Home(tmp_path / "home"), url)


@pytest.fixture
def home(bare_home):
    opened = Database.unchecked(bare_home)
    upgrade(opened)
    opened.close()
    return bare_home


@pytest.fixture
def database(home):
    opened = Database.open(home)
    yield opened
    opened.close()
