"""What every target over a file holds: only errors of our own, every byte accounted for, texts that are UTF-8, every code a word.

The file is read by the source itself, through the plain engine of `gristmill.testing.mill`, which shares no code with the real one.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tests.properties.machine import memory

from gristmill.core.errors import GristmillError
from gristmill.core.source import Source
from gristmill.testing.mill import Mill

CODE = re.compile(r"[a-z0-9]+(\.[a-z0-9_]+)+")


@cache
def place() -> Path:
    """Give a folder in memory, for as long as this process lives."""
    return Path(tempfile.mkdtemp(prefix="gristmill-fuzz-", dir=memory()))


def read(source: Source, name: str, data: bytes, *, size: int | None = -1) -> int:
    """Read a file of these bytes with `source`; give its records. size: of what comes out of it, -1: as many as are stored; None: not known."""
    folder = place()
    (folder / name).write_bytes(data)
    mill = Mill(source, folder)
    try:
        ran = mill.run()
    except GristmillError:
        return 0
    finally:
        (folder / name).unlink()
    rows, taken = 0, 0
    failed = [end for end in ran.reads if end.status != "ok"]
    for page in (page for pages in ran.pages for page in pages):
        page.rows.validate(full=True)
        rows += page.rows.num_rows
        taken += page.bytes_in
        assert all(CODE.fullmatch(reject.code) for reject in page.rejects), page.rejects
        assert all(CODE.fullmatch(code) for code in page.warnings), page.warnings
        assert page.bytes_in >= 0
    wanted = len(data) if size == -1 else size
    if wanted is not None and not failed and not ran.plan.failed:
        assert taken == wanted, f"{taken} bytes told of {wanted}"
    return rows


def clean() -> None:
    """Remove the folder."""
    shutil.rmtree(place(), ignore_errors=True)
    place.cache_clear()
