"""The crash driver: kill a run where it hurts, look at what a reader sees, run it again, compare every lasting byte.

A *scene* is a folder before a run and the same folder after a run that nobody disturbed. A *trial* copies the first,
attacks runs in the copy, and after each blow holds what is there against both ends: a reader must see the old snapshot
whole or the new one whole. A last run in peace must then end in the very bytes of the second.

Not here: which pipeline it is and how a run is started (a `Run` is passed in; `Warm` helps to make one), what an attack
other than a failpoint does. Invariant: nothing of the engine is imported, all is judged from the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from gristmill.core import failpoints
from gristmill.testing import laws

# Runs the pipeline in a folder with these variables set; gives the exit code, -n for death by signal n.
Run: TypeAlias = Callable[[Path, Mapping[str, str]], int]
# Does something to the n-th run (from 0) in a folder; gives its exit code.
Attack: TypeAlias = Callable[[Path, int], int]

FINISHED = 0
KILLED = -int(signal.SIGKILL)
# What lasts of a run: all that a manifest names or a reader may look for. Claims, reports, logs and tasks carry times.
LASTING = ("state", "index", *(f"runs/*/{name}.json" for name in ("manifest", "plan", "candidate", "distributions")))
LASTING_SIDES = ("runs/*/verdicts", "runs/*/quarantine", "runs/*/signals", "runs/*/listing")


class View(msgspec.Struct, frozen=True):
    """What stands in a folder at rest. rows: digest of the snapshot's rows in order; exports: manifest by folder."""

    seq: int | None
    rows: str
    lasting: dict[str, str]
    exports: dict[str, bytes]


class Scene(msgspec.Struct, frozen=True):
    """One run to be attacked. start: the folder before it; exports and dataset: folders inside it, relative."""

    name: str
    start: Path
    dataset: str
    exports: list[str]
    before: View
    after: View


# Another look at a folder between runs; gives what is wrong.
Check: TypeAlias = Callable[[Scene, Path], list[str]]


class Trial(msgspec.Struct):
    """What came of one trial. codes: exit codes of all runs in order; problems: empty when all promises held."""

    scene: str
    attack: str
    codes: list[int] = []
    problems: list[str] = []
    seconds: float = 0.0

    @property
    def deaths(self) -> int:
        """How many runs a SIGKILL ended."""
        return self.codes.count(KILLED)


def look(tree: Path, dataset: str, exports: Sequence[str]) -> View:
    """Give what stands in a folder at rest."""
    root = tree / dataset
    seq = laws.head_seq(root) if root.is_dir() else None
    manifests = {name: tree / name / "manifest.json" for name in exports}
    return View(
        seq,
        _rows_digest(root, seq),
        lasting(tree, dataset, exports),
        {name: path.read_bytes() for name, path in manifests.items() if path.exists()},
    )


def lasting(tree: Path, dataset: str, exports: Sequence[str]) -> dict[str, str]:
    """Give the sha256 of every lasting file, by path: shards that a committed manifest names, and all but labels.

    Left out is what a run above the head wrote that asked a source, found nothing new and said so: it is of no snapshot.
    """
    root = tree / dataset
    seq = laws.head_seq(root) if root.is_dir() else None
    paths = [path for pattern in (*LASTING, *LASTING_SIDES) for path in root.glob(pattern)]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    idle = _idle(root, seq or 0)
    files = [file for file in files if not idle & {*file.relative_to(root).parts[:-1], file.stem}]
    files += [file for name in exports for file in (tree / name).rglob("*")]
    files = [file for file in files if file.is_file() and not _is_scratch(file)]
    while seq:
        manifest = json.loads((root / "runs" / str(seq) / "manifest.json").read_bytes())
        files += [root / shard["path"] for shard in manifest["shards"]]
        seq = manifest["parent"]
    return {file.relative_to(tree).as_posix(): _sha256(file) for file in sorted(set(files))}


def _idle(root: Path, head: int) -> set[str]:
    """Give the numbers of runs above the head whose reports say that nothing was new."""
    reports = {path.parent.name: path for path in root.glob("runs/*/report.json") if int(path.parent.name) > head}
    return {run for run, path in reports.items() if json.loads(path.read_bytes())["status"] == "nothing_new"}


def _is_scratch(path: Path) -> bool:
    return path.name.startswith(".")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"


def _rows_digest(root: Path, seq: int | None) -> str:
    """Read the snapshot as a stranger would: the Delta table's file list, each file by pyarrow."""
    if seq is None:
        return ""
    table = DeltaTable(root / "table")
    if table.transaction_version("gristmill") != seq:
        return "the head moved while it was read"
    parts = [pq.read_table(path) for path in table.file_uris()]
    digest = hashlib.sha256()
    if parts:
        rows = pa.concat_tables(parts).sort_by("ord").combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        digest.update(sink.getvalue())
    return digest.hexdigest()


def reader_problems(scene: Scene, tree: Path) -> list[str]:
    """Give what a reader sees at this very moment that is neither the old snapshot whole nor the new one whole.

    A run may be going on: what was swapped while it was being looked at is looked at again.
    """
    while True:
        before = _what_counts(scene, tree)
        problems = _seen(scene, tree, *before)
        if _what_counts(scene, tree) == before:
            return problems


def _what_counts(scene: Scene, tree: Path) -> tuple[int | None, dict[str, bytes]]:
    root = tree / scene.dataset
    paths = {name: tree / name / "manifest.json" for name in scene.exports}
    seq = laws.head_seq(root) if root.is_dir() else None
    return seq, {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def _seen(scene: Scene, tree: Path, seq: int | None, manifests: dict[str, bytes]) -> list[str]:
    ends = {end.seq: end for end in (scene.before, scene.after)}
    if seq not in ends:
        return [f"a reader sees snapshot {seq}, expected {' or '.join(map(str, ends))}"]
    whole = _rows_digest(tree / scene.dataset, seq) == ends[seq].rows
    problems = [] if whole else [f"snapshot {seq} has other rows than it should"]
    for name in scene.exports:
        problems += _export_problems(scene, tree, name, manifests.get(name))
    return problems


def _export_problems(scene: Scene, tree: Path, name: str, content: bytes | None) -> Iterator[str]:
    """An export's manifest must be the old one or the new one, and every chunk it names whole."""
    if content is None:
        if name in scene.before.exports:
            yield f"{name}: its manifest has vanished"
        return
    if content not in (scene.before.exports.get(name), scene.after.exports.get(name)):
        yield f"{name}: its manifest is neither the old one nor the new one"
    for chunk in json.loads(content)["chunks"]:
        if _sha256(tree / name / chunk["name"]) != chunk["sha256"]:
            yield f"{name}: {chunk['name']} is not what the manifest says"


def end_problems(scene: Scene, tree: Path) -> list[str]:
    """Give how a folder at rest differs from that of a run nobody disturbed, and every broken law."""
    found, wanted = lasting(tree, scene.dataset, scene.exports), scene.after.lasting
    problems = [f"{path}: other bytes than a run never killed" for path in found if found[path] != wanted.get(path, "")]
    problems += [f"{path}: missing after the rerun" for path in sorted(wanted.keys() - found.keys())]
    problems += laws.check(tree / scene.dataset, [tree / name for name in scene.exports])
    problems += reader_problems(scene, tree)
    left = sorted((tree / scene.dataset / "staging").glob("*"))
    problems += [f"{path.relative_to(tree)}: left in staging" for path in left]
    return problems


def attacked(
    scene: Scene, scratch: Path, label: str, blows: Sequence[Attack], run: Run, *, also: Check | None = None
) -> Trial:
    """Copy the scene, deal the blows one after the other until a run survives, run in peace, judge.

    `also` looks beside the driver's own eyes after every run. The folder is kept below `scratch` when something was
    wrong, and removed when not.
    """
    trial = Trial(scene.name, label)
    started = time.perf_counter()
    tree = scratch / f"{scene.name}-{hashlib.sha256(label.encode()).hexdigest()[:12]}"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(scene.start, tree)
    for i, blow in enumerate(blows):
        trial.codes.append(blow(tree, i))
        seen = reader_problems(scene, tree) + (also(scene, tree) if also else [])
        trial.problems += [f"after blow {i + 1}: {problem}" for problem in seen]
        if trial.codes[-1] == FINISHED:
            break
    if trial.codes[-1:] != [FINISHED]:
        trial.codes.append(run(tree, {}))
    if trial.codes[-1] != FINISHED:
        trial.problems.append(f"the run in peace ended with {trial.codes[-1]}")
    trial.problems += end_problems(scene, tree) + (also(scene, tree) if also else [])
    if not trial.problems:
        shutil.rmtree(tree)
    trial.seconds = time.perf_counter() - started
    return trial


class AtFailpoint:
    """The attack that dies at `name=kill@n`, counted over all processes of the run.

    `reached` says, for each run attacked, whether it came that far: a rerun may have passed the place already.
    """

    def __init__(self, point: str, run: Run) -> None:
        self.point, self.run = point, run
        self.reached: list[bool] = []

    def __call__(self, tree: Path, i: int) -> int:
        """Attack the i-th run in a folder."""
        code = self.run(tree, armed(tree, i, self.point))
        name, _, action = self.point.partition("=")
        file = tree / f".hits-{i}" / name
        self.reached.append(file.exists() and file.stat().st_size >= int(action.partition("@")[2] or 1))
        return code


def armed(tree: Path, i: int, point: str) -> dict[str, str]:
    """Give the variables that arm a failpoint (`name=action@n`) for the i-th run in a folder."""
    return {"GRISTMILL_FAILPOINT": point, "GRISTMILL_FAILPOINT_HITS": str(_hits(tree, i))}


def _hits(tree: Path, i: int) -> Path:
    folder = tree / f".hits-{i}"
    folder.mkdir()
    return folder


def count_failpoints(scene: Scene, scratch: Path, run: Run, env: Mapping[str, str] | None = None) -> dict[str, int]:
    """Run the scene in peace and give how often each failpoint is passed.

    Raises:
        RuntimeError: the run did not end well.
    """
    tree = scratch / f"count-{scene.name}"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(scene.start, tree)
    code = run(tree, {**(env or {}), "GRISTMILL_FAILPOINT_HITS": str(_hits(tree, 0))})
    if code != FINISHED:
        raise RuntimeError(f"{scene.name}: a run in peace ended with {code}")
    counts = {path.name: path.stat().st_size for path in sorted((tree / ".hits-0").iterdir())}
    shutil.rmtree(tree)
    return counts


class Warm:
    """A process that has imported everything and forks a child for each call, so that a run costs no imports.

    It only imports, and never runs anything itself: no thread but those of libraries' imports is alive when it forks.
    Children lead a process group of their own. Used as a context, by one thread at a time.
    """

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it; `command` does its imports and calls `serve` with its last argument, the file for children's output."""
        self.log = folder / "children.log"
        self.patience_s = 120.0  # for a child; more where the machine has much else to do
        folder.mkdir(parents=True, exist_ok=True)
        self._server = subprocess.Popen(  # noqa: S603  our own command
            [*command, str(self.log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}
        )

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server; children that still run are left to themselves."""
        if self._server.stdin is not None and self._server.stdout is not None:
            self._server.stdin.close()
            self._server.wait()
            self._server.stdout.close()

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(question).encode() + b"\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the warm process ended with {self._server.wait()}")
        return json.loads(answer)

    def start(self, args: Sequence[str], env: Mapping[str, str]) -> int:
        """Fork a child that calls the target; give its pid, which is its process group too."""
        return int(self._ask({"args": [*args], "env": {**env}}))

    def poll(self, pid: int) -> int | None:
        """Give the exit code of a child (-n: killed by signal n), None while it runs."""
        code: int | None = self._ask({"poll": pid})
        return code

    def wait(self, pid: int, timeout_s: float | None = None) -> int:
        """Wait for a child; one that takes too long is killed with its whole group.

        Raises:
            TimeoutError: it took too long.
        """
        timeout_s = timeout_s or self.patience_s
        deadline = time.monotonic() + timeout_s
        while True:
            if (code := self.poll(pid)) is not None:
                return code
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                raise TimeoutError(f"process {pid} did not end within {timeout_s:g} s; see {self.log}")
            time.sleep(0.003)

    def run(self, args: Sequence[str], env: Mapping[str, str]) -> int:
        """Fork a child, wait for it, give its exit code; what is left of its process group is killed."""
        pid = self.start(args, env)
        code = self.wait(pid)
        kill_group(pid)
        return code


def kill_group(pid: int) -> bool:
    """Kill a process group; give whether anything of it was there."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def serve(function: Callable[..., int], log: str) -> None:
    """Be the warm process: for each question on stdin fork a child that calls `function`, or say how one ended."""
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if "poll" in question:
            pid, status = os.waitpid(question["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _child(function, question["args"], question["env"], log)
            with contextlib.suppress(OSError):  # the child does it too: whoever comes first
                os.setpgid(answer, answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _child(function: Callable[..., int], args: list[str], env: dict[str, str], log: str) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, source in ((0, nothing), (1, handle), (2, handle)):
            os.dup2(source, fd)
        os.environ.update(env)
        failpoints.arm()
        code = function(*args)
    except BaseException:  # a child must never return into the server's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
