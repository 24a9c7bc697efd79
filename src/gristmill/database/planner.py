"""What a run must read of a relation: parts, bounds fixed before reading, and the state that follows if all goes well.

Not here: reading (`keyset`), splits and the unit table (`sources/sql.py`). The state (`doc`): v, of (what it is a state
of), cursor or horizon, newest (digests of the last rows), window (digest of the rows that an overlap reads again), sample
(keys, evenly spaced), scanned (day of the last look at all keys). Invariants: all bounds come from the database, none
from a clock here; what one run leaves out by its bounds the next one reads; nothing is planned when nothing is new.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.errors import ConfigError, SourceError, SourceMisconfigured
from gristmill.core.source import Window
from gristmill.database.compose import Composer, Part
from gristmill.database.connect import Connection
from gristmill.database.pages import key_text
from gristmill.database.reach import Reach, look, must_fit
from gristmill.database.values import Encoded, Value, decode, encode, minus, moment, parse, typed

DOC_VERSION = 1
_SAMPLE = 500  # keys remembered: exact for small tables, else the share gone is known to about 1 %
_EVERY_ROWS = 20_000  # a sample of fewer keys is taken by counting
_PART_ROWS = 5_000  # a first load is not cut into less
_NEWEST = 64
_MEASURED_ROWS = 20
_WINDOW_ROWS = 1_000_000  # a window of more rows is always read again
_ROW_BYTES = 1024
_BATCH_BYTES = 1 << 20


class Asked(msgspec.Struct, frozen=True):
    """What the config asks for.

    overlap_s: of time cursors; overlap: of numbers. overlap_of: what it was given for, None if it was not. of: digest of what
    the state is of. known: rows were read before, though perhaps there is no cursor yet: only rows without one, or a backfill.
    """

    overlap_s: int
    overlap: float
    overlap_of: Literal["times", "numbers"] | None
    xmin: bool
    scan_days: int | None
    max_gone_ratio: float
    parallel: int
    unique: bool
    of: str
    known: bool
    window: Window


class Found(msgspec.Struct):
    """What is to be done. moves: the state becomes `doc` when all parts have been read."""

    parts: list[tuple[Part, int]]
    doc: dict[str, Any]
    moves: bool = True
    replaces: bool = False
    warnings: dict[str, int] = {}


class Planner:
    """Plans one run."""

    def __init__(self, connection: Connection, composer: Composer, asked: Asked, doc: dict[str, Any]) -> None:
        self._connection = connection
        self._composer = composer
        self._asked = asked
        self._doc = doc
        self._called = composer.relation.called
        self._row_bytes = _ROW_BYTES
        if doc and doc.get("v") != DOC_VERSION:
            raise SourceError(f"the state of {self._called} has version {doc.get('v')}; upgrade gristmill")
        if doc and doc.get("of") != asked.of:
            raise SourceMisconfigured(
                f"the state is not of {self._called} with this key, cursor and horizon; run with --full-refresh to begin anew"
            )

    def plan(self) -> Found:
        """Plan.

        Raises:
            ConfigError: the window makes no sense for this cursor.
            SourceMisconfigured: the overlap does not, or the state is of something else.
            SourceError: the cursor went back, too many keys are gone, a key is not unique.
        """
        self._row_bytes = self._measure()
        window = self._asked.window
        if self._composer.layout.cursor is None:
            if window.since is not None or window.until is not None:
                raise ConfigError("--window needs a cursor column; set cursor:")
            return self._whole()
        if self._asked.xmin and window.since is None and window.until is None:
            return self._by_horizon()
        before = decode(self._doc["cursor"]) if "cursor" in self._doc else None
        reach = look(self._connection, self._composer, before)
        if window.since is not None or window.until is not None:
            return self._window(window, reach)
        return self._by_cursor(before, reach)

    def _one(self, statement: Any) -> tuple[Any, ...]:
        (row,) = self._connection.rows(statement)
        return row

    def _measure(self) -> int:
        """Give what a row has, about; a query may fail or be slow on any row, and reading it will say so."""
        statement = self._composer.bytes_of_some(_MEASURED_ROWS)
        mean: Any = None
        with contextlib.suppress(SourceError):
            if statement is not None:
                mean = self._one(statement)[0]
            else:
                some = self._composer.rows(Part(), None, _MEASURED_ROWS)
                batches = list(self._connection.batches(some, _BATCH_BYTES, _ROW_BYTES, whole=True))
                mean = sum(batch.nbytes for batch in batches) / max(sum(map(len, batches)), 1)
        return _ROW_BYTES if not mean else max(int(float(mean)), 16)

    def _new_doc(self) -> dict[str, Any]:
        return {"v": DOC_VERSION, "of": self._asked.of}

    # Without a cursor: all of it, each time.

    def _whole(self) -> Found:
        self._guard()
        part = Part(row_bytes=self._row_bytes)
        parts, sample = self._ranges(part)
        nokey = self._composer.may_lack_keys and self._one(self._composer.exists(Part(of="nokey")))[0]
        parts += [(Part(of="nokey"), 0)] if nokey else []
        return Found(parts, self._new_doc() | {"sample": sample}, replaces=True)

    # With a cursor.

    def _by_cursor(self, before: Value | None, reach: Reach) -> Found:
        top, settled = reach.top, reach.settled
        must_fit(self._composer, self._asked.overlap_of, before, top if settled is None else settled)
        if before is not None and (settled is None or settled < before):  # type: ignore[operator]
            self._went_back(settled)
            settled = before
            top = before if top is None or top < before else top  # type: ignore[operator]
        if top is None:
            return self._with_odd(Found([], {}, moves=False), reach, None)
        doc = self._new_doc()
        if settled is not None:  # else all are ahead of the clock, and all are read again
            doc |= {"cursor": encode(settled), "newest": self._newest(settled)}
            doc["window"] = self._digest(self._low(settled), top)
        if before is None:
            part = Part(high=encode(top), row_bytes=self._row_bytes)
            parts, sample = self._ranges(part, sampled=self._asked.scan_days is not None)
            doc |= {"sample": sample, "scanned": reach.day} if sample else {}
            return self._with_odd(self._first(Found(parts, doc, warnings=reach.warnings)), reach, None)
        doc = self._doc | doc
        part = Part(by_cursor=True, low=encode(self._low(before)), high=encode(top), row_bytes=self._row_bytes)
        if settled == before and doc["window"] is not None and doc["window"] == self._doc.get("window"):
            found = Found([], doc, warnings=reach.warnings)
        else:
            self._must_be_unique(part)
            found = Found([(part, int(self._one(self._composer.count(part))[0]))], doc, warnings=reach.warnings)
        return self._with_scan(self._with_odd(found, reach, part), reach.day)

    def _first(self, found: Found) -> Found:
        """Add to a first load a look at the keys, if rows were read before: some may be gone."""
        if self._asked.known:
            found.parts.append((Part(of="keys", row_bytes=32), 0))
            found.replaces = True
        return found

    def _low(self, value: Value) -> Value:
        return minus(value, self._asked.overlap_s, self._asked.overlap)

    def _with_odd(self, found: Found, reach: Reach, part: Part | None) -> Found:
        """Add rows whose cursor is NULL, endless or of another type, each time; and those without a key among what is read."""
        if reach.odd:
            found.parts.append((Part(of="odd", row_bytes=self._row_bytes), 0))
        if reach.nokey and (part is None or found.parts):
            low, high = (part.low, part.high) if part else (None, None)
            found.parts.append((Part(of="nokey", low=low, high=high), 0))
        return found

    def _with_scan(self, found: Found, today: int) -> Found:
        """Add a look at all keys when it is time."""
        days = self._asked.scan_days
        if days is None or today - self._doc.get("scanned", today - days) < days:
            return found
        self._guard()
        parts, sample = self._ranges(Part(of="keys", row_bytes=32))
        found.parts += parts or [(Part(of="keys", row_bytes=32), 0)]
        found.doc = found.doc | {"sample": sample, "scanned": today}
        found.replaces = True
        return found

    def _went_back(self, settled: Value | None) -> None:
        """Accept a cursor that went back if all that is left was there before: the newest rows were deleted.

        Raises:
            SourceError: it was not.
        """
        if settled is None:
            if self._asked.max_gone_ratio >= 1:
                return
            raise SourceError(
                f"no row of {self._called} has a cursor any more, though some had one at the last run, as if it had been emptied. If that "
                "is right, set max_gone_ratio: 1 for one run; if it was restored or filled anew, run with --full-refresh"
            )
        newest = self._newest(settled)
        if newest and newest[0] in self._doc.get("newest", []):
            return
        raise SourceError(
            f"the cursor of {self._called} went back: its greatest value is below that of the last run, and the row that "
            "has it was not among the last ones then. If the table was restored or filled anew, run with --full-refresh"
        )

    def _by_horizon(self) -> Found:
        high, nokey, now = self._one(self._composer.xmin_head())
        doc = self._doc | self._new_doc() | {"horizon": int(high)}
        day = moment(now).toordinal()
        before = self._doc.get("horizon")
        if before is None:
            parts, sample = self._ranges(Part(row_bytes=self._row_bytes), sampled=self._asked.scan_days is not None)
            doc |= {"sample": sample, "scanned": day} if sample else {}
            found = self._first(Found(parts, doc))
        elif high < before:
            raise SourceError(
                f"the transaction numbers of {self._called} went back: this is another server, or one restored from a "
                "dump. Run with --full-refresh"
            )
        else:
            part = Part(xids=(before, int(high)), row_bytes=self._row_bytes)
            new = high > before and self._one(self._composer.exists(part))[0]
            if new:
                self._must_be_unique(part)
            found = Found([(part, int(self._one(self._composer.count(part))[0]))] if new else [], doc)
        if nokey and (before is None or high > before):
            xids = None if before is None else (before, int(high))
            found.parts.append((Part(of="nokey", xids=xids), 0))
        return found if before is None else self._with_scan(found, day)

    def _window(self, window: Window, reach: Reach) -> Found:
        """A backfill, or a beginning other than the state's."""
        low, high = self._bound(window.since, "begin"), self._bound(window.until, "end")
        if low is not None and high is not None and not low < high:  # type: ignore[operator]
            raise ConfigError(
                f"--window {window.since}..{window.until}: it ends before it begins, or there; write SINCE..UNTIL, the end not within"
            )
        if reach.top is None:
            return Found([], {}, moves=False)
        moves = window.until is None and not self._asked.xmin and reach.settled is not None
        part = Part(
            by_cursor=True,
            low=None if low is None else encode(low),
            high=encode(reach.top if high is None else high),
            high_open=high is not None,
            row_bytes=self._row_bytes,
        )
        self._must_be_unique(part)
        count = int(self._one(self._composer.count(part))[0])
        doc = {}
        if moves and reach.settled is not None:
            doc = self._doc | self._new_doc()
            doc |= {"cursor": encode(reach.settled), "newest": self._newest(reach.settled), "window": None}
        found = Found([(part, count)] if count else [], doc, moves=moves)
        return self._with_odd(found, msgspec.structs.replace(reach, odd=False), part)

    def _bound(self, text: str | None, which: str) -> Value | None:
        cursor = self._composer.layout.cursor
        assert cursor is not None
        try:
            return None if text is None else parse(cursor.kind, text)
        except ValueError as error:
            raise ConfigError(
                f'--window: its {which}: "{text}" is no value of the cursor "{cursor.name}" ({cursor.kind})'
            ) from error

    # What is measured.

    def _newest(self, high: Value) -> list[str]:
        names = ["c"] + [f"k{at}" for at in range(len(self._composer.layout.keys))]
        rows = self._connection.rows(self._composer.newest(_NEWEST, high))
        by_name = [dict(zip([*names[1:], "c"], row, strict=True)) for row in rows]
        return [_short(repr([str(row[name]) for name in names])) for row in by_name]

    def _digest(self, low: Value, high: Value) -> str | None:
        """Give a digest of cursor and key of all rows between two cursors; None if they are too many."""
        part = Part(of="keys", by_cursor=True, low=encode(low), high=encode(high))
        statement = self._composer.rows(part, None, _WINDOW_ROWS + 1)
        digest, rows = hashlib.blake2b(digest_size=16), 0
        for batch in self._connection.batches(statement, _BATCH_BYTES, 32, whole=False):
            columns = {name: batch.column(at) for at, name in enumerate(batch.schema.names)}
            cursor = columns["c"].cast(pa.int64()) if pa.types.is_timestamp(columns["c"].type) else columns["c"]
            keys = key_text(columns, len(self._composer.layout.keys))
            lines = pc.binary_join_element_wise(cursor.cast(pa.string()), keys, "\t").cast(pa.binary()).to_pylist()
            digest.update(b"\n".join(line or b"" for line in lines) + b"\n")
            rows += len(batch)
        return None if rows > _WINDOW_ROWS else digest.hexdigest()

    def _ranges(self, part: Part, *, sampled: bool = True) -> tuple[list[tuple[Part, int]], list[list[Encoded]]]:
        """Cut a part by key into about equal ranges; give them with their number of rows, and if asked a sample of the keys."""
        if part.of == "rows":
            self._must_be_unique(part)
        count = int(self._one(self._composer.count(part))[0])
        if not count:
            return ([(part, 0)] if self._composer.layout.cursor is None else []), []
        n = max(1, min(self._asked.parallel, count // _PART_ROWS))
        numbered = [column.kind for column in self._composer.layout.keys] == ["int"] and count > _EVERY_ROWS
        borders, sample = self._by_value(n, sampled) if numbered else self._by_place(n, count, sampled)
        edges = [None, *borders, None]
        ranges = [msgspec.structs.replace(part, first=edges[at], until=edges[at + 1]) for at in range(n)]
        return [(each, count // n) for each in ranges], sample

    def _by_value(self, n: int, sampled: bool) -> tuple[list[list[Encoded]], list[list[Encoded]]]:
        """Cut numbers evenly: by seeks in an index, where counting would read the table."""
        low, high = (int(end) for end in self._one(self._composer.ends()))
        borders = [low + (high + 1 - low) * at // n for at in range(1, n)]
        sample: set[int] = set()
        if sampled:
            marks = sorted({low + (high + 1 - low) * at // _SAMPLE for at in range(_SAMPLE)})
            for at in range(0, len(marks), 100):
                found = self._one(self._composer.next_to(marks[at : at + 100]))
                sample |= {int(key) for key in found if key is not None}
        return [[encode(key)] for key in borders], [[encode(key)] for key in sorted(sample)]

    def _by_place(self, n: int, count: int, sampled: bool) -> tuple[list[list[Encoded]], list[list[Encoded]]]:
        """Cut keys into ranges of as many rows."""
        keys = Part()
        if not sampled:
            return [self._key(self._one(self._composer.at(keys, count * at // n))) for at in range(1, n)], []
        rows = self._connection.rows(self._composer.every(keys, -(-count // _SAMPLE)))
        sample = [self._key(row) for row in rows]
        return [sample[len(sample) * at // n] for at in range(1, n)], sample

    def _key(self, row: tuple[Any, ...]) -> list[Encoded]:
        kinds = [column.kind for column in self._composer.layout.keys]
        return [encode(typed(kind, raw)) for kind, raw in zip(kinds, row, strict=True)]

    def _must_be_unique(self, part: Part) -> None:
        if self._asked.unique:
            return
        repeated = int(self._one(self._composer.repeated(part))[0])
        if repeated:
            names = ", ".join(column.name for column in self._composer.layout.keys)
            raise SourceError(
                f"key: {repeated} keys of {self._called} are of more than one row; ({names}) is no key. Name columns that "
                "are unique together"
            )

    def _guard(self) -> None:
        """Stop before many records are withdrawn.

        Raises:
            SourceError: more than the allowed share of the keys known is gone.
        """
        sample = [[decode(value) for value in key] for key in self._doc.get("sample", [])]
        if not sample or self._asked.max_gone_ratio >= 1:
            return
        there = 0
        for at in range(0, len(sample), 100):
            there += int(self._one(self._composer.still_there(sample[at : at + 100]))[0])
        gone = len(sample) - there
        if gone > self._asked.max_gone_ratio * len(sample):
            raise SourceError(
                f"{gone} of {len(sample)} known keys of {self._called} are gone, more than max_gone_ratio "
                f"{self._asked.max_gone_ratio:g} allows; if that is right, set max_gone_ratio: 1 for one run"
            )


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
