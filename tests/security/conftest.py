"""Command lines without the imports: one warm process for all security tests of a pytest process."""

import os
import sys
from pathlib import Path

import pytest

from gristmill.testing import crash

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def gristmill(tmp_path_factory):
    """Give a function that does a command line in a folder, and gives its exit code and all that it said."""
    place = tmp_path_factory.mktemp("warm")
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    number = 0
    with crash.Warm([sys.executable, "-m", "tests.security.child"], place, env) as warm:

        def command(folder, *argv, env=None):
            nonlocal number
            number += 1
            said = place / f"said-{number}"
            code = warm.run([str(folder), str(said), *argv], env or {})
            return code, said.read_bytes()

        yield command
