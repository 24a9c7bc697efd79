"""Makes the text lower case.

Reads: text.
Changes: text, as `str.lower` does.
Drops: nothing.
Cost: one pass; texts with a capital sigma or a dotted capital I go through Python.
Source: Unicode Default Case Conversion, as the running Python has it.

Not here: folding for comparison, which deduplication does on its own copy (`steps.dedup`). Invariant: equals
`str.lower` on every text.
"""

from __future__ import annotations

from gristmill.core.batch import Batch, utf8_buffers, utf8_column
from gristmill.core.step import Transform


class Lowercase(Transform, frozen=True, kw_only=True):
    """Makes the text lower case."""

    def apply(self, batch: Batch) -> Batch:
        """Give the batch with the text lower-cased."""
        from gristmill.kernels.lowercase import lower

        data, offsets = utf8_buffers(batch.text)
        changed, ends = lower(data, offsets)
        return batch if changed is data else batch.with_text(utf8_column(changed, ends), batch.errors)
