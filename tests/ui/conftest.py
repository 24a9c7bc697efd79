"""What the tests of the ui share: a dataset that has run twice, and the ui over it."""

import pytest
from tests.report import worlds
from tests.ui.server import serving


@pytest.fixture(scope="session")
def world():
    return worlds.shared(worlds.two_runs)


@pytest.fixture(scope="session")
def served(world):
    with serving(world.folder) as running:
        yield running
