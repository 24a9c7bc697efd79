"""The lasting files of a dataset: the verbs that everything of it is written and found with, whatever it lies on.

On a local disk they are those of `disk`, and nothing is fetched. Not here: the same verbs where the dataset lies on an object store
(`store.mirror`). Invariant: after a verb that writes the file lasts, under its name, whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from gristmill.core import access
from gristmill.store import disk


class Lying(NamedTuple):
    """A file that lies there: its path below the root, and when it was written by the clock of what it lies on."""

    relative: str
    size: int
    time_ns: int

    @property
    def name(self) -> str:
        """Its name in its folder."""
        return self.relative.rpartition("/")[2]


class Files(Protocol):
    """What a dataset's files can be asked. All paths lie below the dataset's root."""

    def write_file(self, path: Path, content: bytes) -> None:
        """Write `content` under `path`, replacing what was there in one step."""

    def create_file(self, path: Path, content: bytes) -> bool:
        """Write `content` under `path` if the name is free; give whether it was."""

    def adopt_file(self, scratch: Path, path: Path, *, mode: int = access.SHARED) -> None:
        """Give a finished scratch file its lasting name and mode."""

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""

    def remove_files(self, relative: Sequence[str]) -> None:
        """Remove some files, those that are there."""

    def remove_folder(self, folder: Path) -> None:
        """Remove all files below a folder."""

    def fetch(self, path: Path) -> Path:
        """Give `path` once what lies there is here to be read; if there is nothing, nothing is here."""

    def fetched(self, folder: Path, pattern: str) -> list[Path]:
        """Give the files right in a folder whose names match, in order, all here to be read."""

    def folders(self, folder: Path) -> list[Path]:
        """Give the folders right in a folder."""

    def sizes(self, relative: Iterable[str]) -> Mapping[str, int]:
        """Give the sizes of those of some files that are there, without reading them."""

    def lying(self, folder: Path) -> Iterator[Lying]:
        """Give all files below a folder, in no order, without reading them."""

    def share(self, path: Path) -> None:
        """Let others see a file that was written here without a verb of this interface, such as a log."""

    def refresh(self) -> None:
        """See all that others wrote until now and that decides anything."""

    def check_held(self) -> None:
        """Raise StaleError if another run has taken the dataset over."""

    def assure(self, seq: int, named: Mapping[str, str]) -> None:
        """See that files (relative path -> sha256, "" if not known) lie there as run `seq` wrote them, before a manifest names them."""

    def problems(self) -> Sequence[str]:
        """Say what keeps a dataset from being kept there."""


class LocalFiles:
    """`Files` on a local disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_file(self, path: Path, content: bytes) -> None:
        """See `Files`."""
        disk.write_file(path, content)

    def create_file(self, path: Path, content: bytes) -> bool:
        """See `Files`."""
        return disk.create_file(path, content)

    def adopt_file(self, scratch: Path, path: Path, *, mode: int = access.SHARED) -> None:
        """See `Files`."""
        disk.adopt_file(scratch, path, mode=mode)

    def remove(self, path: Path) -> None:
        """See `Files`."""
        path.unlink(missing_ok=True)

    def remove_files(self, relative: Sequence[str]) -> None:
        """See `Files`."""
        for each in relative:
            (self.root / each).unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """See `Files`."""
        shutil.rmtree(folder, ignore_errors=True)

    def fetch(self, path: Path) -> Path:
        """See `Files`."""
        return path

    def fetched(self, folder: Path, pattern: str) -> list[Path]:
        """See `Files`."""
        return sorted(folder.glob(pattern))

    def folders(self, folder: Path) -> list[Path]:
        """See `Files`."""
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def sizes(self, relative: Iterable[str]) -> Mapping[str, int]:
        """See `Files`."""
        found = {}
        for each in relative:
            with contextlib.suppress(FileNotFoundError):
                found[each] = (self.root / each).stat().st_size
        return found

    def lying(self, folder: Path) -> Iterator[Lying]:
        """See `Files`; a link is a file, whatever it leads to."""
        for at, folders, names in os.walk(folder):
            inside = [*names, *(name for name in folders if Path(at, name).is_symlink())]
            for path in (Path(at, name) for name in inside):
                with contextlib.suppress(FileNotFoundError):
                    told = path.lstat()
                    yield Lying(path.relative_to(self.root).as_posix(), told.st_size, told.st_mtime_ns)

    def share(self, path: Path) -> None:
        """See `Files`."""

    def refresh(self) -> None:
        """See `Files`."""

    def check_held(self) -> None:
        """See `Files`."""

    def assure(self, seq: int, named: Mapping[str, str]) -> None:
        """See `Files`."""

    def problems(self) -> Sequence[str]:
        """See `Files`."""
        return ()
