"""Fixtures that all tests share."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings
from tests.examples import SOAK, examples

ROOT = Path(__file__).resolve().parents[1]

# Every run of the suite tries the same examples, so that what fails is what was changed; `make soak` tries others, and more.
settings.register_profile("same", derandomize=True, max_examples=examples(30))
settings.register_profile("soak", max_examples=examples(30))
settings.load_profile("soak" if SOAK else "same")


# What each worker begins with: long tests, and folders whose tests share what is dear to start, a cluster, servers, scenes.
FIRST = [
    ["ray", "determinism", "deploy"],
    ["airflow", "test_wheel.py", "store"],
    ["crash"],
    ["database", "exports", "conformance"],
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each worker its `FIRST`: at first each has an equal piece of the list; later they steal from the ends of each other's.

    Where such a folder is dealt to several workers, each starts what its tests share; and a long test at the end is waited for by all.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    place = {ROOT / "tests" / name: n % workers for n, names in enumerate(FIRST) for name in names}
    pieces: list[list[pytest.Item]] = [[] for _ in range(workers)]
    others = []
    for item in items:
        n = place.get(item.path, place.get(item.path.parent))
        (others if n is None else pieces[n]).append(item)
    left = len(items)
    for n, piece in enumerate(pieces):  # sizes are those of xdist's `WorkStealingScheduling`
        size = left // (workers - n)
        left -= size
        more = max(0, size - len(piece))
        piece += others[:more]
        del others[:more]
    items[:] = [item for piece in pieces for item in piece] + others


def pytest_collection() -> None:
    """Let the garbage collector rest while 6,000 tests and their modules are made: it would look at them again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let it pass over them ever after."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two workers more than there are cores: a quarter of the suite's time is spent waiting for servers, locks and deaths."""
    return len(os.sched_getaffinity(0)) + 2 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) + 2


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder with the developer data set, which lies beside a developer's checkout and nowhere else."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip("no ../shared/data beside this checkout: tests on real third-party data are left out")
    return folder
