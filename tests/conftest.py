"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Every run of the suite tries the same examples, so that what fails is what was changed; `make soak` tries others.
settings.register_profile("same", derandomize=True)
if not os.environ.get("GRISTMILL_SOAK"):
    settings.load_profile("same")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder with the developer data set, which lies beside a developer's checkout and nowhere else."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip("no ../shared/data beside this checkout: tests on real third-party data are left out")
    return folder
