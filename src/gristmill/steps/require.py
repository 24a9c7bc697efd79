"""Drops records that are not fit to be published: the last word on what a valid record is.

Reads: text (signals chars, words), the columns named in `not_null`.
Changes: nothing.
Drops: min_chars, max_chars, min_words, max_words, not_null_<column>; the first that applies, in this order.
Cost: one pass over the text if a limit is set, else nothing.
Source: this project's own.

Not here: filters of quality, whose drops are not failures (`steps.filter`); what the gate makes of the count of invalid
records (`engine.gate`). Invariant: the reason is the name of the rule as the config spells it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec
import pyarrow as pa

from gristmill.core.batch import RECORD_SCHEMA, Batch, Mask
from gristmill.core.step import Filter
from gristmill.steps.signals import broken_limits, check_limits, reasons

NULLABLE = [field.name for field in RECORD_SCHEMA if field.nullable]


class Require(Filter, frozen=True, kw_only=True):
    """Drops records outside of the limits or without a value they must have. With no parameter it keeps all."""

    RULES: ClassVar[dict[str, tuple[str, str]]] = {
        "min_chars": ("chars", "min_chars"),
        "max_chars": ("chars", "max_chars"),
        "min_words": ("words", "min_words"),
        "max_words": ("words", "max_words"),
    }
    min_chars: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_chars: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_words: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_words: Annotated[int, msgspec.Meta(ge=0)] | None = None
    not_null: list[str] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        check_limits(self)
        for name in self.not_null:
            if name not in NULLABLE:
                near = difflib.get_close_matches(str(name), NULLABLE, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(
                    f"not_null: {name!r} is no column that may be null; {hint}allowed: {', '.join(NULLABLE)}"
                )

    def judge(self, batch: Batch) -> pa.Array:
        """Give the first rule that each record breaks."""
        return reasons(len(batch), self._broken(batch))

    def _broken(self, batch: Batch) -> Iterator[tuple[str, Mask]]:
        yield from broken_limits(self, batch)
        for name in self.not_null:
            yield f"not_null_{name}", batch.rows.column(name).is_null().to_numpy(zero_copy_only=False)
