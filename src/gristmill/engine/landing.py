"""Landing: the pages of a source that cannot be read again, kept durably before any step sees them.

    landing/<source>/<seq>/<task>-<part>.parquet      rows of consecutive pages; what else a page holds is in the file's metadata

A task that is done again, in this run or after a crash, reads what has landed and goes on from the last page's resume point. Not here:
reading (`sources`), the retention time's place in a run (`engine.run`). Invariants: a page is landed whole before it is handed on; a part
never changes; pages come back exactly as they were given.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core import access
from gristmill.core.errors import StoreError, naming, raise_of_system
from gristmill.core.failpoints import failpoint
from gristmill.core.source import PAGE_SCHEMA, Outcome, Page, ReadContext, Reject
from gristmill.engine.work import Job, Work
from gristmill.store import claim, disk, index
from gristmill.store.layout import Layout

PART_BYTES = 16 << 20  # of rows; a part ends with the first page after this that reading can go on from
PART_PAGES = 1000  # or after so many pages,
PART_S = 5.0  # or after so long: a slow source loses little when it is killed
_META = b"gristmill.pages"


class _Kept(msgspec.Struct, frozen=True):
    """A page as a part's metadata holds it: the number of its rows, and all else as it is."""

    rows: int
    unit: str
    rejects: list[Reject]
    bytes_in: int
    warnings: dict[str, int]
    deleted: list[str]
    present: list[str]
    versioned: bool
    resume: dict[str, Any] | None
    outcome: Outcome
    note: dict[str, Any]


_FIELDS = [name for name in _Kept.__struct_fields__ if name != "rows"]


class _Part(msgspec.Struct, frozen=True):
    """The metadata of a part: its pages, and whether the split ends with it."""

    pages: list[_Kept]
    last: bool


class Landing:
    """What has landed of one task's split."""

    def __init__(self, work: Work, job: Job) -> None:
        self.files = work.layout.files
        self.folder = work.layout.landing(job.source) / str(work.seq)
        self.scratch = work.staged(f"landing-{job.id}-{disk.mark()}.parquet")
        self.job = job
        self.source = work.source(job.source).source

    def pages(self, context: ReadContext) -> Iterator[Page]:
        """Give all pages of the split: those that have landed, then those still to be read, each once it has landed."""
        assert self.job.split is not None
        resume, part = None, 0
        while (path := self.files.fetch(self._path(part))).exists():
            if part == 0:
                disk.sync_folder(self.folder)  # a run that died may not have come to it
            pages, last = read_part(path)
            yield from (page for page in pages if page.unit not in context.skip)
            if last:
                return
            resume, part = pages[-1].resume if pages else resume, part + 1
        held: list[Page] = []
        size, began = 0, time.monotonic()
        for page in self.source.read(self.job.split, msgspec.structs.replace(context, resume=resume)):
            held.append(page)
            size += page.rows.nbytes
            full = size >= PART_BYTES or len(held) >= PART_PAGES or time.monotonic() - began >= PART_S
            if page.resume is not None and full:
                self._write(part, held, last=False)
                yield from held
                held, size, part, began = [], 0, part + 1, time.monotonic()
        self._write(part, held, last=True)
        yield from held

    def _path(self, part: int) -> Path:
        return self.folder / f"{self.job.id}-{part:05d}.parquet"

    def _write(self, part: int, pages: list[Page], *, last: bool) -> None:
        empty = PAGE_SCHEMA.empty_table().to_batches()
        kept = [_Kept(page.rows.num_rows, *(getattr(page, name) for name in _FIELDS)) for page in pages]
        meta = {_META: msgspec.json.encode(_Part(kept, last))}
        table = pa.Table.from_batches([page.rows for page in pages] or empty, PAGE_SCHEMA).replace_schema_metadata(meta)
        access.make_folder(self.scratch.parent)
        with naming(self.scratch):
            pq.write_table(table, self.scratch, compression="zstd", compression_level=1, write_page_checksum=True)
        self.files.adopt_file(self.scratch, self._path(part), mode=access.PRIVATE)
        failpoint("landing.written")


def landed(layout: Layout, job: Job) -> Iterator[Page]:
    """Give the pages again that an earlier run landed, for a replay."""
    assert job.split is not None
    folder = layout.landing(job.source) / str(job.split.spec["run"])
    for path in layout.files.fetched(folder, f"{job.split.spec['task']}-*.parquet"):
        yield from read_part(path)[0]


def landings(layout: Layout, source: str, standing: Container[int]) -> dict[tuple[int, str], list[Path]]:
    """Give the parts that the snapshots in `standing` landed of a source and that are still kept, by run and task, in order."""
    found: dict[tuple[int, str], list[Path]] = {}
    runs = sorted(layout.files.folders(layout.landing(source)), key=lambda folder: int(folder.name))
    for path in (path for run in runs for path in layout.files.fetched(run, "*.parquet")):
        if int(path.parent.name) in standing:
            found.setdefault((int(path.parent.name), path.stem.rpartition("-")[0]), []).append(path)
    return found


def read_part(path: Path) -> tuple[list[Page], bool]:
    """Give the pages of a part, and whether the split ends with it.

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        table = index.read_table(path).combine_chunks()
        part = msgspec.json.decode(table.schema.metadata[_META], type=_Part)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise_of_system(error, path)
        raise StoreError(
            f"{path} cannot be read ({type(error).__name__}); remove its folder, and its task is read from the source again"
        ) from error
    table = table.replace_schema_metadata(None).cast(PAGE_SCHEMA)
    pages, at = [], 0
    for kept in part.pages:
        batches = table.slice(at, kept.rows).combine_chunks().to_batches()
        rows = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=PAGE_SCHEMA)
        unit, *others = (getattr(kept, name) for name in _FIELDS)
        pages.append(Page(unit, rows, *others))
        at += kept.rows
    return pages, part.last


def sweep(layout: Layout, keep_days: int, now: datetime | None = None) -> int:
    """Remove what runs landed that were claimed over `keep_days` days ago; give how many folders went."""
    limit = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    gone = 0
    sources = layout.files.folders(layout.root / "landing")
    for folder in [path for source in sources for path in layout.files.folders(source) if path.name.isdecimal()]:
        path = layout.claim(int(folder.name))
        claimed = claim.read_claim(layout, int(folder.name)).time if path.exists() else None
        if claimed is None or datetime.fromisoformat(claimed) < limit:
            layout.files.remove_folder(folder)
            gone += 1
    return gone
