"""Source: where records come from. Lists units and splits, reads one split.

Not here: identity, ordering and state, which the engine owns; formats (`sources/formats/`). Words: a *unit* is what is
replaced as a whole when it changes (a file, a URL); a *split* is a piece of work: several small units, one unit, or a
range of one. Invariants: `read` of the same split gives the same rows in the same order, or raises `UnitFailed`; what
cannot be read becomes a `Reject` or a `UnitFailed`, never silence; `plan` decides from the state of the last committed
snapshot only, and its splits never depend on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa

from gristmill.core.batch import TIME

# What a source gives for each record. `key`: the record's own id, null to be named by its origin. `origin`:
# `<unit>#<locator>`. `meta`: JSON text of every field that was not mapped.
PAGE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("time", TIME),
        pa.field("fetched_at", TIME),
        pa.field("lang", pa.string()),
        pa.field("license", pa.string()),
        pa.field("meta", pa.string()),
    ]
)

# Columns every source's unit table has; a source adds its own fingerprint columns before these.
# `seq`: the run that last read the unit; `ords`: the ord ranges its records got then; `status`: ok or bad.
UNIT_FIELDS = [
    pa.field("seq", pa.int64()),
    pa.field("ords", pa.list_(pa.struct([("lo", pa.int64()), ("hi", pa.int64())]))),
    pa.field("status", pa.string()),
    pa.field("code", pa.string()),
]


class Split(msgspec.Struct, frozen=True):
    """A piece of work any worker can do, twice, with the same result.

    id: hex digest of what is read (content fingerprints, never times), names the files made from it.
    spec: JSON-able, the source's own. units: the unit names in it, in reading order.
    bytes: stored size, for balancing. fresh: no unit in it was ever read before.
    """

    id: str
    spec: dict[str, Any]
    units: list[str]
    bytes: int
    fresh: bool


class SourcePlan(msgspec.Struct, frozen=True):
    """What a source found since the last snapshot.

    splits: in total order. listing: table (unit, fingerprint columns), all units there are now, sorted by unit.
    replaced: units read before that are read again. gone: units read before that are no more. failed: (unit, code,
    detail) of units that cannot even be opened; they are quarantined and tried again next run.
    """

    splits: list[Split]
    listing: pa.Table
    replaced: list[str]
    gone: list[str]
    failed: list[tuple[str, str, str]] = []


class Reject(msgspec.Struct, frozen=True):
    """A piece of input that is no record. code: stable word; origin: unit and locator; bytes: its length, 0 unknown.

    detail says what was found without quoting document text.
    """

    code: str
    origin: str
    detail: str
    bytes: int = 0


class Page(msgspec.Struct, frozen=True):
    """Some consecutive records of one unit.

    rows: `PAGE_SCHEMA`. rejects: what stood between them. bytes_in: decompressed bytes consumed for this page
    (rows, rejects, blank lines: they add up to the unit's or range's size). warnings: counted oddities by code.
    """

    unit: str
    rows: pa.RecordBatch
    rejects: list[Reject] = []
    bytes_in: int = 0
    warnings: dict[str, int] = {}


class ReadContext(msgspec.Struct, frozen=True):
    """What the engine tells a source about reading. batch_bytes: aim for this much text a page.

    skip: units already found bad in this task, with their code: they are passed over.
    """

    folder: Path
    batch_bytes: int = 8 << 20
    skip: frozenset[str] = frozenset()


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sources; a source is its parameters."""

    VERSION: ClassVar[int] = 1

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on (nothing found, no permission); no side effect."""
        raise NotImplementedError

    def plan(self, state: pa.Table | None, folder: Path) -> SourcePlan:
        """Compare what is there with the committed unit table `state` (None: first run).

        Raises:
            SourceError: the listing failed, or everything that was there is gone.
        """
        raise NotImplementedError

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read a split in order.

        Raises:
            UnitFailed: a unit is bad as a whole (truncated, changed under us).
            Transient: worth another try.
        """
        raise NotImplementedError


class BoundSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source in its place in a pipeline: its name, its part, its own steps, and who answers for it."""

    name: str
    part: str
    source: Source
    steps: list[Any] = []
    description: str = ""
    owner: str = ""
    license: str = ""
