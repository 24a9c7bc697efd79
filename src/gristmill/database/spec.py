"""What the config asks of a load: the table, its columns and what they are filled from.

Not here: what the table is like (`target`). Invariant: imports no driver, so that reading a config costs none.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from gristmill.core.batch import TABLE_SCHEMA

# What is written; `real` is a float of 32 bits.
Stored: TypeAlias = Literal["text", "int", "real", "float", "bool", "time", "json", "bytes"]

META = "meta."
_OF_ARROW: dict[str, Stored] = {
    "string": "text",
    "timestamp[us, tz=UTC]": "time",
    "float": "real",
    "binary": "bytes",
    "int64": "int",
}


class TargetColumn(msgspec.Struct, frozen=True):
    """A column of the target. field: of the dataset's table, or `meta.<path>`. kind: None: as the table has it, else text."""

    name: str
    field: str
    kind: Stored | None = None

    @property
    def stored(self) -> Stored:
        """What a table made here holds in it."""
        if self.field.startswith(META):
            return self.kind or "text"
        return "json" if self.field == "meta" else _OF_ARROW[str(TABLE_SCHEMA.field(self.field).type)]

    @property
    def nullable(self) -> bool:
        """Whether there may be no value."""
        return self.field.startswith(META) or bool(TABLE_SCHEMA.field(self.field).nullable)


class Spec(msgspec.Struct, frozen=True):
    """What the config asks of a load. config: digest of what decides the rows. extra: what becomes of rows not put here."""

    schema: str | None
    table: str
    columns: list[TargetColumn]
    create: bool
    extra: Literal["fail", "delete"]
    unfit: Literal["replace", "fail"]
    config: str
    batch_rows: int
    ledger: str = "gristmill_ledger"

    @property
    def key(self) -> TargetColumn:
        """The column that holds the id."""
        return next(column for column in self.columns if column.field == "id")
