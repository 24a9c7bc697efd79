"""The world of the `files` source, and the example for authors of other worlds: JSON lines in a folder.

Not here: worlds that need servers or extras (tests/conformance). Invariant: it knows what it holds from what it was told,
never from what it wrote.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gristmill.testing.world import Can, Part


class FilesWorld:
    """A folder of JSON lines files, a few records each; a changed record's file is written anew."""

    can = Can(delete="whole", spoil=True, wipe=True)
    secret = ""
    suffix = "jsonl"
    per_file = 8

    def start(self, folder: Path) -> None:
        """Begin with an empty folder."""
        self.folder = folder / "data"
        self.folder.mkdir(parents=True)
        self.files: list[dict[str, str]] = []
        self.bad: list[str] = []
        self.clock_ns = 1_700_000_000_000_000_000

    def stop(self) -> None:
        """Nothing is held open."""

    def config(self) -> dict[str, Any]:
        """Give the source's item."""
        return {"files": {"path": f"data/*.{self.suffix}", "id": "id", "text": "text"}}

    def rows(self) -> dict[str, str]:
        """Give id -> text."""
        return {key: text for file in self.files for key, text in file.items()}

    def insert(self, key: str, text: str) -> None:
        """Add a record to the last file, or begin a new one."""
        if not self.files or len(self.files[-1]) >= self.per_file:
            self.files.append({})
        self.files[-1][key] = text
        self._write(len(self.files) - 1)

    def update(self, key: str, text: str) -> None:
        """Write the record's file again."""
        at = self._file_of(key)
        self.files[at][key] = text
        self._write(at)

    def delete(self, key: str) -> None:
        """Write its file without it."""
        at = self._file_of(key)
        del self.files[at][key]
        self._write(at)

    def late(self, key: str, text: str) -> None:
        """Files know no order."""
        raise NotImplementedError

    def window(self) -> Part:
        """Files know no cursor."""
        raise NotImplementedError

    def spoil(self, mark: str) -> list[str]:
        """Put in a line that is no JSON."""
        self.bad.append(f'{{"id": "bad", "text": "{mark}')
        self._write(0)
        return ["json.syntax"]

    def wipe(self) -> None:
        """Remove every file, as a folder looks that is not mounted."""
        for at in range(len(self.files)):
            self._path(at).unlink()

    def _file_of(self, key: str) -> int:
        return next(at for at, file in enumerate(self.files) if key in file)

    def _path(self, at: int) -> Path:
        return self.folder / f"part-{at:03d}.{self.suffix}"

    def content(self, at: int) -> bytes:
        """Give the bytes of a file."""
        lines = [json.dumps({"id": key, "text": text}) for key, text in self.files[at].items()]
        return "".join(f"{line}\n" for line in [*lines, *(self.bad if at == 0 else [])]).encode()

    def _write(self, at: int) -> None:
        self._path(at).write_bytes(self.content(at))
        self.clock_ns += 1_000_000_000  # two writes within one tick of the file system's clock differ all the same
        os.utime(self._path(at), ns=(self.clock_ns, self.clock_ns))
