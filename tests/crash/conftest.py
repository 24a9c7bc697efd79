"""One warm process and one pair of scenes for all crash tests of a pytest process."""

import shutil

import pytest
from tests.crash import shim
from tests.soak import five, scenes


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


class Five:
    """The pipeline of five kinds of sources: its town, its warm process with the shim below it, both days."""

    def __init__(self, folder, source, town):
        self.folder, self.source, self.town = folder, source, town
        self.library = shim.build(folder)

    def on(self, day):
        """Let it be a day; give its run."""
        self.town.begin(day)
        return self.histories[day - 1]


@pytest.fixture(scope="session", name="five")
def _five(tmp_path_factory, source):
    folder = tmp_path_factory.mktemp("five")
    with five.Town(folder) as town:
        made = Five(folder, source, town)
        if made.library is None:
            pytest.skip(shim.NO_COMPILER)
        with five.warm(folder / "warm", source, town, made.library) as made.server:
            made.histories = five.history(folder, town, made.server)
            yield made
