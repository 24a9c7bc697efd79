"""The kernels' tests pass with index checks compiled in, and those checks are really there.

A warm cache gives unchecked code whatever the variable says, so the checked runs have a cache of their own.
"""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.examples import SOAK

from gristmill import kernels

HERE = Path(__file__).parent
OUT_OF_RANGE = """
import numpy as np
from gristmill.kernels.{module} import {function}
for end in (10, 16, 48):
    try:
        {function}(np.frombuffer(b"abcdefgh", np.uint8), np.array([0, end], np.int32))
    except IndexError as error:
        print(end, error)
"""


@pytest.fixture(scope="module")
def checked(request):
    """Give an environment in which kernels are compiled with index checks."""
    cache = request.config.cache.mkdir("numba-boundscheck")
    return {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(cache)}


def files():
    """Give the kernels' tests: all of them in the soak, else a half, which is another one once a kernel changes (compiling takes most of it)."""
    found = sorted(path.name for path in HERE.glob("test_*.py") if path.name != Path(__file__).name)
    content = b"".join(path.read_bytes() for path in sorted(Path(kernels.__file__).parent.glob("*.py")))
    return found if SOAK else sorted(random.Random(content).sample(found, len(found) // 2))


@pytest.mark.hypothesis  # so that the soak does all of it, in the room of the properties
def test_kernels_stay_in_bounds(checked):
    """The kernels' own tests pass with index checks on."""
    chosen = (
        "either_way or plain_python or addresses or every_length or columns or idempotent or empty_rows or null_rows"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-k",
        chosen,
        *(str(HERE / name) for name in files()),
    ]
    done = subprocess.run(command, env=checked, cwd=HERE.parents[1], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("counts", "sizes"),
        ("profile", "profile"),
        ("hashing", "hash128"),
        ("remove", "controls"),
        ("remove", "emails"),
        ("lowercase", "lower"),
    ],
)
def test_checks_are_on(checked, module, function):
    """An offset past the data raises, whether it is read byte by byte, eight or a block at once."""
    code = OUT_OF_RANGE.format(module=module, function=function)
    done = subprocess.run([sys.executable, "-c", code], env=checked, capture_output=True, text=True, timeout=120)
    assert done.stdout == "".join(f"{end} index is out of bounds\n" for end in (10, 16, 48)), done.stderr
