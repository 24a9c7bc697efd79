"""Places: where the files of a source lie, behind one small interface (list, look, open), and how globs match names.

`Place` is the interface. This machine's files are `core.files.Local`; object stores and other servers are in `net`
(`net.objects`, `net.remote`), which a source asks by `net.objects.place_for`. Not here: reading bytes, compression,
lines (`core.files`), what is new since the last run (`core.filesets`). Local files go by `os` and not by obstore, whose
LocalStore fails the whole listing on one odd name (newline, non-UTF-8) and cuts times to microseconds (tried: 0.12).
Invariants: what cannot be read is named in `Listing.failed` or raised, never passed over; a listing is whole or raises,
so that nothing is called gone which was only not seen; names are data and are never joined to a path unlooked-at.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

from gristmill.core.errors import ConfigError, SourceError

# How to reach a place, as written in a config: region, endpoint, keys. Secrets may be in it.
Options: TypeAlias = dict[str, str | int | bool | list[str]]


class Found(NamedTuple):
    """A regular file or object. unit: its path below the fixed part of the globs; path: as to open it.

    A local path is seen from the config folder, any other is a URL without secrets. etag: what a server says of the
    content, "" where nothing is said.
    """

    unit: str
    path: str
    size: int
    mtime_ns: int
    etag: str = ""


class Listing(NamedTuple):
    """What the globs match, both sorted by unit. failed: (unit, code, detail)."""

    found: list[Found]
    failed: list[tuple[str, str, str]]


class Looked(NamedTuple):
    """What a file is now; an etag of "" says nothing."""

    size: int
    mtime_ns: int
    etag: str = ""


class Replaced(FileNotFoundError):
    """What was opened is no more: another object has its name now."""


class Place(Protocol):
    """Where the files of some globs lie.

    pins: what is opened with an etag gives the bytes of that content to the end, or raises `Replaced`; without, a reader
    looks before and after.
    """

    @property
    def pins(self) -> bool:
        """Whether an open file cannot change under its reader."""

    @property
    def base(self) -> str:
        """Give what the globs start from, "" where they say it themselves."""

    def list(self, globs: list[str]) -> Listing:
        """Give every file that one of the globs matches, once.

        Raises:
            ConfigError: a glob does not belong here.
            SourceError: it cannot be told what is there, so nobody can say what is gone.
        """

    def look(self, path: str) -> Looked:
        """Say what a file is now. Raises OSError, or Transient."""

    def open(self, path: str, etag: str = "", size: int | None = None) -> BinaryIO:
        """Open a file for reading and seeking, unbuffered; etag, size: as they were listed, if they are known.

        Raises OSError, or Transient; so does reading from it.
        """


def number_option(options: Options, name: str, default: int) -> int:
    """Give an option that must be a whole number.

    Raises:
        ConfigError: it is none.
    """
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"storage: {name}: write a whole number, 0 or more")
    return value


def list_local(folder: Path, globs: list[str]) -> Listing:
    """Give every local file that one of the globs matches, once; they are seen from `folder`.

    `*`, `?`, `[abc]` match within a name, `**` any number of folders (symbolic links are followed, loops are
    not). Names that start with a dot are matched only by a pattern that does too, as in a shell.

    Raises:
        ConfigError: a glob is not a local path, or is a folder.
        SourceError: a folder cannot be listed, so nobody can say what is gone.
    """
    given = [local_path(glob) for glob in globs]
    for glob, path in zip(globs, given, strict=True):
        if (folder / path).is_dir():
            raise ConfigError(f'path "{glob}" is a folder; write "{glob.rstrip("/")}/**/*" for all files below it')
    walks = [_fixed_part(folder, path) for path in given]
    root = os.path.commonpath([head for head, _ in walks])
    # A relative config stays relative in state and splits, so that its folder can be moved or mounted elsewhere.
    near = not any(os.path.isabs(path) for path in given)  # noqa: PTH117
    place = os.path.relpath(root, folder) if near else root
    prefix = "" if place == "." else place.rstrip("/") + "/"
    paths: dict[str, bool] = {}
    for head, parts in walks:
        for path, named in _walk(head, parts):
            paths[path] = paths.get(path, False) or named
    found, failed = [], []
    for path, named in paths.items():
        unit = path[len(root.rstrip("/")) + 1 :]  # pathlib and relpath are 10x slower, on a million files
        item = _look(unit, prefix + unit, path, named)
        if isinstance(item, Found):
            found.append(item)
        elif item is not None:
            failed.append(item)
    return Listing(sorted(found), sorted(failed))


def on_this_machine(glob: str) -> bool:
    """Tell a local path or glob from one of another scheme."""
    scheme, mark, _ = glob.partition("://")
    return not mark or not scheme.isalnum() or scheme == "file"


def local_path(glob: str) -> str:
    """Give the local path or glob that the config's `glob` means: plain, `~`, or file://.

    Raises:
        ConfigError: it has another scheme.
    """
    scheme, mark, rest = glob.partition("://")
    if not mark or not scheme.isalnum():
        return os.path.expanduser(glob)  # noqa: PTH111 - it may hold glob characters
    host, slash, tail = rest.partition("/")
    if scheme == "file" and slash and host in {"", "localhost"}:
        return os.fsdecode(unquote_to_bytes("/" + tail))
    raise ConfigError(f'path "{scheme}://…" is not on this machine; write a local path or file:///absolute/path')


def _fixed_part(folder: Path, glob: str) -> tuple[str, tuple[str, ...]]:
    """Cut a glob, seen from `folder`, into the absolute folder before its first wildcard, and the segments after it.

    What stands in the name of `folder` itself is no wildcard.
    """
    whole = os.path.abspath(folder / glob)  # noqa: PTH100 - lexical on purpose
    head, last = os.path.split(whole)
    segments = whole.split("/")
    given = [each for each in os.path.normpath(glob).split("/") if each not in {"", ".", ".."}]
    wild = next((i for i in range(len(segments) - len(given), len(segments)) if _is_glob(segments[i])), None)
    if wild is None or os.path.lexists(whole):  # a file may really be called "a[1].txt"
        return head, (re.escape(last),)
    parts = segments[wild:] + (["*"] if last == "**" else [])
    return "/".join(segments[:wild]) or "/", tuple(p if p == "**" else fnmatch.translate(p) for p in parts)


def _is_glob(text: str) -> bool:
    return any(char in text for char in "*?[")


def key_glob(glob: str) -> tuple[str, re.Pattern[str]]:
    """Cut a glob over the names of a store into the fixed folder ("" or ending in "/") and a pattern for what follows.

    The same rules as for local files; a name is cut at every "/", and may have empty parts.
    """
    head, segments = "", glob.split("/")
    while len(segments) > 1 and not _is_glob(segments[0]):
        head += segments.pop(0) + "/"
    if segments[-1] == "**":
        segments.append("*")
    parts = ["(?:(?:[^/.][^/]*)?/)*" if part == "**" else _key_part(part) + "/" for part in segments[:-1]]
    return head, re.compile("".join([*parts, _key_part(segments[-1])]))


def common_folder(heads: list[str]) -> str:
    """Give the longest folder ("" or ending in "/") that all of these lie in."""
    first, last = min(heads), max(heads)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, same) + 1]


def _key_part(part: str) -> str:
    """Translate one name of a glob; a wildcard in front does not match a dot."""
    out = "(?![.])" if part.startswith(("*", "?", "[")) else ""
    for piece in re.split(r"(\*+|\?|\[!?\]?[^\]]*\])", part):
        if piece.startswith("*"):
            out += "[^/]*"
        elif piece == "?":
            out += "[^/]"
        elif piece.startswith("[") and piece.endswith("]"):
            out += "(?!/)" + fnmatch.translate(piece)[4:-3]  # what stands between "(?s:" and ")\\Z"
        else:
            out += re.escape(piece)
    return out


def _walk(head: str, parts: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """Give each path that matches, and whether a folder of that name would be an odd thing to find."""
    named = "**" not in parts and re.search(r"[^:]\\\.", parts[-1]) is not None  # it asks for an extension
    todo: list[tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]] = [(head, parts, ())]
    while todo:
        folder, (part, *rest), above = todo.pop()
        if part == "**":
            here = _identity(folder)
            if here is None or here in above:  # vanished, or a link to a folder above: a loop
                continue
            inner = [entry.path for entry in _entries(folder) if not entry.name.startswith(".") and _is_folder(entry)]
            todo += [(path, (part, *rest), (*above, here)) for path in inner]
            todo.append((folder, tuple(rest), above))
            continue
        for entry in _entries(folder):
            if not _is_named(entry.name, part):
                continue
            if not rest:
                yield entry.path, named
            elif _is_folder(entry):
                todo.append((entry.path, tuple(rest), above))


def names(glob: str, folder: Path, path: str) -> bool:
    """Tell if a glob of this machine, seen from `folder`, matches the file `path` (absolute, links followed), whether it is there or not."""
    head, parts = _fixed_part(folder, local_path(glob))
    head = os.path.realpath(head).rstrip("/") + "/"
    return path.startswith(head) and _leads(path[len(head) :].split("/"), parts)


def _leads(segments: list[str], parts: tuple[str, ...]) -> bool:
    if not segments or not parts:
        return not segments and not parts
    if parts[0] == "**":
        return _leads(segments, parts[1:]) or (not segments[0].startswith(".") and _leads(segments[1:], parts))
    return _is_named(segments[0], parts[0]) and _leads(segments[1:], parts[1:])


def _is_named(name: str, part: str) -> bool:
    """Tell if a name matches one part of a glob; one that begins with a dot only where the part does too."""
    hidden = name.startswith(".") and not part.startswith(("(?s:\\.", "\\."))
    return not hidden and re.fullmatch(part, name) is not None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; as a file it is reported
        return False


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        now = os.stat(folder)  # noqa: PTH116
    except OSError:
        return None
    return now.st_dev, now.st_ino


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SourceError(
            f'folder "{printable(folder)}" cannot be listed ({error.strerror}): nobody can say which of its files are '
            "gone; allow reading it, or give a path that leaves it out"
        ) from error


def _look(unit: str, where: str, path: str, named: bool) -> Found | tuple[str, str, str] | None:
    """Give what lies at `path`: a regular file, a failure (unit, code, detail), or None for a plain folder."""
    try:
        f"{unit}{where}".encode()
    except UnicodeEncodeError:
        return printable(unit), "file.name", "the file name is not valid UTF-8; rename the file"
    try:
        now = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return unit, "file.unreadable", f"cannot be looked at: {error.strerror}"
    if stat.S_ISREG(now.st_mode):
        return Found(unit, where, now.st_size, now.st_mtime_ns)
    if stat.S_ISDIR(now.st_mode) and not named:
        return None
    return unit, "file.unreadable", "is a folder, pipe, socket or device, not a regular file"


def printable(name: str) -> str:
    """Give a file name as valid text; bytes that are not UTF-8 are shown as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
