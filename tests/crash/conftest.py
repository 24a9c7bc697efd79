"""One warm process and one pair of scenes for all crash tests of a pytest process."""

import shutil

import pytest
from tests.soak import scenes


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Give a frozen copy of `src`: a manifest holds a digest of the code, which somebody may be editing."""
    folder = tmp_path_factory.mktemp("frozen") / "src"
    shutil.copytree(scenes.ROOT / "src", folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory, source):
    with scenes.warm(tmp_path_factory.mktemp("warm"), source) as warm:
        yield warm


@pytest.fixture(scope="session")
def small(tmp_path_factory, server):
    """Give day 1 and day 2 of a small pipeline."""
    folder = tmp_path_factory.mktemp("small")
    return scenes.history(folder, "small", scenes.runner(server, 1), n=60, split=4000, docs=15)
