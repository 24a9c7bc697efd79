"""What the fork server loads once for all workers: the tasks, what reads a config again, and the kernels.

Importing this module is all the fork server does with it. Not here: starting that server (`server.py`). Invariant: garbage collection
rests while it loads (a quarter of the time), and what is loaded is taken out of its view, so that no worker walks over it or
copies its pages. Workers take Arrow's memory from the system's allocator, which gives back what it no longer needs; Arrow's own
keeps it, a quarter more at 10 GB and no faster (`python -m bench.growth`). Whoever sets ARROW_DEFAULT_MEMORY_POOL has his way.
"""

from __future__ import annotations

import gc
import os


def _load() -> None:
    gc.disable()
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # read when Arrow is loaded, so before that
    import ruamel.yaml

    from gristmill.config import load
    from gristmill.core.frames import spare_pandas
    from gristmill.engine.executors import processes
    from gristmill.kernels.warm import warm

    assert all((ruamel.yaml, load, processes))
    spare_pandas()
    warm()
    gc.freeze()
    gc.enable()


_load()
