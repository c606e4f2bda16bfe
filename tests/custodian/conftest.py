"""What several of the custodian's tests share."""

import pytest

import ray_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The address of a Ray cluster, one for all tests of a process: Ray reads token and certificates once."""
    with ray_cluster.started(tmp_path_factory.mktemp("ray")) as address:
        yield address
