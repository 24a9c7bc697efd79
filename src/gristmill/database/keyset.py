"""Reading a part of a relation page by page, in order, and reading on after the last page whatever happens in between.

Not here: statements (`compose`), sessions (`connect`), what is planned (`sources/sql.py`). Invariants: every page ends at
a (cursor, key) from which a new statement goes on, on any connection; a page is tried again, a query never: what was
given out is not asked for again; trying has an end, after which the engine is told that it may try again later.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pyarrow as pa

from gristmill.core.errors import SourceError, Transient
from gristmill.core.source import Page
from gristmill.database.cells import values
from gristmill.database.compose import Composer, Part
from gristmill.database.connect import Connection
from gristmill.database.pages import UNIT, Shape, empty, keys_only, page
from gristmill.database.values import Kind, Value, decode, encode, typed

BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # 31 s: a server restarts in that
_CALM_PAGES = 3  # that went well before larger ones are tried again
_CAUTIOUS_ROWS = 1024  # a page after a failure; it is held whole, so that its error can be told


class Reader:
    """Reads one part."""

    def __init__(self, open_: Callable[[], Connection], composer: Composer, part: Part, shape: Shape) -> None:
        self._open = open_
        self._composer = composer
        self._part = part
        self._shape = shape
        layout = composer.layout
        self._row_bytes = part.row_bytes
        self._kinds: list[Kind] = [column.kind for column in layout.keys]
        if part.by_cursor and layout.cursor:
            self._kinds.insert(0, layout.cursor.kind)

    def pages(self, resume: dict[str, Any] | None, batch_bytes: int, batch_rows: int) -> Iterator[Page]:
        """Give the pages after `resume`; at least one, of at most `batch_rows` rows a statement.

        Raises:
            Transient: the database did not answer for too long.
            SourceError: it will never answer this.
        """
        if self._part.of == "nokey":
            yield from self._all_or_nothing(batch_bytes)
            return
        after = [decode(value) for value in resume["after"]] if resume else None
        limit, failures, calm, given, done = batch_rows, 0, 0, False, False
        connection: Connection | None = None
        try:
            while not done:
                rows, cut = 0, False
                try:
                    connection = connection or self._open()
                    statement = self._composer.rows(self._part, after, limit)
                    batches = connection.batches(statement, batch_bytes, self._row_bytes, whole=failures > 0)
                    with contextlib.closing(batches):
                        for batch in batches:
                            made, after = self._page(batch, after)
                            rows += len(batch)
                            cut = self._too_large(made.bytes_in, len(batch), batch_bytes)
                            failures, given = 0, True
                            del batch  # each buffer held longer than needed falls out of the CPU's cache
                            yield made
                            del made
                            if cut:
                                break
                except Transient as error:
                    if connection is not None:
                        connection.close()
                        connection = None
                    limit = self._smaller(limit, failures, error)
                    failures, calm = failures + 1, 0
                    continue
                done = not cut and rows < limit
                calm += 1
                limit = min(limit * 2, batch_rows) if calm % _CALM_PAGES == 0 else limit
        finally:
            if connection is not None:
                connection.close()
        if not given:
            yield Page(UNIT, empty(), resume=resume)

    def _all_or_nothing(self, batch_bytes: int) -> Iterator[Page]:
        """Rows without a key have no order to read on in: they are given out when all are there. They are rejects, so small."""
        for failures in range(len(BACKOFF_S) + 1):
            connection = None
            try:
                connection = self._open()
                statement = self._composer.rows(self._part, None, None)
                found, rows = [], 0
                for batch in connection.batches(statement, batch_bytes, self._row_bytes, whole=False):
                    found.append(page(batch, self._shape, rows))
                    rows += len(batch)
            except Transient as error:
                self._smaller(1, failures, error)
                continue
            finally:
                if connection is not None:
                    connection.close()
            yield from found or [Page(UNIT, empty())]
            return

    def _too_large(self, size: int, rows: int, batch_bytes: int) -> bool:
        """Tell whether rows have grown so much that the statement should be begun again with smaller batches."""
        if not self._composer.grammar.fixed_rows or rows <= 16 or size <= 2 * batch_bytes:
            return False
        self._row_bytes = size // rows
        return True

    def _smaller(self, limit: int, failures: int, error: Transient) -> int:
        """Wait, and give the size of the page to try next."""
        if failures >= len(BACKOFF_S):
            raise error
        time.sleep(BACKOFF_S[failures])
        return max(min(limit // 2, _CAUTIOUS_ROWS), 1)

    def _page(self, batch: pa.RecordBatch, after: list[Value] | None) -> tuple[Page, list[Value] | None]:
        made = keys_only(batch, self._shape) if self._part.of == "keys" else page(batch, self._shape)
        if not len(batch) or self._part.of == "nokey":
            return made, after
        names = ["c"] if self._part.by_cursor else []
        names += [f"k{at}" for at in range(self._shape.keys)]
        try:
            last = [
                typed(kind, values(batch.column(name).slice(len(batch) - 1))[0])
                for kind, name in zip(self._kinds, names, strict=True)
            ]
        except (ValueError, OverflowError) as error:
            raise SourceError(f"the last key of a page cannot be read on from: {error}") from None
        made = msgspec.structs.replace(made, versioned=True, resume={"after": [encode(value) for value in last]})
        return made, last
