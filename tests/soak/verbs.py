"""Scenes of the other verbs that write: each on a dataset of two days, for blows at their file operations.

Not here: the blows (`operations`). Invariant: a verb is one entry of `VERBS`: what is done to the folder before, and its command line.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.soak import five
from tests.soak.five import Ends

from gristmill.testing import crash

Prepare = Callable[[Path], list[str]]


def _export(tree: Path) -> list[str]:
    """Both exports are gone."""
    shutil.rmtree(tree / "out")
    return ["export"]


def _gc(tree: Path) -> list[str]:
    """A dead run has left a shard and staged files, and the first snapshot is out of retention."""
    (tree / "corpus" / "staging" / "7" / "0").mkdir(parents=True)
    (tree / "corpus" / "staging" / "7" / "0" / "000000.arrow").write_bytes(b"left")
    return ["gc", "--keep-last", "1"]


def _rollback(tree: Path) -> list[str]:
    """The rows of the first day are wanted back."""
    return ["rollback", "1"]


def _adopt(tree: Path) -> list[str]:
    """There are clean records, one of them under an id of its own with a text that is known."""
    records = [{"id": f"clean-{i}", "text": five.prose("clean", i)} for i in range(6)]
    (tree / "clean.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return ["adopt", "clean.jsonl", "--workers", "1"]


def _retry(tree: Path) -> list[str]:
    """What was no JSON has been mended."""
    path = tree / "data" / "pages" / "a.jsonl"
    mended = json.dumps({"id": "mended", "text": five.prose("mended")}).encode()
    path.write_bytes(path.read_bytes().replace(b"{not json}", mended))
    return ["quarantine", "retry", "--workers", "1"]


def _refresh(tree: Path) -> list[str]:
    """A step is another one, and all is to be read again."""
    path = tree / "gristmill.yml"
    path.write_text(path.read_text("utf-8").replace("min_chars: 12}", "min_chars: 130}"), "utf-8")
    return ["run", "--full-refresh", "--workers", "1"]


VERBS: dict[str, Prepare] = {
    "export": _export,
    "gc": _gc,
    "rollback": _rollback,
    "adopt": _adopt,
    "retry": _retry,
    "refresh": _refresh,
}


def scenes_of(folder: Path, server: crash.Warm, names: list[str]) -> list[Ends]:
    """Make the scenes of some verbs from the end of the second day, which it must be."""
    made = []
    for name in names:
        start = folder / f"{name}-start"
        shutil.copytree(folder / "five-2-done", start)
        made.append(five.ends(folder, name, start, server, VERBS[name](start)))
    return made
