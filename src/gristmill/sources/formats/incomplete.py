"""What stands in a compressed file of records before the place where it is cut, for those who ask for it (`incomplete: keep`).

Not here: how a cut is told (`core.files`). Invariant: nothing but the end of a stream that came too early is let pass (a quote or an array
that does not end may be one stray byte in a whole file), and it costs a reject, `file.truncated`: what stands before it is read, what it went
through is lost, and both are told.
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
    come, cut = 0, None

    def counted() -> Iterator[bytes]:
        nonlocal come, cut
        try:
            for block in blocks:
                come += len(block)
                yield block
        except UnitFailed as error:
            cut = error
            raise

    try:
        yield from read(counted())
    except UnitFailed as error:
        if error is not cut or error.code != CUT:
            raise
        rows.reject(CUT, come, error.detail, 0)
        yield rows.take(come - rows.told)
