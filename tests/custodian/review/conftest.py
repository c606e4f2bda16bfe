"""Two people, made once and copied for each test: their keys are slow to derive, and no test's business."""

from __future__ import annotations

import shutil

import pytest

from custodian.config import Home
from two_people import TwoPeople


@pytest.fixture(scope="session")
def two_once(tmp_path_factory) -> TwoPeople:
    return TwoPeople.make(tmp_path_factory.mktemp("two") / "people")


@pytest.fixture
def two(two_once, tmp_path) -> TwoPeople:
    shutil.copytree(two_once.officer.parent, tmp_path / "people")
    people = tmp_path / "people"
    return TwoPeople(Home(people / "hospital"), people / "officer", people / "stick")
