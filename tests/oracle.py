"""What gristmill promises, as a plain-Python model: DESIGN sections 1, 5 and 6 and nothing of the code.

A run is simulated over the bytes of the files that are there: identity, cleaning, filters, exact dedup, the table.
Not here: files that are damaged, formats other than JSON lines. Invariant: nothing of gristmill is imported.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Content = tuple[str, ...]  # what decides whether two arrivals of an id are the same
Unit = tuple[int, str]  # number of the source, path of the file


@dataclass(frozen=True)
class Record:
    """A line as it arrived."""

    id: str
    content: Content
    text: str
    source: str
    lang: str | None
    origin: str


@dataclass(frozen=True)
class Row:
    """A published record."""

    id: str
    text: str
    origin: str


@dataclass
class Ran:
    """What one run did. Counts by outcome, as DESIGN section 9 names them."""

    counts: Counter[str]
    published: list[Row]
    withdrawn: set[str]
    dup_of: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A source of the pipeline. key: the field with the id, None to name records by their place."""

    name: str
    key: str | None = None
    steps: tuple[tuple[Any, ...], ...] = ()


Step = tuple[Any, ...]  # ("lower",) | ("min_chars", name, n) | ("exact", name, key, scope)


class Oracle:
    """A dataset over its history."""

    def __init__(self, sources: list[Source], steps: list[Step]) -> None:
        self.sources, self.steps = sources, steps
        self.seen: dict[Unit, tuple[bytes, int]] = {}  # its content and its time, by which it is known again
        self.open: set[Unit] = set()  # those that hold what is quarantined
        self.holds: dict[Unit, dict[str, Content]] = {}  # what each live file holds, as it was last read
        self.current: dict[str, tuple[int, Content]] = {}  # id -> its living content and the ord that brought it
        self.dead: set[int] = set()
        self.owners: dict[str, dict[tuple[Any, ...], list[int]]] = {}
        self.names: dict[int, str] = {}
        self.rows: dict[int, Row] = {}
        self.arrived: dict[int, tuple[Unit, Record]] = {}
        self.read_as: dict[
            Unit, dict[str, Record]
        ] = {}  # what each file that was read last says of an id, at its first place
        self.kept_out: set[int] = set()  # by an exact step
        self.next_ord = 0
        self.runs = 0

    def run(
        self,
        files: Mapping[Unit, bytes],
        *,
        times: Mapping[Unit, int] = {},
        unreadable: frozenset[Unit] = frozenset(),
        retry: bool = False,
    ) -> Ran:
        """Do one run over all the files there are; those `unreadable` keep what is known of them.

        times: of those that have one. retry: files with something in quarantine are read again, too; sources without are left alone.
        """
        found = {unit: (data, times.get(unit, 0)) for unit, data in files.items()}
        self.runs += 1
        asked = {number for number, _ in self.open} if retry else set(range(len(self.sources)))
        known = {unit: seen for unit, seen in self.seen.items() if not (retry and unit in self.open)}
        again = [
            unit
            for unit in sorted(files)
            if unit[0] in asked and unit not in unreadable and known.get(unit) != found[unit]
        ]
        gone = [unit for unit in self.seen if unit[0] in asked and unit not in files]
        arrivals = [(unit, record) for unit in again for record in self._records(unit, files[unit])]
        ords = range(self.next_ord, self.next_ord + len(arrivals))
        self.next_ord += len(arrivals)
        self.names |= {at: record.id for at, (_, record) in zip(ords, arrivals, strict=True)}
        self.arrived |= dict(zip(ords, arrivals, strict=True))
        for unit in [*again, *gone]:
            self.read_as.pop(unit, None)
        if again or gone:  # else nothing is published, and all that was open still is
            self.open -= {unit for unit in self.open if unit in again or (unit[0] in asked and unit not in files)}
            self.open |= {unit for unit in unreadable if unit[0] in asked}

        outcome: dict[int, str] = {}
        first: dict[Unit, dict[str, Content]] = {unit: {} for unit in again}
        by_id: dict[str, list[int]] = {}
        for at, (unit, record) in zip(ords, arrivals, strict=True):
            if record.id in first[unit]:
                same = first[unit][record.id] == record.content
                outcome[at] = "unchanged" if same else "quarantined/id.conflict"
            else:
                first[unit][record.id] = record.content
                self.read_as.setdefault(unit, {})[record.id] = record
                by_id.setdefault(record.id, []).append(at)

        withdrawn: set[int] = set()
        low = ords.start
        for id_, turns in by_id.items():
            before = self.current.get(id_)
            content = before[1] if before else None
            changes: list[list[int]] = [[]]  # those that repeat what is current, then one list a change of content
            for at in turns:
                record = arrivals[at - low][1]
                if record.content != content:
                    changes.append([])
                    content = record.content
                changes[-1].append(at)
            for at in changes[0]:
                outcome[at] = "unchanged"
            for overtaken in changes[1:-1]:
                outcome |= dict.fromkeys(overtaken, "superseded")
            if len(changes) > 1:
                winner, *repeats = changes[-1]
                outcome |= dict.fromkeys(repeats, "unchanged")
                if before:
                    withdrawn.add(before[0])
                assert content is not None
                self.current[id_] = (winner, content)

        left_alone = {unit: held for unit, held in self.holds.items() if unit not in first and unit not in gone}
        for unit in [*again, *gone]:
            for id_ in self.holds.get(unit, {}):
                living = self.current.get(id_)
                if id_ in by_id or living is None:
                    continue
                if not any(held.get(id_) == living[1] for held in left_alone.values()):
                    withdrawn.add(living[0])
                    del self.current[id_]
        self.holds = left_alone | first
        self.seen = {unit: self.seen[unit] for unit in left_alone} | {unit: found[unit] for unit in again}

        self.dead |= withdrawn
        out = [self.rows.pop(at) for at in withdrawn if at in self.rows]
        done = Ran(Counter(read=len(arrivals), withdrawn=len(out)), [], {row.id for row in out})
        for at in ords:
            unit, record = arrivals[at - low]
            steps = [*self.sources[unit[0]].steps, *self.steps]
            dropped = self._dropped_early(record.text, steps)
            if at not in outcome:
                outcome[at] = self._through(at, record, steps, done)
            if outcome[at] == "quarantined/id.conflict" and dropped:  # it is settled, and dropped all the same
                outcome[at] = dropped
            done.counts[outcome[at]] += 1
            if outcome[at].startswith("quarantined/"):
                self.open.add(unit)
        return done

    def refresh(self, steps: list[Step]) -> Ran:
        """Decide about all records anew by other steps: those that live now, in the order in which they came, and they alone.

        What was withdrawn since counts for nothing: what it alone kept out is published.
        """
        self.steps, self.owners, self.rows = steps, {}, {}
        done = Ran(Counter(), [], set())
        for at, _ in sorted(self.current.values()):
            unit, record = self.arrived[at]
            done.counts[self._through(at, record, [*self.sources[unit[0]].steps, *steps], done)] += 1
        return done

    def redecide(self, steps: list[Step]) -> None:
        """Decide about all that lives by other thresholds; what an exact step kept out stays out."""
        self.steps, self.rows = steps, {}
        for at, _ in self.current.values():
            unit, record = self.arrived[at]
            mine = [step for step in [*self.sources[unit[0]].steps, *steps] if step[0] != "exact"]
            if at not in self.kept_out:
                self._through(at, record, mine, Ran(Counter(), [], set()))

    def places(self, id_: str) -> set[str]:
        """Give where a file that is there holds the living content of an id."""
        content = self.current[id_][1]
        held = [read[id_] for read in self.read_as.values() if id_ in read]
        return {record.origin for record in held if record.content == content}

    def _records(self, unit: Unit, data: bytes) -> list[Record]:
        source, path = self.sources[unit[0]], unit[1]
        records, offset = [], 0
        for line in data.splitlines(keepends=True):
            fields: dict[str, Any] = json.loads(line)
            text, lang, origin = fields.pop("text"), fields.pop("lang", None), f"{path}#{offset}"
            key = fields.pop(source.key) if source.key else origin
            content = (text, str(lang), json.dumps(fields))
            records.append(Record(f"{source.name}/{key}", content, text, source.name, lang, origin))
            offset += len(line)
        return records

    def _through(self, at: int, record: Record, steps: list[Step], done: Ran) -> str:
        text = record.text
        for step, *rest in steps:
            if step == "lower":
                text = text.lower()
            elif step == "min_chars":
                name, least = rest
                if len(text) < least:
                    return f"dropped/{name}:too_short"
            else:
                name, key, scope = rest
                value = text if key == "text" else getattr(record, key)
                if value is None:
                    continue
                salts = {"dataset": None, "source": record.source, "language": record.lang, "snapshot": self.runs}
                owners = self.owners.setdefault(name, {}).setdefault((value, salts[scope]), [])
                living = [owner for owner in owners if owner not in self.dead]
                if living:
                    self.kept_out.add(at)
                    done.dup_of[record.id] = self.names[min(living)]
                    return f"duplicates/{name}"
                owners.append(at)
        self.rows[at] = Row(record.id, text, record.origin)
        done.published.append(self.rows[at])
        return "published"

    @staticmethod
    def _dropped_early(text: str, steps: list[Step]) -> str:
        for step, *rest in steps:
            if step == "lower":
                text = text.lower()
            elif step == "min_chars" and len(text) < rest[1]:
                return f"dropped/{rest[0]}:too_short"
            elif step == "exact":
                break
        return ""

    def table(self) -> list[Row]:
        """Give the published records in their order."""
        return [self.rows[at] for at in sorted(self.rows)]
