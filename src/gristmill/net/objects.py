"""Object stores and exact HTTP addresses, for reading: which place the globs of a source mean.

Not here: this machine's files (`core.files.Local`). Invariants: one source reads one place; no message holds a secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from gristmill.core.files import Local
from gristmill.core.places import Place

Option: TypeAlias = str | int | bool


def place_for(globs: list[str], folder: Path, options: dict[str, Option]) -> Place:
    """Give the place where `globs` lie, which are seen from `folder`. options: how to reach a store."""
    return Local(folder)
