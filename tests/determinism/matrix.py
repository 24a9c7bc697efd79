"""The circumstances of the determinism matrix, and how a cell is run in them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.determinism import cell as one

from gristmill.core import access

ROOT = Path(__file__).resolve().parents[2]
SRC = Path(access.__file__).resolve().parents[2]  # what is imported here: perhaps a frozen copy
SEEDS = ["0", "1", "random"]
ZONES = ["UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati"]
LOCALES = ["C", "C.UTF-8"]
WORKERS = [1, 2, 4]
LIBRARIES = "pyarrow, deltalake, numpy, numba, msgspec, psutil, typer"


@dataclass(frozen=True)
class Cell:
    """One set of circumstances."""

    python: str
    seed: str
    zone: str
    locale: str
    workers: int
    engine: str = "local"

    def told(self) -> str:
        """Give it in one line."""
        where = f"workers {self.workers}, {self.engine}"
        return f"{version(self.python)}, hash seed {self.seed}, {self.zone}, {self.locale}, {where}"


def version(python: str) -> str:
    """Give what an interpreter says it is."""
    return subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()


def present() -> list[str]:
    """Give this interpreter and those on the PATH, of other versions, that have the libraries."""
    found = [sys.executable]
    for minor in (11, 12, 13):
        python = shutil.which(f"python3.{minor}")
        if python is None or minor == sys.version_info.minor:
            continue
        has = subprocess.run([python, "-c", f"import {LIBRARIES}"], capture_output=True, check=False)
        found += [python] if has.returncode == 0 else []
    return found


def has_ray() -> bool:
    """Say whether Ray is installed for the interpreter that runs this."""
    return importlib.util.find_spec("ray") is not None


def whole(pythons: list[str]) -> Iterator[Cell]:
    """Give all cells."""
    for values in itertools.product(pythons, SEEDS, ZONES, LOCALES, WORKERS):
        yield Cell(*values)
    if has_ray():  # each starts a cluster of its own
        for seed, zone, locale in (("0", "UTC", "C.UTF-8"), ("1", "America/St_Johns", "C"), ("random", ZONES[-1], "C")):
            yield Cell(sys.executable, seed, zone, locale, 2, "ray")


def slice_of(pythons: list[str]) -> Iterator[Cell]:
    """Give a few cells in which every value of everything stands at least once, but for the Pythons."""
    for python in pythons:
        yield Cell(python, "0", "UTC", "C.UTF-8", 1)
        yield Cell(python, "1", "America/St_Johns", "C", 2)
        yield Cell(python, "random", "Pacific/Kiritimati", "C.UTF-8", 4)


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """Run a cell in a fresh process below `folder`; the sources are made once and copied."""
    start = folder / "start"
    if not start.exists():
        one.make(start)
    place = folder / "a folder of its own"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(start, place)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    env |= {
        "PYTHONPATH": os.pathsep.join([str(SRC), str(ROOT)]),
        "PYTHONHASHSEED": cell.seed,
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": cell.zone,
        "LC_ALL": cell.locale,
    }
    command = [cell.python, "-m", "tests.determinism.cell", str(place), str(cell.workers), cell.engine]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{cell.told()}: {done.stderr[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def difference(first: dict[str, str], other: dict[str, str]) -> list[str]:
    """Give the names of the files that two cells have not alike."""
    return sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
