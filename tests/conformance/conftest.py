"""What the worlds need that takes long to start: database servers, once for the session."""

import pytest
from tests.database.servers import MariaDB, PostgreSQL


@pytest.fixture(scope="session")
def postgres():
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb():
    server = MariaDB()
    yield server
    server.stop()
