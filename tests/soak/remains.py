"""What a disk may hold after a power loss, built again from the record of a run's file operations.

The shim (`tests/crash/shim.c`) writes down what was done, with the bytes. Here each operation is one of two kinds: content of a
file, which lasts from the file's next sync on, and a name in a folder, which lasts from the folder's next sync on. At a power loss
behind operation n of all others any may be missing. A rename is one change, as on a file system with a journal, and lasts once either
folder was synced. Not here: runs and readers (`power`). Invariants: nothing lasts that the run did not sync itself, so a
file's sync says nothing of its name; the whole record played back is the very tree that the run left, or `Record.check` says what
it did not see.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

LATEST = 6  # of the names that do not last yet, so many of the newest are dropped one by one, in pairs and in threes
KEPT, LOST, ZEROS, HALF = "kept", "lost", "zeros", "half"
TORN = (LOST, ZEROS, HALF)  # what may become of content that was not synced; lost: a new file is empty


class Piece(NamedTuple):
    """A write, or a cut where data is None."""

    op: int
    where: int
    data: bytes | None


class File:
    """A file through all its names. synced: (operation of the sync, how many pieces last since then)."""

    def __init__(self, first: bytes) -> None:
        self.first = first
        self.pieces: list[Piece] = []
        self.synced: list[tuple[int, int]] = []
        self._made: dict[tuple[int, int, str], bytes] = {}

    def sync(self, op: int) -> None:
        """Let what was written until now last."""
        self.synced.append((op, len(self.pieces)))

    def _ends(self, n: int) -> tuple[int, int]:
        """Give how many pieces last at a power loss behind operation n, and how many there are."""
        syncs = bisect.bisect_left(self.synced, (n,))
        return (
            self.synced[syncs - 1][1] if syncs else 0,
            bisect.bisect_left(self.pieces, n, key=lambda piece: piece.op),
        )

    def open_at(self, n: int) -> bool:
        """Say if some of it does not last."""
        lasting, written = self._ends(n)
        return lasting < written

    def content(self, n: int, how: str) -> bytes:
        """Give what of it is there after a power loss behind operation n."""
        lasting, written = self._ends(n)
        key = (lasting, written, how)
        if key not in self._made:
            self._made[key] = self._make(lasting, written, how)
        return self._made[key]

    def _make(self, lasting: int, written: int, how: str) -> bytes:
        content = bytearray(self.first)
        upto = {KEPT: written, ZEROS: written, LOST: lasting, HALF: lasting + (written - lasting + 1) // 2}[how]
        for i, piece in enumerate(self.pieces[:upto]):
            data = piece.data
            if data is None:
                content = content[: piece.where].ljust(piece.where, b"\0")
                continue
            if i >= lasting and how == ZEROS:
                data = bytes(len(data))
            if how == HALF and i == upto - 1 and i >= lasting:
                data = data[: len(data) // 2]
            content = content.ljust(piece.where, b"\0")
            content[piece.where : piece.where + len(data)] = data
        return bytes(content)


class Naming(NamedTuple):
    """A change of names: path -> file, a folder (""), or nothing (None). folders: of which a sync lets it last."""

    op: int
    folders: tuple[str, ...]
    changes: dict[str, File | str | None]


Tree = dict[str, File | str]


class Remains(NamedTuple):
    """One thing that the disk may hold: at which operation power was lost, what is dropped, and every file's content by path."""

    at: int
    how: str
    folders: frozenset[str]
    files: dict[str, bytes]

    def key(self) -> bytes:
        """Give what equal remains have in common."""
        return digest(self.files, self.folders)


def digest(files: Mapping[str, bytes], folders: frozenset[str] = frozenset()) -> bytes:
    """Give a digest of a tree's files, and of the folders if any are given."""
    # `hash` of bytes is kept with them, so a content is read once
    return hashlib.sha256(
        repr((sorted((p, len(c), hash(c)) for p, c in files.items()), sorted(folders))).encode()
    ).digest()


class Record:
    """The record of a run in `tree`, which was as `inodes` says before it (see `inodes_of`)."""

    def __init__(self, tree: Path, start: Path, inodes: Mapping[int, str], record: Path) -> None:
        self.first: Tree = _tree(start)
        self.namings: list[Naming] = []
        self.lasts: dict[int, int] = {}  # naming -> operation since which it lasts
        self.kinds: list[str] = []
        self._now = dict(self.first)
        self._inodes: dict[int, File] = {}
        for number, path in inodes.items():
            self._inodes[number] = _file(self.first[path])
        self._open: dict[str, list[int]] = {}  # folder -> namings that wait for its sync
        for op, (kind, number, where, path, to, data) in enumerate(_lines(record)):
            self.kinds.append(f"{kind} {_below(tree, to or path)}")
            self._take(op, kind, number, Piece(op, where, data), (_below(tree, path), _below(tree, to)))

    def __len__(self) -> int:
        return len(self.kinds)

    def _take(self, op: int, kind: str, number: int, piece: Piece, paths: tuple[str, str]) -> None:
        path, to = paths
        if kind in {"open", "empty"}:
            if path not in self._now:
                self._inodes[number] = File(b"")
                self._name(op, {path: self._inodes[number]})
            elif kind == "empty":
                self._inodes[number].pieces.append(Piece(op, 0, None))
        elif kind == "write":
            self._inodes[number].pieces.append(piece)
        elif kind == "cut":
            self._inodes[number].pieces.append(piece._replace(data=None))
        elif kind == "sync" and (path == "." or self._now.get(path) == ""):
            for waiting in self._open.pop(path, []):
                self.lasts.setdefault(waiting, op)
        elif kind == "sync":
            self._inodes[number].sync(op)
        elif kind == "mkdir":
            self._name(op, {path: ""})
        elif kind == "unlink":
            self._name(op, {path: None})
        elif kind == "link":
            self._name(op, {to: _file(self._now[path])})
        elif kind == "rename":
            self._name(op, {path: None, to: _file(self._now[path])})
        else:
            raise ValueError(f"a record has the unknown operation {kind!r}")

    def _name(self, op: int, changes: dict[str, File | str | None]) -> None:
        folders = tuple({str(PurePosixPath(path).parent) for path in changes})
        for folder in folders:
            self._open.setdefault(folder, []).append(len(self.namings))
        self.namings.append(Naming(op, folders, changes))
        _change(self._now, changes)

    def check(self, tree: Path) -> list[str]:
        """Say where the record played back is not what the run left in `tree`."""
        whole = self.remains(len(self), frozenset(), {}, "")
        there = {path: _file(each).first for path, each in _tree(tree).items() if each != ""}
        return sorted(
            f"{path}: the record has other bytes"
            for path in whole.files.keys() | there.keys()
            if whole.files.get(path) != there.get(path)
        )

    def remains(self, n: int, dropped: frozenset[int], torn: Mapping[File, str], how: str) -> Remains:
        """Give what is there when power is lost before operation n, some namings are dropped, and some contents torn."""
        names = dict(self.first)
        for i, naming in enumerate(self.namings):
            if naming.op >= n:
                break
            if i not in dropped:
                _change(names, naming.changes)
        there: dict[str, bool] = {".": True}

        def reached(folder: str) -> bool:
            if folder not in there:
                there[folder] = names.get(folder) == "" and reached(str(PurePosixPath(folder).parent))
            return there[folder]

        files = {
            path: each.content(n, torn.get(each, KEPT))
            for path, each in names.items()
            if isinstance(each, File) and reached(path.rpartition("/")[0] or ".")
        }
        return Remains(n, how, frozenset(path for path, each in names.items() if each == "" and reached(path)), files)

    def waiting(self, n: int) -> tuple[list[int], list[File]]:
        """Give the namings, and the files with content, that do not last at a power loss before operation n, oldest first."""
        namings = [i for i, naming in enumerate(self.namings) if naming.op < n and self.lasts.get(i, n) >= n]
        made = {each: None for naming in self.namings if naming.op < n for each in naming.changes.values()}
        held = dict.fromkeys(self.first.values()) | made
        return namings, [each for each in held if isinstance(each, File) and each.open_at(n)]

    def worst(self, n: int) -> Remains:
        """Give what is there when nothing that was not synced is."""
        namings, files = self.waiting(n)
        return self.remains(n, frozenset(namings), dict.fromkeys(files, LOST), "nothing that was not synced is there")

    def all_remains(self, n: int, chance: random.Random) -> Iterator[Remains]:
        """Give what may be there when power is lost before operation n: all names or none, all content or none, and some of each."""
        namings, files = self.waiting(n)
        none: frozenset[int] = frozenset()
        yield self.remains(n, none, {}, "all is there")
        yield self.worst(n)
        yield self.remains(n, frozenset(namings), {}, "no name is there that was not synced")
        for how in TORN:
            yield self.remains(n, none, dict.fromkeys(files, how), f"names are there, content is {how}")
        for count in range(1, 4):
            newest = frozenset(namings[-count:])
            yield self.remains(n, newest, {}, f"the newest {count} names are not there")
            how = chance.choice(TORN)
            yield self.remains(
                n, newest, dict.fromkeys(files, how), f"the newest {count} names are not there, content is {how}"
            )
        for file in files[-3:]:
            for how in TORN:
                yield self.remains(n, none, {file: how}, f"the content of one file is {how}")
        sets = [each for count in (1, 2, 3) for each in itertools.combinations(namings[-LATEST:], count)]
        for some in chance.sample(sets, min(5, len(sets))):
            how = chance.choice((KEPT, *TORN))
            torn = {file: how for file in files if chance.random() < 0.5}
            yield self.remains(n, frozenset(some), torn, f"names {some} are not there, content of some is {how}")


def inodes_of(tree: Path) -> dict[int, str]:
    """Give the paths of a tree's files by inode; a run is recorded in this very tree."""
    return {path.stat().st_ino: path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}


def _tree(folder: Path) -> Tree:
    found = {}
    for path in folder.rglob("*"):
        found[path.relative_to(folder).as_posix()] = "" if path.is_dir() else File(path.read_bytes())
    return found


def _file(each: File | str) -> File:
    if not isinstance(each, File):
        raise TypeError("a folder was given another name, which the model of a disk does not know")
    return each


def _change(names: Tree, changes: Mapping[str, File | str | None]) -> None:
    for path, each in changes.items():
        if each is None:
            names.pop(path, None)
        else:
            names[path] = each


def _below(tree: Path, path: str) -> str:
    return path.removesuffix(" (deleted)")[len(str(tree)) + 1 :] or "." if path else ""


def _lines(record: Path) -> Iterator[tuple[str, int, int, str, str, bytes]]:
    content, at = record.read_bytes(), 0
    while at < len(content):
        end = content.index(b"\n", at)
        kind, number, where, size, paths = content[at:end].decode().split(" ", 4)
        path, _, to = paths.partition("\t")
        at = end + 1 + int(size)
        yield kind, int(number), int(where), path, to, content[end + 1 : at]
