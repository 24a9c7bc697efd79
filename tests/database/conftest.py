"""Servers for the tests of this folder, each started once, when the first test asks for it."""

from collections.abc import Iterator

import pytest
from tests.database.servers import MariaDB, PostgreSQL


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    server = MariaDB()
    yield server
    server.stop()


@pytest.fixture
def pg(postgresql: PostgreSQL) -> PostgreSQL:
    """Give the server with nothing in it."""
    postgresql.run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return postgresql
