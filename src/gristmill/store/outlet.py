"""Where an export in files lies: a folder of this machine, or one of a bucket that is written through a scratch folder here.

Not here: which chunks there must be (`engine.exports`), their bytes (`exports`). Invariants: a chunk has its name only when it is whole; the
manifest is swapped in one step, after all chunks it names, and on an object store only by a run that still holds the dataset; before the first
chunk it is written down whose the place is, in a file of its own, for equal snapshots of two datasets have equal manifests.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from gristmill.core import export as ledgers
from gristmill.core.errors import StaleError, StoreError, naming
from gristmill.core.export import ExportManifest, ManifestChunk
from gristmill.core.failpoints import failpoint
from gristmill.store import disk
from gristmill.store.remote import ABSENT, Remote

MANIFEST = "manifest.json"
OWNER = ".dataset.json"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Content of `.dataset.json`: the id of the dataset (that of its Delta table) whose export lies here."""

    version: Literal[1] = 1
    dataset: str


class Outlet(msgspec.Struct, frozen=True):
    """One export's place. folder: of the chunks, or of what is on its way to `remote`."""

    folder: Path
    remote: Remote | None = None

    def __str__(self) -> str:
        return self.remote.url if self.remote is not None else str(self.folder)

    def scratch(self, name: str) -> Path:
        """Give a name of nobody else's to write a chunk under."""
        disk.make_folder(self.folder)
        return self.folder / f".{name}.{disk.mark()}.tmp"

    def adopt(self, scratch: Path, name: str) -> None:
        """Give a finished chunk its name."""
        if self.remote is None:
            disk.adopt_file(scratch, self.folder / name)
            return
        failpoint("disk.written")
        self.remote.put_file(name, scratch)
        failpoint("disk.named")
        scratch.unlink()

    def manifest(self) -> ExportManifest | None:
        """Give the export's manifest; None if there is none.

        Raises:
            StoreError: it is damaged, or of a version that is not known.
        """
        with self.read(MANIFEST) as path:
            return ledgers.read_manifest(path, f"{self}/{MANIFEST}")

    def owner(self) -> str | None:
        """Give the id of the dataset whose export lies here; None if nobody has said so yet.

        Raises:
            StoreError: what says it is damaged, or of a version that is not known.
        """
        with self.read(OWNER) as path, naming(f"{self}/{OWNER}"):
            try:
                return msgspec.json.decode(path.read_bytes(), type=Owner).dataset
            except FileNotFoundError:
                return None
            except msgspec.DecodeError as error:
                raise StoreError(
                    f"{self}/{OWNER}: does not say whose export this is ({error}); upgrade gristmill, or delete the folder"
                ) from error

    def claim(self, dataset: str) -> bool:
        """Write down that the export of this dataset lies here, if nobody's does; give whether it is this one's now."""
        content = msgspec.json.encode(Owner(dataset=dataset)) + b"\n"
        if self.remote is None:
            disk.create_file(self.folder / OWNER, content)
        else:
            self.remote.put(OWNER, content, ABSENT)
        return self.owner() == dataset

    def swap(self, content: bytes, check_held: Callable[[], None]) -> None:
        """Swap in another manifest: the export's commit."""
        if self.remote is None:
            disk.write_file(self.folder / MANIFEST, content)
            return
        failpoint("disk.written")
        there = self.remote.head(MANIFEST)
        check_held()
        if self.remote.put(MANIFEST, content, there if there is not None else ABSENT) is None:
            raise StaleError(f"{self}/{MANIFEST} is written by another run at the same time; run again")
        failpoint("disk.named")

    def sync(self) -> None:
        """Make the manifest that is there durable: whoever swapped it in may have died before he came to that."""
        if self.remote is None:
            disk.sync_folder(self.folder)

    def whole(self, chunks: list[ManifestChunk]) -> list[ManifestChunk]:
        """Give those of the manifest's chunks that are there as it says, by size; what was touched after it was swapped in is digested."""
        found = self._stamps()
        swapped_ns = found[MANIFEST][1] if MANIFEST in found else 0
        sound = []
        for chunk in chunks:
            size, time_ns = found.get(chunk.name, (-1, 0))
            if size == chunk.bytes and (time_ns < swapped_ns or self.digest(chunk.name) == chunk.sha256):
                sound.append(chunk)
        return sound

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Give size and time of each file that is there. A store's clock knows seconds: what it took in the manifest's own second is older."""
        if self.remote is not None:
            found = {seen.key: (seen.size, seen.time_ns) for seen in self.remote.listing("")}
            if MANIFEST in found:
                found[MANIFEST] = (found[MANIFEST][0], found[MANIFEST][1] + 1)
            return found
        with os.scandir(self.folder) as entries:
            stats = {entry.name: entry.stat() for entry in entries if entry.is_file(follow_symlinks=False)}
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}

    @contextlib.contextmanager
    def read(self, name: str) -> Iterator[Path]:
        """Give where a file is to be read while the block lasts; it may not be there."""
        if self.remote is None:
            yield self.folder / name
            return
        scratch = self.scratch(name)
        try:
            self.remote.fetch(name, scratch)
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)

    def digest(self, name: str) -> str:
        """Give the sha256 of a file, "" if it is not there."""
        with self.read(name) as path:
            return disk.sha256_of(path) if path.exists() else ""

    def names(self) -> list[str]:
        """Give the names of all files; none where there is no folder."""
        if self.remote is not None:
            return [seen.key for seen in self.remote.listing("")]
        return [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []

    def remove(self, names: list[str]) -> None:
        """Remove files."""
        if self.remote is not None:
            if names:
                self.remote.delete(names)
            return
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
