"""The servers of `tests/database`, and a dataset that is loaded into each of them."""

import pytest
from tests.database.conftest import mariadb, pg, postgresql  # noqa: F401  (fixtures)
from tests.exports.tables import PLACES, Mill, history


@pytest.fixture(params=list(PLACES))
def place(request, tmp_path):
    """Give each database in turn, with nothing in it."""
    return PLACES[request.param](request, tmp_path)


@pytest.fixture(scope="session")
def mill(tmp_path_factory) -> Mill:
    """Give a dataset of four snapshots."""
    return history(tmp_path_factory.mktemp("mill"))
