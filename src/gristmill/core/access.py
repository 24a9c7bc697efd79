"""Who may read what gristmill writes: the modes of files and folders, whatever the umask says.

What others are meant to read (the table, exports, reports) is open to the group; what holds raw data or tells of it (states, landed
pages, quarantine, staging) to the owner alone. Not here: durability and names (`store`). Invariants: a file that is made here was not
there before and is no link, so nobody can have put another in its place; no mode gives anything to others than owner and group.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

SHARED = 0o640
PRIVATE = 0o600
FOLDER = 0o750
PRIVATE_FOLDER = 0o700

_SOCKET_BYTES = 107  # the longest path of a socket: `sun_path` of Linux without its end (unix(7))

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder(folder: Path, mode: int = PRIVATE_FOLDER) -> None:
    """Make `folder` and the parents it lacks, all with `mode`. Not durable: for scratch, and for what no run needs."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode)
        set_mode(folder, mode)


def create(path: Path, mode: int = SHARED) -> BinaryIO:
    """Give a new file to write to; what lay there is gone, and a link is not followed."""
    try:
        handle = os.open(path, _NEW, mode)
    except FileExistsError:  # what an earlier try of this process left
        path.unlink()
        handle = os.open(path, _NEW, mode)
    set_mode(handle, mode)
    return cast("BinaryIO", os.fdopen(handle, "wb"))


def append(path: Path, mode: int = SHARED) -> BinaryIO:
    """Give a file to add to, made with `mode` where there is none; a link is not followed."""
    try:
        handle = os.open(path, _NEW | os.O_APPEND, mode)
        set_mode(handle, mode)
    except FileExistsError:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    return cast("BinaryIO", os.fdopen(handle, "ab"))


def socket_folder(prefix: str, inside_bytes: int) -> Path:
    """Make a private folder among the temporary files for sockets whose paths below it take so many bytes; in /tmp where that is too long."""
    among = tempfile.gettempdir()
    is_long = len(os.fsencode(f"{among}/{prefix}01234567")) + inside_bytes > _SOCKET_BYTES
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp" if is_long and os.access("/tmp", os.W_OK) else among))  # noqa: S108


def set_mode(file: Path | int, mode: int) -> None:
    """Give a file exactly `mode`; where a file system knows no modes, its mount decides."""
    with contextlib.suppress(PermissionError, NotImplementedError):
        os.chmod(file, mode)  # noqa: PTH101  # a handle too
