"""A world: what a source reads, with a way to change it. The author of a source writes one for the conformance kit.

Not here: the laws a source is held to in it (`conformance`, `rehearsal`), an example (`worlds`). Invariants: a world is told by
what it holds, id -> text, and by nothing a source says; what it cannot do stands in its `Can`, in the open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from gristmill.core.find import find
from gristmill.core.references import resolve_tree
from gristmill.core.source import Source


class Can(msgspec.Struct, frozen=True, kw_only=True):
    """What a world can do; a law that needs what it cannot is left out.

    update: change the text of a record. delete: take a record away so that the source can see it: by a `tombstone`, by a
    `scan` for keys, or because it reads the `whole` again; "no": it cannot see it. late: put in a record that is older than
    the source's cursor, and is found all the same. window: read a part. resume: go on inside a split. spoil: put in a
    piece that is no record. wipe: lose more than may be lost in one run. runs: how many runs until a deletion shows.
    moving: two plans may differ in ids and ceilings (a clock or a transaction number stands in them).
    """

    update: bool = True
    delete: Literal["no", "tombstone", "scan", "whole"] = "no"
    late: bool = False
    window: bool = False
    resume: bool = False
    spoil: bool = False
    wipe: bool = False
    runs: int = 1
    moving: bool = False


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a world. rows: id -> text of what lies in it, and nothing else."""

    since: str
    until: str
    rows: dict[str, str]


class World(Protocol):
    """What a source reads, and what can be done to it. Ids are the source's own: what it gives as `key`, or else `origin`."""

    can: Can
    secret: str  # stands in the config of the source and must come out nowhere; "": it has none

    def start(self, folder: Path) -> None:
        """Bring the world up, empty or not; `folder` is its own, and the folder of the config."""
        ...

    def stop(self) -> None:
        """Take it down, whatever state it is in."""
        ...

    def config(self) -> dict[str, Any]:
        """Give the source as it stands in a config: {"files": {"path": ...}}."""
        ...

    def rows(self) -> dict[str, str]:
        """Give id -> text of all it holds now."""
        ...

    def insert(self, key: str, text: str) -> None:
        """Put a new record in. `key` is any short word of letters and digits; its id may be made from it."""
        ...

    def update(self, key: str, text: str) -> None:
        """Give a record another text."""
        ...

    def delete(self, key: str) -> None:
        """Take a record away."""
        ...

    def late(self, key: str, text: str) -> None:
        """Put in a record whose cursor lies before the greatest there is (committed late, dated back)."""
        ...

    def window(self) -> Part:
        """Give a part of what it holds: not nothing, and not all."""
        ...

    def spoil(self, mark: str) -> list[str]:
        """Put in a piece that is no record and holds `mark`; give the codes it may be rejected with."""
        ...

    def wipe(self) -> None:
        """Lose more than the source or the gate allows to be lost in one run."""
        ...


def source_of(world: World, folder: Path) -> Source:
    """Build the source of a world as a pipeline does: found by its name, made from its parameters, references resolved."""
    (part, parameters), *others = [(k, v) for k, v in world.config().items() if k != "name"]
    must(not others, f"config() must give one source, found also {[name for name, _ in others]}")
    resolved, _, _ = resolve_tree(parameters, folder)
    return msgspec.convert(resolved, find("sources", part, folder))


def must(holds: bool, sentence: str) -> None:
    """Raise an AssertionError unless it holds; unlike `assert`, also where Python runs with -O."""
    if not holds:
        raise AssertionError(sentence)


def same(found: dict[str, str], wanted: dict[str, str], when: str) -> None:
    """Compare what was made of a world with what is in it."""
    missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(key for key in wanted.keys() & found.keys() if wanted[key] != found[key])
    told = [
        f"{what} {keys[:5]}" for what, keys in (("missing", missing), ("too many", extra), ("old text", other)) if keys
    ]
    must(not told, f"{when}: {'; '.join(told)} (of {len(wanted)} records)")
