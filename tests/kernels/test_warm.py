"""Warming up compiles every kernel and leaves a cache that is found again."""

import os
import subprocess
import sys
from pathlib import Path

from gristmill.kernels import warm

SAY = "from gristmill.kernels.warm import is_warm, warm; import sys; before = is_warm(); {}; print(before, is_warm())"


def say(code, environment):
    done = subprocess.run(
        [sys.executable, "-c", SAY.format(code)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_kernel_module_is_warmed():
    """The modules that `warm` imports are those of the folder that hold kernels."""
    imported = (
        Path(warm.__file__).read_text("utf-8").partition("from gristmill.kernels import ")[2].partition("\n\n")[0]
    )
    assert (
        sorted(imported.strip("( )").replace("\n", "").replace(" ", "").rstrip(",)").split(","))
        == warm.kernel_modules()
    )


def test_a_cold_cache_is_not_warm(tmp_path):
    """An empty cache folder is not warm, nor does looking import Numba."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    assert say("assert 'numba' not in sys.modules", environment) == ["False", "False"]


def test_warm_where_numba_keeps_it():
    """After warming up in the usual place, the cache is found."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    assert say("warm()", environment)[1] == "True"


def test_kernels_work_where_nothing_can_be_written():
    """With no place for a cache, a kernel is compiled for this process and works."""
    code = (
        "from numba.core.caching import CacheImpl; CacheImpl._locator_classes = []\n"
        "import numpy as np; from gristmill.kernels.counts import sizes\n"
        "print(sizes(np.frombuffer(b'a b', np.uint8), np.array([0, 3], np.int32))[1][0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "2", done.stderr


def test_what_is_in_the_cache_is_loaded_without_what_numba_compiles_with(tmp_path):
    """Until a kernel is to be compiled: that one works beside those that were loaded, and is kept as well."""
    code = (
        "import sys\n"
        "import numpy as np; from gristmill.kernels.counts import sizes\n"
        "before = 'numba.np.arraymath' in sys.modules\n"
        "from gristmill.kernels.hashing import hash128\n"
        "data, ends = np.frombuffer(b'a b', np.uint8), np.array([0, 3], np.int32)\n"
        "print(before, 'numba.np.arraymath' in sys.modules, sizes(data, ends)[1][0], hash128(data, ends)[0])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def told():
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(maxsplit=3)

    compiled = told()
    assert compiled[:3] == ["True", "True", "2"]
    assert told() == ["False", "False", *compiled[2:]]
    for kept in tmp_path.glob("*/hashing.*"):
        kept.unlink()
    assert told() == ["False", "True", *compiled[2:]]
    assert told() == ["False", "False", *compiled[2:]]
