"""Load: an export whose copy is the rows of a table, changed by one transaction from what a snapshot was to what one is.

Not here: how tables are written (`exports/`, `database/`), what differs between two snapshots (`engine.loads`). Words: a
target's *ledger* says which snapshot its rows are; it lies in the target itself. Invariants: rows and ledger change
together or not at all; what the target holds is known from its ledger alone, never from a note of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec
import pyarrow as pa

from gristmill.core.export import Export


class Changes(NamedTuple):
    """What leads from an older (or newer) snapshot to the wanted one. A revised record is in both.

    removed: ids of records that left. added: rows that came, with the columns asked for. Each can be gone through once.
    """

    removed: Iterator[pa.Array]
    added: Iterator[pa.RecordBatch]


class Wanted(Protocol):
    """A snapshot that a table is to hold. sha256: of its manifest, as two datasets may have made the same number."""

    @property
    def dataset(self) -> str:
        """Which dataset it is, for ever the same."""
        ...

    @property
    def seq(self) -> int:
        """The snapshot's number."""
        ...

    @property
    def sha256(self) -> str:
        """Of its manifest."""
        ...

    @property
    def rows(self) -> int:
        """How many rows it has."""
        ...

    def live(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Give these columns of all rows."""
        ...

    def since(self, seq: int, sha256: str, columns: Sequence[str]) -> Changes | None:
        """Give what changed since snapshot `seq`; None if that one is not known, or no longer there to compare with."""
        ...


class Loaded(msgspec.Struct, frozen=True):
    """What a load did. how: nothing was to do; all rows; the changes.

    rows: in the table now. put, taken: written and deleted. unfit: values by column that the table cannot hold as they
    are, and what was written in their place is told by the part's documentation.
    """

    how: Literal["nothing", "all", "changes"]
    rows: int
    put: int = 0
    taken: int = 0
    unfit: dict[str, int] = {}


class Load(Export, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all exports into a table."""

    @property
    def place(self) -> str:
        """Where the rows go, without secrets: for messages."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """What no two exports may share. Holds secrets: compared and never shown."""
        raise NotImplementedError

    def load(self, wanted: Wanted, folder: Path, *, thorough: bool) -> Loaded:
        """Make the table hold `wanted`, in one transaction. thorough: look at every value and not at counts alone.

        Raises:
            Transient: worth another try.
            ConfigError: the table, or what is in it, is not what the config says.
            ExportError: it failed; the table is as it was.
        """
        raise NotImplementedError

    def verify(self, wanted: Wanted, folder: Path) -> list[str]:
        """Give one sentence for each thing in the table that is not as `wanted` has it; changes nothing."""
        raise NotImplementedError
