"""Loads: what differs between two snapshots, row by row, and having a table follow.

Not here: writing tables (`exports/`), exports in chunks (`engine.exports`). Invariants: a snapshot is compared with one
that was committed, which its manifest's sha256 proves; of two shards only rows that differ are told, by `ord` and `seq`
(what stands in a row never changes under both); memory holds the ords of one shard and what overlaps it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa

from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError, ExportError, StoreError, Transient
from gristmill.core.load import Changes, Load, Loaded
from gristmill.store import disk, snapshot
from gristmill.store.layout import Layout
from gristmill.store.rows import differing, read_shard
from gristmill.store.snapshot import Manifest, Shard, read_manifest

BACKOFF_S = (0.2, 1.0, 3.0, 10.0, 30.0)


class Head:
    """A snapshot as `core.load.Wanted`."""

    def __init__(self, layout: Layout, manifest: Manifest) -> None:
        self._layout = layout
        self._manifest = manifest

    @cached_property
    def dataset(self) -> str:
        """The id Delta gave the table when it was made."""
        return snapshot.dataset_id(self._layout)

    @property
    def seq(self) -> int:
        """The snapshot's number."""
        return self._manifest.seq

    @cached_property
    def sha256(self) -> str:
        """Of its manifest."""
        return disk.sha256_of(self._layout.manifest(self.seq))

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self._manifest.rows

    def live(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Give these columns of all rows, in their order."""
        for shard in _in_order(self._manifest.shards):
            yield from read_shard(self._layout, shard, list(columns))

    def since(self, seq: int, sha256: str, columns: Sequence[str]) -> Changes | None:
        """Give what changed since snapshot `seq`, which may be a later one; None if it cannot be told."""
        path = self._layout.manifest(seq)
        try:
            if disk.sha256_of(path) != sha256:
                return None
            other = read_manifest(path)
        except (FileNotFoundError, StoreError):
            return None
        before = {shard.path: shard for shard in other.shards}
        after = {shard.path: shard for shard in self._manifest.shards}
        gone = _in_order([shard for path, shard in before.items() if path not in after])
        come = _in_order([shard for path, shard in after.items() if path not in before])
        if not all(self._layout.absolute(shard.path).exists() for shard in gone):
            return None
        removed = (rows.column("id") for rows in differing(self._layout, gone, come, ["id"]))
        return Changes(removed, differing(self._layout, come, gone, list(columns)))


def _in_order(shards: list[Shard]) -> list[Shard]:
    return sorted(shards, key=lambda shard: shard.first_ord)


def load(name: str, export: Load, config: PipelineConfig, layout: Layout, head: Manifest, *, thorough: bool) -> Loaded:
    """Make a table hold `head`, again after a passing failure.

    Raises:
        ConfigError: the table is not what the config says.
        ExportError: it cannot be done now.
    """
    wanted = Head(layout, head)
    waits = iter(BACKOFF_S[: config.run.retries])
    while True:
        try:
            return export.load(wanted, config.folder, thorough=thorough)
        except Transient as error:
            wait_s = next(waits, None)
            if wait_s is None:
                raise ExportError(config.redact(f"export {name}: {error}")) from None
            time.sleep(wait_s)
        except ConfigError as error:
            raise ConfigError(*(config.redact(f"export {name}: {problem}") for problem in error.problems)) from None
        except ExportError as error:
            raise ExportError(config.redact(f"export {name}: {error}")) from None
