"""Scenes of the other verbs that write: each on a dataset of two days, for blows at their file operations.

Not here: the blows (`operations`). `upgrade` has a dataset of the oldest format instead. Invariants: a verb is one entry of `VERBS`: what is done to the
folder before, and its command line; every verb of the command line is in `VERBS`, by its first words, or in `ELSEWHERE` with why it is not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.fixtures import FORMATS, unpack
from tests.soak import five
from tests.soak.five import Ends

from gristmill import Dataset
from gristmill.testing import crash, laws

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


def _redecide(tree: Path) -> list[str]:
    """The records must be longer than they had to be, and the gate lets a run pass of which nothing is kept."""
    path = tree / "gristmill.yml"
    text = path.read_text("utf-8").replace("min_chars: 11}", "min_chars: 130}")
    path.write_text(text.replace("min_quality_score: 0.1", "min_quality_score: 0"), "utf-8")
    return ["run", "--redecide", "--workers", "1"]


def _pin(tree: Path) -> list[str]:
    """Another snapshot is pinned already."""
    _pinned(tree, {"first": 1})
    return ["gc", "--pin", "2", "--name", "release"]


def _unpin(tree: Path) -> list[str]:
    """Two are pinned."""
    _pinned(tree, {"first": 1, "release": 2})
    return ["gc", "--unpin", "release"]


def _pinned(tree: Path, names: dict[str, int]) -> None:
    for name, seq in names.items():
        Dataset(tree / "corpus").pin(seq, name)


def _upgrade(tree: Path) -> list[str]:
    """A dataset of the oldest format whose last run died after its commit, before its report.

    There is one format yet, so nothing is lifted: `upgrade` ends what was left open. What it publishes once there is a second format, it publishes
    as `rollback` does.
    """
    shutil.rmtree(tree)
    unpack(FORMATS[0], tree)
    head = tree / "corpus" / "runs" / str(laws.head_seq(tree / "corpus"))
    (head / "report.json").unlink()
    return ["upgrade"]


VERBS: dict[str, Prepare] = {
    "export": _export,
    "gc": _gc,
    "rollback": _rollback,
    "adopt": _adopt,
    "retry": _retry,
    "refresh": _refresh,
    "redecide": _redecide,
    "pin": _pin,
    "unpin": _unpin,
    "upgrade": _upgrade,
}
COMMANDS = {
    "retry": "quarantine retry",
    "refresh": "run",
    "redecide": "run",
    "pin": "gc",
    "unpin": "gc",
}  # that are called otherwise
READS = "writes nothing"
BESIDE = "writes files of the user's beside the dataset, which it can write again"
ELSEWHERE = {
    **dict.fromkeys(
        ("check", "try", "test", "plan", "status", "log", "show", "explain", "inspect", "verify", "diff", "drift"),
        READS,
    ),
    **dict.fromkeys(("ui", "parts", "schema", "quarantine ls", "airflow describe"), READS),
    **dict.fromkeys(("init", "docs", "airflow render"), BESIDE),
    "report": "writes the page of a run again, which is no lasting byte",
    "alert": "sends, and keeps in monitoring/ what it has told; losing that tells it twice",
    "warmup": "fills the cache of compiled kernels, which is made again",
    "stage plan": "the seams of a run, hurt in the room of zombies; what they write is what `run` writes",
    "stage work": "as `stage plan`",
    "stage gate": "as `stage plan`",
    "stage commit": "as `stage plan`",
}
EXPORTS = {"upgrade": ["out"]}  # where they are not those of `five`


def scenes_of(folder: Path, server: crash.Warm, names: list[str]) -> list[Ends]:
    """Make the scenes of some verbs from the end of the second day, which it must be."""
    made = []
    for name in names:
        start = folder / f"{name}-start"
        shutil.copytree(folder / "five-2-done", start)
        argv = VERBS[name](start)
        made.append(five.ends(folder, name, start, server, argv, EXPORTS.get(name, five.LINES)))
    return made
