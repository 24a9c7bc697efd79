"""The quarantine over all runs: what of it is still open, and what a retry reads and judges again.

A retry is a run whose plan forgets what it knows of the units that hold open things, so that their sources read them again,
and whose identity lets a quarantined record go on once more though its content is the same. Not here: reading and judging
(`engine.run`). Invariants: nothing is written here; the units stand in the frozen plan, and what is open follows from committed
snapshots alone, so a retry that died is gone on with like any run; a record that does not come again stays as it was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.core.batch import Int64s
from gristmill.core.errors import ConfigError, StoreError, naming
from gristmill.core.find import suggestion
from gristmill.core.source import UNIT_FIELDS, Source, State, Window
from gristmill.core.visible import visible
from gristmill.engine.identity import SEQ_SHIFT
from gristmill.store import chain, index
from gristmill.store.layout import Layout
from gristmill.store.rows import named
from gristmill.store.snapshot import Manifest

CONFLICT = "id.conflict"


class Asked(msgspec.Struct, frozen=True):
    """Which quarantined things are meant; None: all. unit: a file, URL or listing, as `origin` begins, or as that is shown."""

    code: str | None = None
    source: str | None = None
    unit: str | None = None
    run: int | None = None


class Entry(msgspec.Struct, frozen=True):
    """One quarantined thing. open: nothing has come in its place. ord, id: of what had become a record, else None."""

    run: int
    source: str
    unit: str
    origin: str
    code: str
    step: str
    detail: str | None
    id: str | None
    ord: int | None
    bytes: int | None
    open: bool


class _Task(msgspec.Struct, frozen=True):
    """What counts here of a task in a frozen plan."""

    replay: str = ""


class _Plan(msgspec.Struct, frozen=True):
    tasks: list[_Task]


class _Units:
    """What the head knows of the units of one source: the runs that read what stands of each, the last first, and whether it is bad.

    asked: the run that last asked the source, 0 for none. told: it has a table of units, which tells what is there; not a cursor's.
    """

    def __init__(self, layout: Layout, known: dict[str, str] | None) -> None:
        names = ["unit", "seq", "status", "ords"]
        with naming(known["path"] if known else ""):
            table = index.read_table(layout.absolute(known["path"])) if known else None
        has = table is not None and set(names) <= set(table.column_names)
        rows = table.select(names).to_pylist() if table is not None and has else []
        self.rows: dict[str, tuple[list[int], str]] = {
            row["unit"]: ([row["seq"], *(part["lo"] >> SEQ_SHIFT for part in row["ords"] or [])], row["status"])
            for row in rows
        }
        # A cursor's table tells nothing of units and holds none; one of files that are all gone is empty too, but not its head.
        columns = table.column_names if table is not None else []
        self.told = bool(rows) or not {"unit", *(field.name for field in UNIT_FIELDS)}.issuperset(columns)
        self.asked = Layout.run_of_state(known["path"]) if known else 0

    def of(self, origin: str) -> str:
        """Give the unit that an origin lies in: `<unit>#<locator>`, `<archive>!/<member>#<locator>`, or the unit itself.

        A unit's own `!/` is written `!//` (`core.filesets`).
        """
        place = origin if origin in self.rows or "#" not in origin else origin.rpartition("#")[0]
        marks = [found.start() for found in re.finditer("!/(?!/)", place)] if place not in self.rows else []
        return next((place[:at] for at in marks if place[:at] in self.rows), place)


class Quarantine:
    """What all runs up to a snapshot quarantined. It is read from the newest run back."""

    def __init__(self, layout: Layout, head: Manifest) -> None:
        self.layout, self.head = layout, head
        self._units: dict[str, _Units] = {}

    @cached_property
    def _dead(self) -> index.Tombstones:
        return index.read_tombstones(self.layout, self.head.tombstones)

    def units(self, source: str) -> _Units:
        """Give what is known of a source's units."""
        if source not in self._units:
            self._units[source] = _Units(self.layout, self.head.states.get(source))
        return self._units[source]

    def entries(self, asked: Asked) -> Iterator[Entry]:
        """Give what is meant, of the newest run first."""
        newer: set[tuple[str, str]] = set()  # units that a newer run found bad as a whole
        retried: dict[str, set[str]] = {}  # units that newer runs tried again, of sources that keep no table of units
        standing = self.head.seq  # runs above `standing` were rolled back: nothing of them is open
        refreshed = False  # a full refresh has told all anew that can be read again: nothing older is open
        for link in chain.links(self.layout, self.head.seq):
            bad: set[tuple[str, str]] = set()
            anew = any(told.get("mode") == "full-refresh" for told in link.lineage)
            replays = self._replays(link)
            for path in self.layout.files.fetched(self.layout.run(link.seq) / "quarantine", "*.parquet"):
                with named(self.layout, path), pq.ParquetFile(path) as file:
                    for rows in file.iter_batches(use_threads=False):
                        how = link.seq, anew, path.stem.rpartition("-")[2] in replays
                        for entry in self._of(rows, how, asked, newer, bad, retried):
                            over = refreshed or entry.run > standing
                            yield msgspec.structs.replace(entry, open=False) if over else entry
            if link.seq <= standing:
                newer |= bad
                refreshed |= anew
                for told in link.lineage:
                    standing = told.get("rolled_back_to", standing)
                    for source, units in told.get("retried", {}).items():
                        retried.setdefault(source, set()).update(units)

    def _replays(self, link: chain.Link) -> set[str]:
        """Give the numbers, as files are named by them, of a redecision's tasks that read again what is as it was."""
        if not any(told.get("mode") == "redecide" for told in link.lineage):
            return set()
        path = self.layout.files.fetch(self.layout.plan(link.seq))
        try:
            with naming(path):
                frozen = msgspec.json.decode(path.read_bytes(), type=_Plan)
        except (FileNotFoundError, msgspec.DecodeError) as error:
            raise StoreError(
                f"{path}, the plan of a published run, is missing or damaged; put it back from a copy of the dataset"
            ) from error
        return {f"{number:06d}" for number, task in enumerate(frozen.tasks) if task.replay}

    def _of(
        self,
        rows: pa.RecordBatch,
        how: tuple[int, bool, bool],
        asked: Asked,
        newer: set[tuple[str, str]],
        bad: set[tuple[str, str]],
        retried: dict[str, set[str]],
    ) -> Iterator[Entry]:
        # anew: it read again what is as it was, so its units were last read before it; again: what was told before.
        run, anew, again = how
        ords = pc.fill_null(rows.column("ord"), -1).to_numpy(zero_copy_only=False)
        dead = self._dead.dead(ords)
        for row, is_dead in zip(rows.to_pylist(), dead.tolist(), strict=True):
            units = self.units(row["source"])
            unit = units.of(row["origin"])
            place = row["source"], unit
            is_record = row["ord"] is not None and row["code"] != CONFLICT
            is_whole = row["ord"] is None and unit == row["origin"]
            if is_record:
                is_open = not is_dead
            elif unit in units.rows and is_whole:
                read, status = units.rows[unit]
                # What could not be read at all did not move on: each run that asks its source tries again, and tells it anew.
                is_open = place not in newer and (status == "bad" or (run > read[0] and run == units.asked))
            elif unit in units.rows:
                read, _ = units.rows[unit]
                is_open = run in read or (anew and read[0] < run)
            elif units.told or row["step"] == "plan":
                is_open = run == units.asked  # it never could be read, or is gone
            else:
                is_open = True
            if not is_record and unit in retried.get(row["source"], set()):  # of a cursor that passes by no table tells
                is_open = False
            if again and not is_record:  # open is what the run told of it that read it first
                is_open = False
            elif is_whole:
                bad.add(place)
            if _meant(asked, row, unit, run):
                told = {
                    name: row[name] for name in ("source", "origin", "code", "step", "detail", "id", "ord", "bytes")
                }
                yield Entry(run=run, unit=unit, open=is_open, **told)

    def counts(self, asked: Asked) -> list[dict[str, Any]]:
        """Give how many there are of each source and code, and how many of them are open."""
        seen: Counter[tuple[str, str]] = Counter()
        still: Counter[tuple[str, str]] = Counter()
        units: dict[tuple[str, str], set[str]] = {}
        for entry in self.entries(asked):
            key = entry.source, entry.code
            seen[key] += 1
            still[key] += entry.open
            if entry.open:
                units.setdefault(key, set()).add(entry.unit)
        return [
            {
                "source": key[0],
                "code": key[1],
                "count": seen[key],
                "open": still[key],
                "open_units": len(units.get(key, ())),
            }
            for key in sorted(seen)
        ]

    def to_retry(self, asked: Asked) -> dict[str, list[str]]:
        """Give the units that hold open things that are meant, by source; none if nothing that is meant is open (any more).

        Raises:
            ConfigError: nothing was ever quarantined with the code that is asked for.
        """
        found: dict[str, set[str]] = {}
        for entry in self.entries(asked):
            if entry.open:
                found.setdefault(entry.source, set()).add(entry.unit)
        if not found:
            self._check_code(asked)
        return {source: sorted(units) for source, units in sorted(found.items())}

    def _check_code(self, asked: Asked) -> None:
        codes = sorted({line["code"] for line in self.counts(Asked())})
        if asked.code is not None and asked.code not in codes:
            meant = suggestion(asked.code, codes) or ";"
            raise ConfigError(
                f"nothing was quarantined as {asked.code!r}{meant} there is: {', '.join(codes) or 'nothing'}"
            )

    def records(self, retried: dict[str, list[str]]) -> Int64s:
        """Give the ords of open records in these units, sorted: if one comes again, it goes on again."""
        wanted = {(source, unit) for source, units in retried.items() for unit in units}
        found = [
            entry.ord
            for entry in (self.entries(Asked()) if wanted else ())
            if entry.ord is not None and entry.open and (entry.source, entry.unit) in wanted
        ]
        return np.array(sorted(found), np.int64)


def _meant(asked: Asked, row: dict[str, Any], unit: str, run: int) -> bool:
    return (
        asked.code in (None, row["code"])
        and asked.source in (None, row["source"])
        and (asked.unit in (None, unit) or asked.unit == visible(unit))
        and asked.run in (None, run)
    )


def forgetful(source: Source, name: str, state: State | None, units: list[str], window: Window) -> State | None:
    """Give a source's state as its plan is to see it in a retry.

    Raises:
        ConfigError: the source keeps a cursor, which has passed these records, and no window is named.
    """
    if source.has_cursor and window.since is None:
        raise ConfigError(
            f"source {name} has a cursor that has passed what was quarantined; say which part to read again with "
            f"--source {name} --window SINCE..UNTIL, or name another source"
        )
    return source.again(state, set(units)) if state is not None else None
