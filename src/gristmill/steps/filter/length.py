"""Drops texts that are too short or too long, in characters or words.

Reads: text (signals chars, words).
Changes: nothing.
Drops: too_short, too_long, too_few_words, too_many_words; the first that applies.
Cost: one pass over the text, shared with every filter that reads the same signals.
Source: this project's own; characters are code points, words are what `str.split` gives.

Not here: limits that a finished record must keep (`steps.require`). Invariant: a text at a limit is kept.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
import pyarrow as pa

from gristmill.core.batch import Batch
from gristmill.core.step import Filter
from gristmill.steps.signals import broken_limits, check_limits, reasons


class Length(Filter, frozen=True, kw_only=True):
    """Drops texts outside of the limits. At least one limit must be set."""

    RULES: ClassVar[dict[str, tuple[str, str]]] = {
        "too_short": ("chars", "min_chars"),
        "too_long": ("chars", "max_chars"),
        "too_few_words": ("words", "min_words"),
        "too_many_words": ("words", "max_words"),
    }
    min_chars: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_chars: Annotated[int, msgspec.Meta(ge=0)] | None = None
    min_words: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_words: Annotated[int, msgspec.Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, limit) is None for _, limit in self.RULES.values()):
            raise ValueError("no limit is set; set at least one of min_chars, max_chars, min_words, max_words")
        check_limits(self)

    def judge(self, batch: Batch) -> pa.Array:
        """Give the first limit that each text breaks."""
        return reasons(len(batch), broken_limits(self, batch))
