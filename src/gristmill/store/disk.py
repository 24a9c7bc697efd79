"""Durable file operations on a local disk: the few that a crash-safe commit is made of.

Not here: path names (`layout.py`), object stores (they come behind the same few verbs). Invariants: a name under which
a file can be found always has its whole content; when a function says durable, content and name survive power loss.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from gristmill.core import access
from gristmill.core.errors import naming
from gristmill.core.failpoints import failpoint


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(folder):
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents, durably."""
    if folder.is_dir():
        _sync_name(folder)
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(access.FOLDER)
        access.set_mode(folder, access.FOLDER)
    sync_folder(folder.parent)


@functools.lru_cache(maxsize=1024)  # not all: a process may make runs for years
def _sync_name(folder: Path) -> None:
    """Make the name of a folder durable that was there, once a process: who made it may have died before he came to that."""
    if folder.is_mount() or folder.parent == folder or not os.access(folder.parent, os.W_OK):
        return  # nobody like us made it
    _sync_name(folder.parent)
    sync_folder(folder.parent)


def mark() -> str:
    """Give what no other process has in the names of its scratch files, here or on another machine that shares the disk."""
    return _mark(os.getpid())


@functools.cache
def _mark(pid: int) -> str:
    # Two containers may have the same pid and even the same host name. By pid, so that a forked process has its own.
    return f"{pid}-{secrets.token_hex(4)}"


def _scratch(path: Path) -> Path:
    return path.with_name(f".{path.name}.{mark()}.tmp")


def _write_scratch(path: Path, content: bytes, *, durable: bool = True) -> Path:
    make_folder(path.parent)
    scratch = _scratch(path)
    with naming(path), access.create(scratch) as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    return scratch


def write_file(path: Path, content: bytes) -> None:
    """Write `content` durably under `path`, replacing what was there in one step."""
    scratch = _write_scratch(path, content)
    failpoint("disk.written")
    scratch.replace(path)
    failpoint("disk.named")
    sync_folder(path.parent)


def create_file(path: Path, content: bytes, *, durable: bool = True) -> bool:
    """Write `content` under `path` if the name is free; give whether it was. Of many callers one wins.

    Not durable: whole for every process of this boot, but after a power loss the file may be gone, short or zeros.
    """
    scratch = _write_scratch(path, content, durable=durable)
    failpoint("disk.written")
    try:
        os.link(scratch, path)
        failpoint("disk.named")
        made = True
    except FileExistsError:
        made = False
    finally:
        scratch.unlink()
    if durable:  # also the name that another made, who may have died before this
        sync_folder(path.parent)
    return made


def adopt_file(scratch: Path, path: Path, *, durable: bool = True, mode: int = access.SHARED) -> None:
    """Give a finished scratch file its lasting name and mode; both must lie on one file system."""
    make_folder(path.parent)
    access.set_mode(scratch, mode)
    if durable:
        sync_file(scratch)
    failpoint("disk.written")
    scratch.replace(path)
    failpoint("disk.named")
    if durable:
        sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """Give the hex sha256 of a file's content."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def to_json(value: object) -> bytes:
    """Give the canonical JSON of `value`: keys sorted, indented, so that equal values have equal bytes."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n"
