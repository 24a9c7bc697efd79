"""The chain of snapshots, from a manifest to those before it, by the heads of the files alone.

A manifest holds all of its snapshot, so a thousand of them hold each shard some five hundred times; what came before stands in
the first lines of each, and what its run was given in the last ones. Not here: what a snapshot holds (`store.snapshot`). Invariant: what is told of a manifest is what reading it
whole would tell, or that it is damaged; how it was written decides only how much of it is read.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gristmill.core.counts import Counts
from gristmill.core.errors import StoreError, naming
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.snapshot import Manifest, read_manifest

_HEAD_BYTES, _BEGIN_BYTES, _END_BYTES = 64 << 10, 8 << 10, 16 << 10
# The keys are sorted and a line each, and no text in JSON holds a line's end: one space is before those of the manifest itself.
_PARENT = re.compile(rb'\n "parent": \d+(?=,\n)')


class Link(msgspec.Struct, frozen=True):
    """What manifest `seq` says of what came before it. parent: 0 for none; lineage: as in the manifest."""

    seq: int
    parent: int
    lineage: list[dict[str, Any]]

    @property
    def before(self) -> int:
        """The snapshot whose work it builds on: for a rollback not the newest one that there was, but the one it went back to."""
        return next((int(told["rolled_back_to"]) for told in self.lineage if "rolled_back_to" in told), self.parent)


class _Head(msgspec.Struct, frozen=True):
    """The first lines of a manifest."""

    format: int
    parent: int
    lineage: list[dict[str, Any]]


def link(layout: Layout, seq: int) -> Link:
    """Read what a manifest says of what came before.

    Raises:
        StoreError: it is missing, damaged or of an unknown format.
    """
    path = layout.manifest(seq)
    try:
        with naming(path):
            head = _head(path)
    except FileNotFoundError:
        head = None
    if head is None:
        whole = read_manifest(path)
        head = _Head(FORMAT, whole.parent, whole.lineage)
    if head.parent >= seq:
        raise StoreError(f"{path} is damaged (snapshot {head.parent} before {seq}); restore it or start a new dataset")
    return Link(seq, head.parent, head.lineage)


def _head(path: Path) -> _Head | None:
    """Read as much of a manifest as has what is wanted; None: it has to be read whole."""
    content = b""
    with path.open("rb") as file:
        while block := file.read(max(_HEAD_BYTES, len(content))):
            content += block
            if found := _PARENT.search(content):
                try:
                    head = msgspec.json.decode(content[: found.end()] + b"}", type=_Head)
                except msgspec.DecodeError:
                    return None
                return head if head.format == FORMAT else None
    return None


def given(layout: Layout, seq: int) -> dict[str, Counts]:
    """Read the counts of a manifest by source.

    Raises:
        StoreError: it is missing, damaged or of an unknown format.
    """
    path = layout.manifest(seq)
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError), naming(path):
        if found := _sources(path):
            return msgspec.json.decode(found, type=dict[str, Counts])
    return read_manifest(path).sources


def _sources(path: Path) -> bytes:
    """Read as much of a manifest's end as has its `sources`; nothing: it has to be read whole."""
    with path.open("rb") as file:
        if b'\n "format": %d,' % FORMAT not in file.read(_BEGIN_BYTES):
            return b""
        size, wanted = file.seek(0, os.SEEK_END), _END_BYTES
        while True:
            file.seek(max(0, size - wanted))
            _, key, rest = file.read().rpartition(b'\n "sources": ')
            found, after, _ = rest.partition(b',\n "states": ')
            if key and after:
                return found
            if wanted >= size:
                return b""
            wanted *= 4


def links(layout: Layout, seq: int) -> Iterator[Link]:
    """Give snapshot `seq` and all before it, those that were rolled back too, the newest first; none for 0.

    Raises:
        StoreError: a manifest is missing, damaged or of an unknown format.
    """
    while seq:
        found = link(layout, seq)
        yield found
        seq = found.parent


def standing(layout: Layout, head: Manifest) -> set[int]:
    """Give the snapshots whose work `head` holds: what a rollback undid is left out."""
    found: set[int] = set()
    seq = head.seq
    while seq:
        found.add(seq)
        seq = link(layout, seq).before
    return found
