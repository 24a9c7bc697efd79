"""A warm process whose children are command lines, for tests that kill them."""

import shutil
import sys

import pytest
from tests.soak import scenes

from gristmill.testing import crash


@pytest.fixture(scope="session")
def command_lines(tmp_path_factory):
    frozen = (
        tmp_path_factory.mktemp("frozen") / "src"
    )  # a manifest holds a digest of the code, which somebody may be editing
    shutil.copytree(scenes.ROOT / "src", frozen)
    argv = [sys.executable, "-m", "tests.soak.command"]
    with crash.Warm(argv, tmp_path_factory.mktemp("warm"), scenes.environment(frozen)) as warm:
        yield warm
