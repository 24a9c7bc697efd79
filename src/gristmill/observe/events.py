"""Events: the few things a run says while it goes on, and the log file it leaves.

Not here: how they are shown (`observe.progress`). Invariant: an event holds names, numbers and codes only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol


class Events(Protocol):
    """Something that listens to a run."""

    def stage(self, name: str, tasks: int, total_bytes: int) -> None:
        """A stage begins: so many tasks over so many stored bytes (0: unknown)."""

    def task(self, name: str, done_bytes: int, rows_in: int, rows_out: int) -> None:
        """A task of the present stage is done."""

    def note(self, message: str) -> None:
        """Something a person would want to know."""

    def close(self) -> None:
        """The run is over."""


class Silent:
    """Listens and says nothing."""

    def stage(self, name: str, tasks: int, total_bytes: int) -> None:
        """Say nothing."""

    def task(self, name: str, done_bytes: int, rows_in: int, rows_out: int) -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Nothing to end."""


class RunLog:
    """Appends dated lines to a run's log file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: str) -> None:
        """Add a line (or several, of a traceback without values)."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")
