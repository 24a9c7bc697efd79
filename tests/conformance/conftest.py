"""What the worlds need that takes long to start: a PostgreSQL server for the session."""

import pytest
from tests.database.servers import PostgreSQL


@pytest.fixture(scope="session")
def postgres():
    server = PostgreSQL()
    yield server
    server.stop()
