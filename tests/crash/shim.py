"""The shim in Python's hands: it is built, set on a run, and tells what it hurt.

Not here: what counts as an operation and what each mode does (`shim.c`), how a run is judged (`gristmill.testing.crash`).
Invariant: what the shim keeps for itself lies where it counts nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from gristmill.testing import crash

SOURCE = Path(__file__).with_name("shim.c")
MODES = ("kill", "torn", "enospc", "eio")
NO_COMPILER = "there is no gcc, which builds the shim under file operations (Debian: apt-get install gcc libc6-dev)"


class Operation(NamedTuple):
    """One file operation of a run. number: counted from 1 over all processes of it; hurt: it was the one that was hit."""

    number: int
    kind: str
    path: str
    hurt: bool


def build(folder: Path, source: Path = SOURCE) -> Path | None:
    """Build the shim, or another library that is preloaded; None where there is no compiler."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    library = folder / "shim.so"
    folder.mkdir(parents=True, exist_ok=True)
    command = [gcc, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


def armed(tree: Path, i: int, mode: str = "", at: int = 0) -> dict[str, str]:
    """Give the variables that set the shim on the i-th run in a folder; without a mode it only counts."""
    kept = kept_by(tree, i)
    kept.mkdir(exist_ok=True)
    state, log = kept / "state", kept / "log"
    state.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    return {
        "SHIM_ROOT": str(tree),
        "SHIM_STATE": str(state),
        "SHIM_LOG": str(log),
        "SHIM_MODE": mode,
        "SHIM_AT": str(at),
    }


def kept_by(tree: Path, i: int) -> Path:
    """Give where the shim keeps what it knows of the i-th run: beside the folder, so that nothing of it is counted."""
    return tree.with_name(f"{tree.name}.shim-{i}")


def forget(tree: Path) -> None:
    """Remove what was kept of all runs in a folder."""
    for kept in tree.parent.glob(f"{tree.name}.shim-*"):
        shutil.rmtree(kept)


def operations(tree: Path, i: int) -> list[Operation]:
    """Give what the i-th run in a folder did, in order."""
    log = kept_by(tree, i) / "log"
    found = []
    for line in log.read_text("utf-8", "backslashreplace").splitlines() if log.exists() else []:
        number, kind, path = line.split(" ", 2)
        found.append(Operation(int(number.lstrip("!")), kind, path, number.startswith("!")))
    return sorted(found)


class AtOperation:
    """The attack that hurts operation number `at`, or the first after it that the mode can hurt.

    code: how the run ended, None before; turn: the how manieth run it was; hit: the first operation that was hurt.
    """

    def __init__(self, mode: str, at: int, run: crash.Run) -> None:
        self.mode, self.at, self.run = mode, at, run
        self.code: int | None = None
        self.turn = 0
        self.hit: Operation | None = None

    def __call__(self, tree: Path, i: int) -> int:
        """Attack the i-th run in a folder."""
        self.code, self.turn = self.run(tree, armed(tree, i, self.mode, self.at)), i
        self.hit = next((each for each in operations(tree, i) if each.hurt), None)
        return self.code
