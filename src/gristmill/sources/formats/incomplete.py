"""What stands in a file before the place where it is cut, for those who ask for it (`incomplete: keep`).

Not here: how a cut is told (`core.files`, the formats). Invariant: nothing but a cut is let pass, and each costs a reject, `file.truncated`: what
stands before it is read, what it went through is lost, and both are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gristmill.core.errors import UnitFailed
from gristmill.core.mapping import Rows
from gristmill.core.source import Page

CUT = "file.truncated"


def keep(blocks: Iterator[bytes], rows: Rows, read: Callable[[Iterator[bytes]], Iterator[Page]]) -> Iterator[Page]:
    """Read what there is of a file, with `read`, which puts what it finds into `rows`.

    Raises:
        UnitFailed: the file is bad in another way.
    """
    come = told = 0

    def counted() -> Iterator[bytes]:
        nonlocal come
        for block in blocks:
            come += len(block)
            yield block

    try:
        for page in read(counted()):
            told += page.bytes_in
            yield page
    except UnitFailed as error:
        if error.code != CUT:
            raise
        rows.reject(CUT, come, error.detail, 0)
        yield rows.take(come - told)
