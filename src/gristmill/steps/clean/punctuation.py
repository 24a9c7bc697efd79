r"""Shortens runs of punctuation: `!?!!` to its first mark, `......` to three dots.

Reads: text.
Changes: text: re.sub(r"([!?])[!?]+", r"\1", t), then re.sub(r"\.{4,}", "...", t).
Drops: nothing.
Cost: one pass, a copy only where something changes.
Source: this project's own.

Not here: removing characters (`clean.text` with keep_chars). Invariant: a text without a run is not touched.
"""

from __future__ import annotations

from gristmill.core.batch import Batch, utf8_buffers, utf8_column
from gristmill.core.step import Transform


class Punctuation(Transform, frozen=True, kw_only=True):
    """Shortens runs of punctuation. `marks`: runs of ! and ?. `ellipsis`: runs of four dots or more."""

    marks: bool = True
    ellipsis: bool = True

    def apply(self, batch: Batch) -> Batch:
        """Give the batch with runs of punctuation shortened."""
        from gristmill.kernels.punctuation import shorten

        data, offsets = utf8_buffers(batch.text)
        changed, ends = shorten(data, offsets, marks=self.marks, ellipsis=self.ellipsis)
        return batch if changed is data else batch.with_text(utf8_column(changed, ends), batch.errors)
