"""Source: where records come from. Four verbs: check, plan, read a split, fold what was read into the next state.

Words: a *unit* is what is replaced as a whole when it changes (a file, a URL, a table without a cursor); a *split* is a piece of
work: several small units, one unit, or a range of one. State goes in with a snapshot and comes out with the next: `plan` sees
that of the last committed snapshot, `fold` makes the next one, the engine commits it with the records, and there is no other.
Not here: identity, ordering, landing and committing, which the engine owns; formats (`sources/formats/`).
Invariants: `read` of the same split gives the same rows in the same order, or raises; a source that cannot promise that is
`LANDED`: the engine keeps its pages durably before any step runs, and reads those ever after. What cannot be read becomes a
`Reject`, a page with another outcome, or an error, never silence. Splits never depend on the number of workers, and hold no
secret: they are written down. `fold` is pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import pyarrow as pa

from gristmill.core.batch import TIME
from gristmill.core.errors import UnitFailed

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

UNMAPPED = ("field.missing", "id.missing")  # codes of what has not the fields that `text` and `id` name
NOTE = "note: "  # what a sentence of `Source.check` begins with that is advice and stops nothing
REJECT_BYTES = 400  # what a `Reject` holds in memory, about
PAGE_BYTES = 6 << 10  # and a `Page` beside its rows and rejects: an archive may have a million members without a record
NO_UNITS = pa.Table.from_batches([], pa.schema([pa.field("unit", pa.string())]))  # empty_table() would load pandas


class State(msgspec.Struct, frozen=True):
    """What a committed snapshot knows of one source.

    doc: small and JSON-able: cursors, ceilings, counters. units: the unit table, sorted by unit: the columns of
    `SourcePlan.listing` and `UNIT_FIELDS`.
    """

    doc: dict[str, Any] = {}
    units: pa.Table | None = None


class Window(msgspec.Struct, frozen=True):
    """What part of a source is asked for, as the source's own cursor is written; both set: a backfill, which leaves the cursor alone."""

    since: str | None = None
    until: str | None = None

    @property
    def is_backfill(self) -> bool:
        """Whether the live cursor must stay where it is."""
        return self.since is not None and self.until is not None


WHOLE = Window()


class PlanContext(msgspec.Struct, frozen=True):
    """What the engine tells a source about planning. folder: where the config lies."""

    folder: Path
    window: Window = WHOLE


class Split(msgspec.Struct, frozen=True):
    """A piece of work any worker can do, twice, with the same result.

    id: hex digest of what is read (content fingerprints, never times), names the files made from it.
    spec: JSON-able, the source's own; no secrets. units: the unit names in it, in reading order.
    bytes: stored size, for balancing. fresh: no unit in it was ever read before.
    lane: what must not be hurried (a host, a database): at most `lane_cap` splits of a lane are read at a time; "": no limit.
    """

    id: str
    spec: dict[str, Any]
    units: list[str]
    bytes: int
    fresh: bool
    lane: str = ""
    lane_cap: int = 1


class SourcePlan(msgspec.Struct, frozen=True):
    """What a source found since the last snapshot.

    splits: in total order. listing: table (unit, fingerprint columns), all units there are now, sorted by unit; `NO_UNITS`
    for a source that lists none. replaced: units read before that are read again, or whose ids are all told as `present` in this
    run: what lived in them and is not seen is withdrawn. gone: units read before that are no more. failed: (unit, code,
    detail) of units that cannot even be opened; they are quarantined and tried again next run. ceiling: the high bound of
    this run, fixed before reading, for `fold`; JSON-able. warnings: counted oddities by code.
    """

    splits: list[Split]
    listing: pa.Table = NO_UNITS
    replaced: list[str] = []
    gone: list[str] = []
    failed: list[tuple[str, str, str]] = []
    ceiling: dict[str, Any] = {}
    warnings: dict[str, int] = {}


class Reject(msgspec.Struct, frozen=True):
    """A piece of input that is no record. code: stable word; origin: unit and locator; bytes: its length, 0 unknown.

    detail says what was found without quoting document text.
    """

    code: str
    origin: str
    detail: str
    bytes: int = 0


Outcome = Literal["ok", "unchanged", "bad", "gone"]


class Page(msgspec.Struct, frozen=True):
    """Some consecutive records of one unit.

    rows: `PAGE_SCHEMA`. rejects: what stood between them. bytes_in: decompressed bytes consumed for this page
    (rows, rejects, blank lines: they add up to the unit's or range's size). warnings: counted oddities by code.
    deleted: keys (strings) the source says are gone; they come after the page's rows. present: keys that are still there,
    whose content was not looked at. versioned: ids come in the order of their versions: of several contents of one id the
    last stands (else the first of a unit does, and the others are quarantined as `id.conflict`).
    resume: go on after this page from here on another attempt (only looked at for `LANDED` sources); None: no such place.
    outcome: what became of the unit, with the page that ends it: unchanged (its records stand), gone (they are withdrawn),
    bad (its records stand, `rejects` says why; with a note its state moves on, without one it does not and the unit is tried again).
    Only `ok` units have rows. note: for `fold`, JSON-able; of several the last counts. failed: in the place of raising it, where the
    reader asked for that (`ReadContext.go_on`): what came of the unit before is to be dropped; the next unit follows.
    """

    unit: str
    rows: pa.RecordBatch
    rejects: list[Reject] = []
    bytes_in: int = 0
    warnings: dict[str, int] = {}
    deleted: list[str] = []
    present: list[str] = []
    versioned: bool = False
    resume: dict[str, Any] | None = None
    outcome: Outcome = "ok"
    note: dict[str, Any] = {}
    failed: UnitFailed | None = None


class ReadContext(msgspec.Struct, frozen=True):
    """What the engine tells a source about reading. batch_bytes: aim for this much text a page.

    skip: units already found bad in this task: they are passed over. resume: the `Page.resume` to go on from. go_on: tell of a unit
    that fails by a page and go on with the next, where the source can; else it raises, and is read again without the unit.
    """

    folder: Path
    batch_bytes: int = 8 << 20
    skip: frozenset[str] = frozenset()
    resume: dict[str, Any] | None = None
    go_on: bool = False


class UnitRead(msgspec.Struct, frozen=True):
    """What became of one unit in a task: its ord range [lo, hi) and how it ended.

    advance: its state may move on. counted: a bad unit is quarantined by this task (by one of all that hold a part).
    note: the last `Page.note` of the unit in this task.
    """

    unit: str
    lo: int
    hi: int
    status: Outcome = "ok"
    code: str | None = None
    advance: bool = True
    counted: bool = True
    note: dict[str, Any] = {}


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sources; a source is its parameters.

    LANDED: what it gives cannot be read again (an API, a web page, a live table), so the engine lands its pages durably.
    WINDOWED: it can be asked for a part, by its cursor.
    """

    VERSION: ClassVar[int] = 1
    LANDED: ClassVar[bool] = False
    WINDOWED: ClassVar[bool] = False

    @property
    def has_cursor(self) -> bool:
        """Whether a cursor passes what was read by: it is read again only if a window is asked for."""
        return False

    @property
    def globs(self) -> list[str]:
        """Paths and globs of the files it reads, as the config has them; none where it reads no files."""
        return []

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on (nothing found, no permission), and advice, which begins with `NOTE`; no side effect."""
        raise NotImplementedError

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Compare what is there with the committed `state` (None: first run).

        Raises:
            SourceError: the listing failed, or everything that was there is gone.
            Transient: worth another try.
        """
        raise NotImplementedError

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read a split in order.

        Raises:
            UnitFailed: a unit is bad as a whole (truncated, changed under us): the task is done again without it.
            SourceError: the source as a whole fails.
            Transient: worth another try.
        """
        raise NotImplementedError

    def again(self, state: State, units: set[str]) -> State:
        """Give the state as one under which `plan` reads these units again, although they are as they were. Pure.

        Here: what tells whether a unit has changed is forgotten.
        """
        kept = {"unit", *(field.name for field in UNIT_FIELDS)}
        table = state.units
        return state if table is None else State(state.doc, forgotten(table, units, set(table.column_names) - kept))

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        """Give the next state from the last one, what was planned (its splits left out) and what was read. Pure.

        Here: the doc stays; a unit that was read moves on, with the fingerprints of its listing and its notes where they
        bear a column's name. One found bad keeps what is known of its earlier content, and is read again when it changes;
        one that could not be read at all (advance false) does not move on, so the next run tries again.
        """
        doc = state.doc if state is not None else {}
        before = state.units if state is not None else None
        return State(doc, fold_units(before, plan, reads, seq))


def forgotten(table: pa.Table, units: set[str], columns: set[str]) -> pa.Table:
    """Give a unit table with null in these columns of these units."""
    rows = [row | dict.fromkeys(columns) if row["unit"] in units else row for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


def fold_units(before: pa.Table | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> pa.Table:
    """Give the next unit table, as `Source.fold` says."""
    old_rows = {row["unit"]: row for row in before.to_pylist()} if before is not None else {}
    done: dict[str, list[UnitRead]] = {}
    for read in reads:
        done.setdefault(read.unit, []).append(read)
    could_not = {unit for unit, _, _ in plan.failed}
    rows = []
    for row in plan.listing.to_pylist():
        unit = row["unit"]
        old = old_rows.pop(unit, None)
        new = old if unit in could_not or unit not in done else _moved_on(row, old, done[unit], seq)
        if new is not None:
            rows.append(new)
    rows += [row for unit, row in old_rows.items() if unit in could_not]
    rows.sort(key=lambda row: row["unit"])
    return pa.Table.from_pylist(rows, schema=pa.schema([*plan.listing.schema, *UNIT_FIELDS]))


def _moved_on(
    row: dict[str, Any], old: dict[str, Any] | None, reads: list[UnitRead], seq: int
) -> dict[str, Any] | None:
    if not all(read.advance for read in reads):
        return old
    learned = {key: value for read in reads for key, value in read.note.items() if key in row}
    row = row | learned
    ords = [{"lo": read.lo, "hi": read.hi} for read in reads if read.status == "ok" and read.hi > read.lo]
    ended = next((read for read in reads if read.status != "ok"), None)
    if ended is None:
        return row | {"seq": seq, "ords": ords, "status": "ok", "code": None}
    if ended.status == "gone":
        return row | {"seq": seq, "ords": [], "status": "gone", "code": ended.code}
    if old is not None and old["ords"] and not ords:
        return row | {"seq": old["seq"], "ords": old["ords"], "status": ended.status, "code": ended.code}
    return row | {"seq": seq, "ords": ords, "status": ended.status, "code": ended.code}


class BoundSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source in its place in a pipeline: its name, its part, its own steps, and who answers for it.

    on_error: `skip` leaves a source that fails out of the run: its cursor stays, the run is marked partial. freshness_s: the
    longest it may be silent, in seconds; None: no limit.
    """

    name: str
    part: str
    source: Source
    steps: list[Any] = []
    on_error: Literal["fail", "skip"] = "fail"
    freshness_s: int | None = None
    description: str = ""
    owner: str = ""
    license: str = ""
