"""What the tests of the ui share: a dataset that has run twice, and the ui over it."""

import pytest
from tests.report import worlds
from tests.ui.server import serving


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return worlds.two_runs(tmp_path_factory.mktemp("ui"), 40)


@pytest.fixture(scope="session")
def served(world):
    with serving(world.folder) as running:
        yield running
