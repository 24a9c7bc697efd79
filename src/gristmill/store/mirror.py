"""The lasting files of a dataset on an object store, worked on through a folder of this machine.

The working folder has the dataset's own layout. A file gets its name there after the store has it, and bears the store's mark (a digest of
the object's ETag, as its time of modification), so that a copy is known to be of the very object that is there, or is fetched anew. What
decides anything is taken from the store under the lease (`refresh`); staging and the journal of finished tasks are the machine's own.
Not here: the requests (`remote`), the lease (`lease`), the one commit (`snapshot`). Invariants: a name in the store has its whole content;
what was there is replaced only on condition that it is still what was seen *before* the lease was found to be ours: what a run writes that was
taken over can then not land on its successor's work. Only shards go up without a condition: their names hold a digest of their content.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gristmill.core import access
from gristmill.core.errors import StaleError, StoreError, Transient
from gristmill.core.failpoints import failpoint
from gristmill.store import disk, lease
from gristmill.store.files import Lying
from gristmill.store.remote import ABSENT, Remote, Seen, mapped

# The files right in a run's folder that decide or tell something; `refresh` makes the copies equal to the store's.
HEADS = (
    "claim.json", "plan.json", "manifest.json", "candidate.json", "judged.json", "report.json", "report.html", "distributions.json", "collected.json"
)  # fmt: skip
SETTLED = (
    ".settled"  # beside the heads of a run that is over, and newer ones too: nothing of it changes but that gc may come
)
FIRST_ENTRY = "table/_delta_log/00000000000000000000.json"  # tells one dataset from another that lies there later
OF = "of"  # in the working folder: the mark of its dataset's first entry
TRIES = 5
THREADS = 8
REMOVED_AT_ONCE = 100  # objects a request


class Mirror:
    """`store.files.Files` of a dataset on an object store; `root` is the working folder."""

    def __init__(self, root: Path, remote: Remote) -> None:
        self.root, self.remote = root, remote

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    # --- writing

    def write_file(self, path: Path, content: bytes) -> None:
        """See `Files`."""
        failpoint("disk.written")
        seen = self._replace(self._key(path), content)
        failpoint("disk.named")
        self._copy(path, content, seen)

    def create_file(self, path: Path, content: bytes) -> bool:
        """See `Files`. If the answer to a try was lost, what is there is ours by its content."""
        self.check_held()
        failpoint("disk.written")
        seen = self.remote.put(self._key(path), content, ABSENT)
        failpoint("disk.named")
        if seen is not None:
            self._copy(path, content, seen)
        return seen is not None

    def adopt_file(self, scratch: Path, path: Path, *, mode: int = access.SHARED) -> None:
        """See `Files`."""
        failpoint("disk.written")
        seen = self._upload(scratch, self._key(path))
        failpoint("disk.named")
        disk.make_folder(path.parent)
        access.set_mode(scratch, mode)
        _set_mark(scratch, seen)
        scratch.replace(path)

    def _upload(self, file: Path, key: str) -> Seen:
        if key.startswith("table/"):  # its name holds a digest of its content
            return self.remote.put_file(key, file)
        content = mapped(file)
        # Under a free name it can land on nobody's work, whoever holds the dataset now: a successor replaces what he finds.
        return self.remote.put(key, content, ABSENT) or self._replace(key, content)

    def _replace(self, key: str, content: bytes | mmap.mmap) -> Seen:
        """Write an object in the place of what is there; the order of the three requests is what fences off a run that was taken over."""
        for _ in range(TRIES):
            there = self.remote.head(key)
            self.check_held()
            seen = self.remote.put(key, content, there if there is not None else ABSENT)
            if seen is not None:
                return seen
        raise StaleError(f"{self.remote.url}/{key} is written by another run at the same time; run again")

    def _copy(self, path: Path, content: bytes, seen: Seen) -> None:
        disk.make_folder(path.parent)
        scratch = path.with_name(f".{path.name}.{disk.mark()}.tmp")
        with access.create(scratch) as file:
            file.write(content)
        _set_mark(scratch, seen)
        scratch.replace(path)

    def remove(self, path: Path) -> None:
        """See `Files`."""
        self.check_held()
        self.remote.delete([self._key(path)])
        path.unlink(missing_ok=True)

    def remove_files(self, relative: Sequence[str]) -> None:
        """See `Files`. No store removes on condition, so the lease is looked at just before each request."""
        for at in range(0, len(relative), REMOVED_AT_ONCE):
            few = list(relative[at : at + REMOVED_AT_ONCE])
            self.check_held()
            self.remote.delete(few)
            for each in few:
                (self.root / each).unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """See `Files`."""
        self.remove_files([seen.key for seen in self.remote.listing(f"{self._key(folder)}/", deep=True)])
        shutil.rmtree(folder, ignore_errors=True)

    def share(self, path: Path) -> None:
        """See `Files`. What tells and decides nothing needs no condition, and is no reason to fail."""
        with contextlib.suppress(FileNotFoundError, Transient, StoreError):
            self.remote.put(self._key(path), path.read_bytes())

    # --- reading

    def fetch(self, path: Path) -> Path:
        """See `Files`: the store is asked each time whether the copy is of what it has."""
        key = self._key(path)
        self._bring(path, self.remote.head(key))
        return path

    def _bring(self, path: Path, seen: Seen | None) -> None:
        if seen is None and path.exists():  # it may have come since the store was asked, by a run that works here
            seen = self.remote.head(self._key(path))
        if seen is None:
            path.unlink(missing_ok=True)
            return
        if _is_copy(path, seen):
            return
        disk.make_folder(path.parent)
        scratch = path.with_name(f".{path.name}.{disk.mark()}.tmp")
        try:
            brought = self.remote.fetch(self._key(path), scratch)
            if brought is None:
                path.unlink(missing_ok=True)
                return
            access.set_mode(scratch, access.SHARED if path.parent == self.root / "table" else access.PRIVATE)
            _set_mark(scratch, brought)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)

    def fetched(self, folder: Path, pattern: str) -> list[Path]:
        """See `Files`."""
        found = self.remote.listing(f"{self._key(folder)}/")
        wanted = [seen for seen in found if fnmatch.fnmatchcase(seen.key.rpartition("/")[2], pattern)]
        paths = [self.root / seen.key for seen in wanted]
        _at_once(self._bring, paths, wanted)
        return sorted(paths)

    def folders(self, folder: Path) -> list[Path]:
        """See `Files`."""
        return [folder / name for name in self.remote.folders(f"{self._key(folder)}/")]

    def sizes(self, relative: Iterable[str]) -> Mapping[str, int]:
        """See `Files`."""
        wanted = set(relative)
        tops = {path.partition("/")[0] for path in wanted}
        found = (seen for top in sorted(tops) for seen in self.remote.listing(f"{top}/", deep=top != "table"))
        return {seen.key: seen.size for seen in found if seen.key in wanted}

    def lying(self, folder: Path) -> Iterator[Lying]:
        """See `Files`."""
        for seen in self.remote.listing(f"{self._key(folder)}/", deep=True):
            yield Lying(seen.key, seen.size, seen.time_ns)

    # --- what decides

    def refresh(self) -> None:
        """See `Files`: the heads of all runs here are those of the store afterwards, and there are no others."""
        self._settle_whose()
        runs = self.root / "runs"
        known = set(self.remote.folders("runs/"))
        for folder in runs.iterdir() if runs.is_dir() else []:
            if folder.name not in known and self.remote.head(f"runs/{folder.name}/claim.json") is None:
                shutil.rmtree(folder, ignore_errors=True)
        seqs = sorted(int(name) for name in known if name.isdecimal())
        over = [seq for seq in seqs if not (runs / str(seq) / SETTLED).exists()]
        _at_once(self._refresh_run, over)
        marks = [runs / str(seq) / "collected.json" for seq in seqs if seq not in over]
        _at_once(self.fetch, [path for path in marks if not path.exists()])
        ended = [seq for seq in seqs if (runs / str(seq) / "report.json").exists()]
        for seq in over:  # a report is amended while it is the newest
            if ended[-2:-1] and seq < ended[-2]:
                (runs / str(seq) / SETTLED).touch()
        for name in ("monitoring/state.json", "estimate.json", "last-call.json", "pins.json"):
            self.fetch(self.root / name)

    def _refresh_run(self, seq: int) -> None:
        folder = self.root / "runs" / str(seq)
        there = {seen.key.rpartition("/")[2]: seen for seen in self.remote.listing(f"runs/{seq}/")}
        for name in HEADS:
            self._bring(folder / name, there.get(name))

    def _settle_whose(self) -> None:
        """Empty the working folder if it is of another dataset than now lies at this address."""
        seen = self.remote.head(FIRST_ENTRY)
        file = self.root / OF
        before = file.read_text() if file.exists() else ""
        now = str(_mark(seen)) if seen is not None else ""
        if before and before != now:
            for path in self.root.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
            file.unlink()
        if now and before != now:
            disk.make_folder(self.root)
            scratch = file.with_name(f".{OF}.{disk.mark()}")
            with access.create(scratch, access.PRIVATE) as out:
                out.write(now.encode())
            scratch.replace(file)

    def check_held(self) -> None:
        """See `Files`."""
        lease.check(self.root, self.remote)

    def assure(self, seq: int, named: Mapping[str, str]) -> None:
        """See `Files`: what another attempt of the same run has put there instead goes up again."""
        try:
            _at_once(self._assure, list(named), list(named.values()))
        except StaleError:  # what was done is not what lies here: it is done again by the next run
            shutil.rmtree(self.root / "runs" / str(seq) / "tasks", ignore_errors=True)
            raise

    def _assure(self, relative: str, digest: str) -> None:
        path, seen = self.root / relative, self.remote.head(relative)
        if not path.exists():
            if seen is None:
                raise StoreError(f"{relative} is not in the store any more, although this run wrote it; run again")
            return  # of a worker with a working folder of its own
        if digest and disk.sha256_of(path) != digest:
            raise StaleError(f"{relative} was written by another run at the same time; run again")
        if seen is None or not _is_copy(path, seen):
            _set_mark(path, self._upload(path, relative))

    def problems(self) -> Sequence[str]:
        """See `Files`."""
        return self.remote.problems()


def _at_once(do: object, *lists: Sequence[object]) -> None:
    """Call for each item, several at once: each call waits for the store most of its time. The first failure is raised."""
    assert callable(do)
    if not lists[0]:
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(do, *lists):
            pass


def _mark(seen: Seen) -> int:
    """Give what tells an object's content from any other the store had there, as a number of nanoseconds."""
    told = f"{seen.etag} {seen.version} {seen.size}".encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "little") % (1 << 60)


def _set_mark(path: Path, seen: Seen) -> None:
    os.utime(path, ns=(_mark(seen), _mark(seen)))


def _is_copy(path: Path, seen: Seen) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_size == seen.size and found.st_mtime_ns == _mark(seen)
