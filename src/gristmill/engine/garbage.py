"""Garbage: what no kept snapshot names any more, and old snapshots that are not to be kept.

A file that no manifest ever named (of dead runs, refused candidates, tasks done twice) goes when it is older than the grace period; what
only snapshots out of retention name goes at once. Kept whole: the newest snapshot, those of the retention, pinned ones, and for each
export the one it was last known to hold. It holds the dataset's lock; of a run that is open beside it (a scheduler's stages hold no lock
between them) nothing is touched: neither its staging nor any file younger than its claim.

Not here: what a mark means (`store.collected`). Invariants: a snapshot is marked before its first file goes, so that dying anywhere
leaves whole snapshots, marked ones and garbage, and the next call goes on; manifests, reports, plans, verdicts and signals of published
snapshots stay; a file is touched only where its name is one that gristmill gives; nothing a run does depends on whether this ran.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from gristmill.config.monitoring import seconds
from gristmill.config.settings import PipelineConfig, Retention
from gristmill.core.errors import ConfigError
from gristmill.core.export import FileExport, read_manifest
from gristmill.core.failpoints import failpoint
from gristmill.core.stopping import check
from gristmill.engine.exports import of_another, outlet_of
from gristmill.engine.report import whole_report
from gristmill.store import chain, claim, collected, snapshot
from gristmill.store.files import Lying
from gristmill.store.layout import Layout
from gristmill.store.mirror import REMOVED_AT_ONCE
from gristmill.store.outlet import MANIFEST, OWNER
from gristmill.store.snapshot import Manifest

KINDS = ("shards", "index", "tombstones", "states", "staging", "landing", "runs", "exports", "scratch")
# By folder: what gc may remove of it, told by names that gristmill gives.
_FILES = {
    "table": {"shards": re.compile(r"table/[^/]+-[0-9a-f]{8}\.parquet")},
    "index": {
        "tombstones": re.compile(r"index/tombstones/\d+\.parquet"),
        "index": re.compile(r"index/[^/]+/[^/]+/\d+\.parquet"),
    },
    "state": {"states": re.compile(r"state/[^/]+/\d+\.parquet")},
}
_SCRATCH = re.compile(r"\..+\.tmp")
# Of a run that published nothing: what was kept of it to be looked at. Claim, plan, report, page and log stay.
_CANDIDATE = ("candidate.json", "judged.json", "tasks", "listing", "verdicts", "signals", "quarantine")


class Policy(msgspec.Struct, frozen=True):
    """What is kept whole: the newest `keep_last` snapshots, those younger than `keep_days`, and `pinned` ones; both null: all.

    grace_s: how old a file must be that no manifest ever named.
    """

    keep_last: int | None = None
    keep_days: int | None = None
    pinned: frozenset[int] = frozenset()
    grace_s: float = 7 * 86400.0

    def keeps(self, seq: int, newest_first: int, age: timedelta) -> bool:
        """Tell if a snapshot is kept, by its place among the whole ones and its age."""
        if self.keep_last is None and self.keep_days is None:
            return True
        recent = self.keep_last is not None and newest_first < self.keep_last
        young = self.keep_days is not None and age <= timedelta(days=self.keep_days)
        return recent or young or seq in self.pinned


def policy(layout: Layout, config: PipelineConfig | None, keep_last: int | None, keep_days: int | None) -> Policy:
    """Give what is kept: as the config says, `keep_last` and `keep_days` each in the place of its own rule there; and what is pinned there or in the dataset."""
    said = config.retention if config is not None else Retention()
    asked = (keep_last or said.keep_last, keep_days or said.keep_days)
    pinned = frozenset([*said.pinned, *collected.read_pins(layout).values()])
    return Policy(*asked, pinned, seconds(said.grace))


class Found(msgspec.Struct, frozen=True):
    """What gc removed, or would remove. kept: the snapshots that stay whole; collected: those that go now; by kind: what and how much."""

    kept: list[int]
    collected: list[int]
    files: dict[str, int]
    bytes: dict[str, int]
    dry_run: bool

    @property
    def total_bytes(self) -> int:
        """Of all kinds."""
        return sum(self.bytes.values())


class _Garbage(msgspec.Struct, frozen=True):
    """way: a `file` or a `folder` of the dataset, or what is not the dataset's but of this machine, `here`."""

    kind: str
    way: Literal["file", "folder", "here"]
    path: Path
    files: int
    bytes: int


def collect(
    layout: Layout, policy: Policy, config: PipelineConfig | None = None, *, dry_run: bool = False, wait_s: float = 0.0
) -> Found:
    """Remove what is not to be kept, or (`dry_run`, which takes no lock and changes nothing) say what that would be.

    The chunks of exports, and pages that landed, are looked at only with a config: it says where and how long.

    Raises:
        ConfigError: a pinned snapshot is not there, or its bytes are gone.
        LockedError: a run holds the dataset.
    """
    lock = contextlib.nullcontext() if dry_run else claim.DatasetLock(layout, wait_s)
    with lock:
        if dry_run:
            layout.files.refresh()  # else who takes the lock has done so
        heap = _Heap(layout, policy, config)
        garbage = list(heap.garbage())
        if not dry_run:
            check()
            for seq in heap.marked:
                collected.mark(layout, seq)
            failpoint("gc.marked")
            at_once = 1 if layout.remote is None else REMOVED_AT_ONCE
            for at in range(0, len(garbage), at_once):
                _remove(layout, garbage[at : at + at_once])
                failpoint("gc.removed")
        files, sizes = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        for each in garbage:
            files[each.kind] += each.files
            sizes[each.kind] += each.bytes
        return Found(heap.kept[::-1], heap.dropped[::-1], files, sizes, dry_run)


def _remove(layout: Layout, garbage: list[_Garbage]) -> None:
    layout.files.remove_files([layout.relative(each.path) for each in garbage if each.way == "file"])
    for each in garbage:
        if each.way == "folder":
            layout.files.remove_folder(each.path)
        elif each.way == "here" and each.path.is_dir() and not each.path.is_symlink():
            shutil.rmtree(each.path, ignore_errors=True)
        elif each.way == "here":
            each.path.unlink(missing_ok=True)


class _Heap:
    """What there is, as of now: which snapshots are kept, what they name, and what else lies about."""

    def __init__(self, layout: Layout, policy: Policy, config: PipelineConfig | None) -> None:
        self.layout, self.policy, self.config = layout, policy, config
        self.now, self.now_ns = datetime.now(UTC), time.time_ns()
        self.head = snapshot.head_seq(layout)
        self.published: set[int] = set()
        self.kept: list[int] = []  # newest first
        self.dropped: list[int] = []  # that go now
        self.gone: list[int] = []  # all that are not kept, newest first
        self.named: set[str] = set()  # by what is kept
        self._choose()
        self.open = self._open()
        self.open_ns = self._written(self.open)
        self.over = [seq for seq in claim.claimed(layout) if seq not in self.published and seq != self.open]
        self.marked = sorted([*self.dropped, *(seq for seq in self.over if self._candidate(seq))])
        self._spare()

    # --- which snapshots

    def _choose(self) -> None:
        needed = self._exported()
        for seq in (link.seq for link in chain.links(self.layout, self.head)):
            self.published.add(seq)
            whole = collected.when(self.layout, seq) is None
            age = self.now - self._claimed(seq)
            if whole and (seq in {self.head, *needed} or self.policy.keeps(seq, len(self.kept), age)):
                self.kept.append(seq)
                self.named |= _names(snapshot.read_manifest(self.layout.manifest(seq)))
            else:
                self.dropped += [seq] if whole else []
                self.gone.append(seq)
        lost = sorted(self.policy.pinned - set(self.kept))
        if lost:
            raise ConfigError(
                f"pinned: {', '.join(map(str, lost))}: no such snapshot, or gc has collected it; whole ones are "
                f"{', '.join(map(str, sorted([*self.kept, *self.dropped]))) or 'none'}; take it out of retention.pinned, or `gristmill gc --unpin`"
            )

    def _exported(self) -> set[int]:
        """Give for each export of the newest snapshot the newest one it was made of: a table is brought on from there."""
        if not self.head:
            return set()
        missing = set(snapshot.read_manifest(self.layout.manifest(self.head)).exports)
        found: set[int] = set()
        for seq in (link.seq for link in chain.links(self.layout, self.head)):
            if not missing:
                break
            report = whole_report(self.layout, seq)
            made = set(report["exports"]) if report is not None else set()
            unknown = report is None and self.layout.report(seq).exists()  # a damaged one may have named any of them
            found |= {seq} if unknown or missing & made else set()
            missing -= made
        return found

    def _claimed(self, seq: int) -> datetime:
        if not self.layout.claim(seq).exists():
            return self.now
        return datetime.fromisoformat(claim.read_claim(self.layout, seq).time)

    def _open(self) -> int | None:
        """Give the run that is still to be gone on with: the newest claim, unless it has ended."""
        newest = max(claim.claimed(self.layout), default=0)
        return newest if newest > self.head and not self.layout.report(newest).exists() else None

    def _written(self, seq: int | None) -> int | None:
        """Give when a run was claimed, by the clock that files are told the time by."""
        if seq is None:
            return None
        claimed = self.layout.relative(self.layout.claim(seq))
        return next((f.time_ns for f in self.layout.files.lying(self.layout.run(seq)) if f.relative == claimed), 0)

    def _candidate(self, seq: int) -> bool:
        """Tell if an ended run that published nothing still has what is kept to be looked at, for longer than that is."""
        past = (self.now - self._claimed(seq)).total_seconds() > self.policy.grace_s
        return past and any(self._left_of(seq))

    def _left_of(self, seq: int) -> Iterator[_Garbage]:
        """Give what such a run left."""
        folder = self.layout.run(seq)
        found: dict[str, list[Lying]] = {}
        for file in self.layout.files.lying(folder):
            found.setdefault(file.relative.split("/")[2], []).append(file)
        for name in _CANDIDATE:
            inside = found.get(name, [])
            if inside:
                way: Literal["file", "folder"] = "file" if inside[0].name == name else "folder"
                yield _Garbage("runs", way, folder / name, len(inside), sum(file.size for file in inside))

    def _spare(self) -> None:
        """Keep what refused candidates name that may still be looked at."""
        for seq in set(self.over) - set(self.marked):
            path = self.layout.candidate(seq)
            if path.exists():
                self.named |= _names(snapshot.read_manifest(path))

    # --- which files

    def garbage(self) -> Iterator[_Garbage]:
        """Give what is to go."""
        young: dict[str, tuple[str, Lying]] = {}
        for folder, kinds in _FILES.items():
            for file in self.layout.files.lying(self.layout.root / folder):
                kind = next((kind for kind, pattern in kinds.items() if pattern.fullmatch(file.relative)), None)
                if kind is None or file.relative in self.named:
                    continue
                if self._old(file):
                    yield _Garbage(kind, "file", self.layout.root / file.relative, 1, file.size)
                else:
                    young[file.relative] = kind, file
        for kind, file in self._known(young):
            yield _Garbage(kind, "file", self.layout.root / file.relative, 1, file.size)
        for seq in self.marked:
            yield from self._left_of(seq) if seq in self.over else ()
        staging = self.layout.staging(0).parent
        for path in staging.iterdir() if staging.is_dir() else ():
            if path.name != str(self.open):
                yield _weighed("staging", path)
        yield from self._landed()
        yield from self._scratch()
        yield from self._chunks()

    def _known(self, young: dict[str, tuple[str, Lying]]) -> Iterator[tuple[str, Lying]]:
        """Give those of some young files, that no kept snapshot names, that one which is not kept does.

        It wrote its manifest after them, so only manifests are read that are as young, and no more than it takes.
        """
        for seq in self.gone:
            path = self.layout.manifest(seq)
            own = self.layout.relative(path)
            if not young or any(f.relative == own and self._old(f) for f in self.layout.files.lying(path.parent)):
                return
            for name in _names(snapshot.read_manifest(path)) & young.keys():
                yield young.pop(name)

    def _old(self, file: Lying) -> bool:
        """Tell if a file is older than the grace period, and than the run that is open."""
        if self.open_ns is not None and file.time_ns >= self.open_ns:
            return False
        return self.now_ns - file.time_ns > self.policy.grace_s * 1e9

    def _landed(self) -> Iterator[_Garbage]:
        if self.config is None:
            return
        limit = timedelta(days=self.config.run.landing_days)
        files = self.layout.files
        for folder in [
            path for source in files.folders(self.layout.root / "landing") for path in files.folders(source)
        ]:
            seq = int(folder.name) if folder.name.isdecimal() else None
            if seq is not None and seq != self.open and self.now - self._claimed(seq) > limit:
                sizes = [file.size for file in files.lying(folder)]
                yield _Garbage("landing", "folder", folder, len(sizes), sum(sizes))

    def _scratch(self) -> Iterator[_Garbage]:
        """Give the files of writers that died: under the name they have before they are whole."""
        for folder in ("runs", "index", "state", "landing", "."):
            found = (self.layout.root / folder).glob(".*.tmp" if folder == "." else "**/.*.tmp")
            yield from (
                _weighed("scratch", path) for path in found if _SCRATCH.fullmatch(path.name) and self._is_old(path)
            )

    def _chunks(self) -> Iterator[_Garbage]:
        """Give chunks of exports that their manifests do not name, and what dead writers left beside them."""
        for bound in self.config.exports if self.config is not None else ():
            if not isinstance(bound.export, FileExport) or self.config is None:
                continue
            outlet = outlet_of(bound, self.config)
            if outlet.remote is not None:  # a run sweeps it
                continue
            folder = outlet.folder
            listed = read_manifest(folder / MANIFEST)
            if listed is None or listed.export != bound.name or of_another(bound, outlet, self.layout) is not None:
                continue
            named = {chunk.name for chunk in listed.chunks}
            for path in folder.iterdir():
                made = path.name[1:].rsplit(".", 2)[0] if _SCRATCH.fullmatch(path.name) else path.name
                ours = bound.export.owns(made) or (made in {MANIFEST, OWNER} and made != path.name)
                if ours and path.name not in named and self._is_old(path):
                    yield _weighed("exports", path)

    def _is_old(self, path: Path) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._old(Lying(str(path), 0, path.lstat().st_mtime_ns))
        return False


def _names(manifest: Manifest) -> set[str]:
    """Give all files that a manifest names and gc may remove."""
    return {
        *(shard.path for shard in manifest.shards),
        *(run.path for run in manifest.index),
        *manifest.tombstones,
        *(state["path"] for state in manifest.states.values()),
    }


def _weighed(kind: str, path: Path) -> _Garbage:
    """Give a file or a folder of this machine."""
    inside = [path] if path.is_symlink() or not path.is_dir() else [p for p in path.rglob("*") if not p.is_dir()]
    size = 0
    for each in inside:
        with contextlib.suppress(FileNotFoundError):
            size += each.lstat().st_size
    return _Garbage(kind, "here", path, len(inside), size)
