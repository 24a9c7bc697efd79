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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes longest, or would start a cluster for each worker: workers steal from the ends of each other's lists."""
    first = [ROOT / "tests" / name for name in ("ray", "airflow", "test_wheel.py", "determinism", "deploy")]
    order = {path: place for place, path in enumerate(first)}
    items.sort(key=lambda item: min(order.get(item.path, len(first)), order.get(item.path.parent, len(first))))


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
