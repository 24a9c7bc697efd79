"""Counts: what became of the records of a run, and the two laws.

Not here: who counts (`engine.task`), who judges (`engine.gate`). Invariant: counts only ever add up; a record is
counted under exactly one outcome.
"""

from __future__ import annotations

import msgspec


def add_into(total: dict[str, int], more: dict[str, int]) -> None:
    """Add the numbers of `more` to `total`, key by key."""
    for key, n in more.items():
        total[key] = total.get(key, 0) + n


class Counts(msgspec.Struct):
    """Records by outcome. dropped: by `<step>:<reason>`; duplicates: by step; quarantined: by code."""

    read: int = 0
    published: int = 0
    unchanged: int = 0
    superseded: int = 0
    withdrawn: int = 0
    dropped: dict[str, int] = {}
    duplicates: dict[str, int] = {}
    quarantined: dict[str, int] = {}

    def add(self, more: Counts) -> None:
        """Add `more` to these counts."""
        self.read += more.read
        self.published += more.published
        self.unchanged += more.unchanged
        self.superseded += more.superseded
        self.withdrawn += more.withdrawn
        add_into(self.dropped, more.dropped)
        add_into(self.duplicates, more.duplicates)
        add_into(self.quarantined, more.quarantined)

    @property
    def accounted(self) -> int:
        """The records with a known outcome."""
        return (
            self.published
            + self.unchanged
            + self.superseded
            + sum(self.dropped.values())
            + sum(self.duplicates.values())
            + sum(self.quarantined.values())
        )

    @property
    def balanced(self) -> bool:
        """The first law: every record read has an outcome."""
        return self.read == self.accounted


class StepCounts(msgspec.Struct):
    """What went into a step and came out. invalid: dropped or quarantined by it. bytes: text bytes in."""

    name: str
    rows_in: int = msgspec.field(name="in", default=0)
    rows_out: int = msgspec.field(name="out", default=0)
    valid: int = 0
    invalid: int = 0
    seconds: float = 0.0
    bytes: int = 0

    def add(self, more: StepCounts) -> None:
        """Add `more`, of the same step."""
        self.rows_in += more.rows_in
        self.rows_out += more.rows_out
        self.valid += more.valid
        self.invalid += more.invalid
        self.seconds += more.seconds
        self.bytes += more.bytes
