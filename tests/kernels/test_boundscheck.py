"""The kernels' tests pass with index checks compiled in, and those checks are really there.

A warm cache gives unchecked code whatever the variable says, so the checked runs have a cache of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.examples import SOAK, some

from gristmill import kernels
from gristmill.core.build import code_fingerprint

HERE = Path(__file__).parent
CHOSEN = "either_way or plain_python or addresses or every_length or columns or idempotent or empty_rows or null_rows"
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
def checked(request, tmp_path_factory):
    """Give an environment in which kernels are compiled with index checks: once, where pytest keeps a cache."""
    kept = getattr(request.config, "cache", None)
    cache = kept.mkdir("numba-boundscheck") if kept else tmp_path_factory.mktemp("numba-boundscheck")
    return {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(cache)}


def drawn():
    """Give kernels' tests: all in the soak, else those of a tenth of the kernels, other ones once a kernel changes.

    Compiling takes most of it, and of the kernel that parses as long as of all others: that one is checked in the soak.
    """
    found = pytest_run(os.environ, "--collect-only", "-k", CHOSEN, str(HERE)).stdout
    of_kernels = {}
    for name in re.findall(r"^tests/kernels/.+::.+$", found, re.MULTILINE):
        file, _, test = name.partition("::")
        of_kernels.setdefault((file, test.partition("[")[2] if file.endswith("cleaning.py") else ""), []).append(name)
    assert len(of_kernels) > 12
    light = [kernel for kernel in sorted(of_kernels) if SOAK or not kernel[0].endswith("parse.py")]
    kernels_drawn = some(light, len(of_kernels) // 10, code_fingerprint(Path(kernels.__file__).parent))
    return [name for kernel in kernels_drawn for name in of_kernels[kernel]]


def pytest_run(environment, *words):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *words]
    return subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=300)


@pytest.mark.slice
def test_kernels_stay_in_bounds(checked):
    """The kernels' own tests pass with index checks on."""
    done = pytest_run(checked, *drawn())
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slice
@pytest.mark.parametrize(
    ("module", "function"),
    some(
        [
            ("counts", "sizes"),
            ("profile", "profile"),
            ("hashing", "hash128"),
            ("remove", "controls"),
            ("remove", "emails"),
            ("lowercase", "lower"),
        ],
        1,
    ),
)
def test_checks_are_on(checked, module, function):
    """An offset past the data raises, whether it is read byte by byte, eight or a block at once."""
    code = OUT_OF_RANGE.format(module=module, function=function)
    done = subprocess.run([sys.executable, "-c", code], env=checked, capture_output=True, text=True, timeout=120)
    assert done.stdout == "".join(f"{end} index is out of bounds\n" for end in (10, 16, 48)), done.stderr
