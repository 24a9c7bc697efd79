"""The Delta log of a table on a local disk, added to so that power loss never leaves it half written.

delta-rs syncs nothing: for a while the log would have an entry without its bytes, which no reader gets past. So it works on a copy of
the log in staging (hard links), and what it wrote there gets its name in the log once its content is durable: an entry by
create-if-absent, then a checkpoint, then the word that there is one. Not here: what stands in an entry (`snapshot`), object
stores, which have a file whole or not at all. Invariant: no name in the log is ever without its whole content.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from gristmill.core import access
from gristmill.core.errors import StaleError, StoreError, naming
from gristmill.store import disk

LOG = "_delta_log"
_ENTRY = re.compile(r"\d{20}\.(json$|checkpoint\.)")


@contextlib.contextmanager
def about(log: Path) -> Iterator[None]:
    """Let what delta-rs and the system say within be about `log`.

    Raises:
        StoreError: it is damaged, or cannot be read.
    """
    from deltalake.exceptions import DeltaError

    try:
        with naming(log):
            yield
    except DeltaError as error:  # a failed read too: its message holds lines of the log
        raise StoreError(
            f"the Delta log {log} cannot be read ({type(error).__name__}); run again; if it stays, restore it from a copy"
        ) from error


def has_entries(table: Path) -> bool:
    """Tell if a table has a log with an entry or a checkpoint in it; asked several times in a run, so not of delta-rs, which takes a millisecond.

    Raises:
        OSError: the log cannot be listed.
    """
    log = table / LOG
    with naming(log), contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(log) as found:
        return any(_ENTRY.match(each.name) for each in found)
    return False


@contextlib.contextmanager
def added_to(table: Path, scratch: Path) -> Iterator[Path]:
    """Give a copy of a table, without its rows, to commit to; what was committed is in the table, durably, when the block ends well.

    Raises:
        StaleError: another commit took the entry's number meanwhile.
    """
    log, copy = table / LOG, scratch / LOG
    try:
        with naming(log):
            access.make_folder(copy)
            disk.make_folder(log)
            names = [path.name for path in log.iterdir() if path.is_file() and not path.name.startswith(".")]
            # entries before the newest checkpoint are not read; `_last_checkpoint` stands behind every number
            since = max((name for name in names if ".checkpoint." in name), default="")[:20]
            linked = [name for name in names if name[:20] >= since]
            for name in linked:
                os.link(log / name, copy / name)
        with about(log):  # damaged is what was copied; the copy is gone when it is told
            yield scratch
        written = [path for path in copy.iterdir() if path.name not in linked or path.stat().st_nlink == 1]
        for path in sorted(written, key=lambda path: (path.suffix != ".json", path.name)):
            if path.suffix != ".json":
                disk.adopt_file(path, log / path.name)
                continue
            with naming(path):
                content = path.read_bytes()
            if not disk.create_file(log / path.name, content):
                raise StaleError(f"{log / path.name} was committed since this run was planned; run again")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
