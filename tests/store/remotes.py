"""The scenes of the crash tests with dataset and exports on an object store, judged from what lies in the store alone.

A trial has a prefix of the bucket and a folder of its own. What lies below the prefix is brought into a folder and looked at with the eyes of
`gristmill.testing.crash`, beside the end of the same scene on a local disk: every lasting byte must be equal.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import obstore
from tests.net.stores import Store
from tests.soak import scenes
from tests.store.emulators import Emulator

from gristmill.core import buckets, failpoints
from gristmill.testing import crash

SRC = Path(crash.__file__).resolve().parents[2]  # what is imported here: perhaps a frozen copy
LEASE_S = 3
LOOK_S = 0.5  # how often a reader looks while a run is at work
NAMES = tuple(name for name in failpoints.NAMES if not name.startswith(("load.", "gc.")))


class Bucket:
    """The store under test, as the judge sees it. via: the port the runs go through, if not its own."""

    def __init__(self, store: Store | Emulator, via: int | None = None) -> None:
        self.scheme = store.scheme if isinstance(store, Emulator) else "s3"
        self.client = buckets.client(buckets.KINDS[self.scheme], store.bucket, store.storage)
        self.name, self.storage = store.bucket, store.via(via) if via and isinstance(store, Store) else store.storage
        self.brought: dict[tuple[str | None, int], bytes] = {}

    def copy(self, start: str, to: str) -> None:
        keys = [meta["path"] for page in obstore.list(self.client, start) for meta in page]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: obstore.copy(self.client, key, to + key.removeprefix(start)), keys))

    def bring(self, prefix: str, folder: Path) -> None:
        """Make `folder` what lies below a prefix; content that was brought before, by its ETag, is known. What is gone meanwhile is left out."""
        shutil.rmtree(folder, ignore_errors=True)
        metas = [meta for page in obstore.list(self.client, prefix) for meta in page]
        for meta in metas:
            (folder / meta["path"].removeprefix(f"{prefix}/")).parent.mkdir(parents=True, exist_ok=True)

        def one(meta: Any) -> None:
            known = (meta["e_tag"], meta["size"])
            content = self.brought.get(known)
            if content is None:
                try:
                    found = obstore.get(self.client, meta["path"])
                except FileNotFoundError:
                    return
                content = bytes(found.bytes())
                self.brought[found.meta["e_tag"], len(content)] = content  # perhaps a later one than was listed
            (folder / meta["path"].removeprefix(f"{prefix}/")).write_bytes(content)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, metas))

    def what_counts(self, prefix: str) -> set[tuple[str, str | None]]:
        """Give what says which snapshot and which chunks a reader sees: entries of the table's log and the exports' manifests, by ETag."""
        metas = [meta for page in obstore.list(self.client, f"{prefix}/corpus/table/_delta_log/") for meta in page]
        metas += [meta for page in obstore.list(self.client, f"{prefix}/out/") for meta in page]
        return {
            (m["path"], m["e_tag"])
            for m in metas
            if "/_delta_log/" in m["path"] or m["path"].endswith("/manifest.json")
        }

    def remove(self, prefix: str) -> None:
        obstore.delete(self.client, [meta["path"] for page in obstore.list(self.client, prefix) for meta in page])


class Place(NamedTuple):
    """One pipeline on the store: the folder with its config and data, and its prefix."""

    tree: Path
    prefix: str
    keys: Mapping[str, str]

    def env(self, copy: int = 0) -> dict[str, str]:
        return dict(self.keys) | {"XDG_CACHE_HOME": str(self.tree / f"machine-{copy}")}


def place(bucket: Bucket, tree: Path, start: Path, prefix: str) -> Place:
    """Make a folder like a local scene's start, but with its outputs on the store."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    shutil.copytree(start / "data", tree / "data")
    shutil.copy(start / "live.py", tree / "live.py")
    text = (start / "gristmill.yml").read_text("utf-8")
    url = f"{bucket.scheme}://{bucket.name}/{prefix}"
    reach = json.dumps({name: f"${{env:REMOTE_{name.upper()}}}" for name in bucket.storage})
    text = text.replace("dataset: ./corpus", f"dataset: {url}/corpus\nstorage: {reach}")
    text = text.replace("./out/", f"{url}/out/").replace("run: {", f"run: {{lease_s: {LEASE_S}, ")
    (tree / "gristmill.yml").write_text(text, "utf-8")
    return Place(tree, prefix, {f"REMOTE_{name.upper()}": str(value) for name, value in bucket.storage.items()})


class Trials:
    """Attacks runs of the second day on a store.

    local: the scenes on a local disk. peace: how long a run takes that nobody disturbs.
    """

    def __init__(self, bucket: Bucket, local: list[crash.Scene], server: crash.Warm, folder: Path, prefix: str, days: int = 2) -> None:  # fmt: skip
        self.bucket, self.local, self.server, self.folder, self.prefix = bucket, local, server, folder, prefix
        self.looks = 0
        self.first = place(bucket, folder / "first", local[0].start, f"{prefix}/first")
        self.problems = self._in_peace(self.first, local[0])
        if days == 1:
            return
        second = self._second("peace")
        began = time.monotonic()
        (second.tree / "hits").mkdir()
        self.problems += self._in_peace(second, local[1], {"GRISTMILL_FAILPOINT_HITS": str(second.tree / "hits")})
        self.peace_s = time.monotonic() - began
        self.counts = {path.name: path.stat().st_size for path in (second.tree / "hits").iterdir()}

    def _second(self, name: str) -> Place:
        self.bucket.copy(f"{self.prefix}/first/", f"{self.prefix}/{name}/")
        return place(self.bucket, self.folder / name, self.local[1].start, f"{self.prefix}/{name}")

    def run(self, where: Place, env: Mapping[str, str] = {}, copy: int = 0, workers: int = 1) -> int:
        return self.server.run([str(where.tree), str(workers), "0"], where.env(copy) | dict(env))

    def seen(self, where: Place, scene: crash.Scene, *, end: bool) -> list[str]:
        """Give what is wrong in the store: with what a reader sees; at the end, with any lasting byte."""
        down = where.tree / "down"
        self.looks += 1
        self.bucket.bring(where.prefix, down)
        return crash.end_problems(scene, down) if end else crash.reader_problems(scene, down)

    @contextlib.contextmanager
    def watching(self, where: Place, scene: crash.Scene) -> Iterator[list[str]]:
        """Have a reader look again and again while the body is at work; what it saw wrong stands in the list afterwards.

        A store has no moment at which all of it is seen: what was swapped while it was being looked at is looked at again.
        """
        found: list[str] = []
        stop, down = threading.Event(), where.tree / "down-meanwhile"

        def look() -> None:
            while not stop.wait(LOOK_S):
                before = self.bucket.what_counts(where.prefix)
                self.bucket.bring(where.prefix, down)
                if self.bucket.what_counts(where.prefix) == before:
                    self.looks += 1
                    found.extend(f"while a run was at work: {told}" for told in crash.reader_problems(scene, down))

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield found
            finally:
                stop.set()
                looking.result()

    def _in_peace(self, where: Place, scene: crash.Scene, env: Mapping[str, str] = {}) -> list[str]:
        code = self.run(where, env)
        return ([] if code == 0 else [f"a run in peace ended with {code}"]) + self.seen(where, scene, end=True)

    def trial(self, number: int, rng: random.Random) -> tuple[str, list[int], list[str]]:
        """Kill one run or two, go on here or on another machine, judge; give what was done, the exit codes and the problems."""
        where = self._second(f"t{number}")
        told, codes, problems = [], [], []
        copy = 0
        for _ in range(rng.choice((1, 1, 2))):
            elsewhere = rng.random() < 0.25 and bool(codes)
            copy += elsewhere
            with self.watching(where, self.local[1]) as seen:
                code, how = self._blow(where, rng, copy)
            problems += seen
            codes.append(code)
            told.append(how + (" elsewhere" if elsewhere else ""))
            problems += self.seen(where, self.local[1], end=False)
            if code == 0:
                break
        if codes[-1] != 0:
            copy += rng.random() < 0.25
            with self.watching(where, self.local[1]) as seen:
                codes.append(self.run(where, copy=copy))
            problems += seen
            told.append(f"peace on machine {copy}")
        if codes[-1] != 0:
            problems.append(f"the run in peace ended with {codes[-1]}")
        problems += self.seen(where, self.local[1], end=True)
        if not problems:
            self.bucket.remove(where.prefix)
            shutil.rmtree(where.tree)
        return "; ".join(told), codes, problems

    def _blow(self, where: Place, rng: random.Random, copy: int) -> tuple[int, str]:
        workers = rng.choice((1, 2))
        if rng.random() < 0.6:
            name = rng.choice(NAMES)
            n = rng.randint(1, max(1, self.counts.get(name, 1)))
            hits = where.tree / f"hits-{rng.getrandbits(40):x}"
            hits.mkdir()
            env = {"GRISTMILL_FAILPOINT": f"{name}=kill@{n}", "GRISTMILL_FAILPOINT_HITS": str(hits)}
            return self.run(where, env, copy, workers), f"{name}@{n}"
        after_s = rng.uniform(0.05, self.peace_s)
        return self._killed(where, after_s, copy, workers), f"after {after_s:.2f} s"

    def zombie(self, point: str) -> tuple[list[int], list[str]]:
        """Stop a run at a failpoint past its lease, let another machine go on with it, wake it; give both exit codes and the problems."""
        where = self._second(f"zombie-{point}")
        pid = self.server.start([str(where.tree), "1", "0"], where.env() | {"GRISTMILL_FAILPOINT": f"{point}=stop"})
        try:
            if not _stops(pid):
                return [], [f"the run did not come to {point}"]
            with self.watching(where, self.local[1]) as problems:
                codes = [self.run(where, copy=1)]
                problems += self.seen(where, self.local[1], end=True)
                os.kill(pid, signal.SIGCONT)
                codes.append(self.server.wait(pid))
        finally:
            crash.kill_group(pid)
        problems += self.seen(where, self.local[1], end=True)
        codes.append(self.run(where))  # the folder of the zombie is as good as any
        if codes.pop() != 0:
            problems.append("a run in the zombie's folder afterwards did not end well")
        return codes, problems + self.seen(where, self.local[1], end=True)

    def _killed(self, where: Place, after_s: float, copy: int, workers: int) -> int:
        pid = self.server.start([str(where.tree), str(workers), "0"], where.env(copy))
        timer = threading.Timer(after_s, crash.kill_group, [pid])
        timer.start()
        code = self.server.wait(pid)
        timer.cancel()
        crash.kill_group(pid)
        return code


def _stops(pid: int) -> bool:
    """Wait until a process stands still; False if it ended instead."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state in "TZ":
            return state == "T"
        time.sleep(0.05)
    return False


def history(folder: Path, server: crash.Warm, n: int = 60) -> list[crash.Scene]:
    """Make the scenes on a local disk."""
    return scenes.history(folder, "local", scenes.runner(server, 1), n=n, split=4000, docs=15)
