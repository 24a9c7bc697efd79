"""What gc leaves behind of an old snapshot: the word that its bytes are gone; and the pins that keep one whole.

Not here: which snapshots go (`engine.garbage`). Invariants: a snapshot is marked, durably, before its first file goes, so that nobody
takes what is missing for damage; a mark is never taken back; manifest, report and verdicts of a marked snapshot stay.
"""

from __future__ import annotations

import contextlib

import msgspec

from gristmill.core.errors import ConfigError, StoreError
from gristmill.store import claim, disk, formats
from gristmill.store.layout import FORMAT, Layout


class Collected(msgspec.Struct, frozen=True):
    """The content of `collected.json`."""

    format: int
    seq: int
    time: str


class Pins(msgspec.Struct, frozen=True):
    """The content of `pins.json`: name -> snapshot."""

    format: int = FORMAT
    pins: dict[str, int] = {}


def mark(layout: Layout, seq: int) -> None:
    """Say that files of a run are about to go; said once."""
    layout.files.create_file(layout.collected(seq), disk.to_json(Collected(FORMAT, seq, claim.now())))


def when(layout: Layout, seq: int) -> str | None:
    """Give when gc collected a run, None if it did not.

    Raises:
        StoreError: the mark is damaged or of an unknown format.
    """
    try:
        content = layout.collected(seq).read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = msgspec.json.decode(content, type=Collected)
    except msgspec.DecodeError as error:
        raise StoreError(f"{layout.collected(seq)} is damaged ({type(error).__name__}); gc wrote it; remove it, and run gc again") from error  # fmt: skip
    formats.check(layout.collected(seq), found.format, oldest=1)
    return found.time


def check(layout: Layout, seq: int) -> None:
    """Refuse to read the rows of a snapshot that gc collected.

    Raises:
        ConfigError: they are gone.
    """
    time = when(layout, seq)
    if time is not None and not layout.manifest(seq).exists():
        raise ConfigError(
            f"run {seq} was not published, and gc removed on {time} what was kept of it; retention.grace says for how long that is"
        )
    if time is not None:
        raise ConfigError(
            f"snapshot {seq} was collected by gc on {time}: its manifest, report and verdicts are kept, its rows are not; "
            "`gristmill log` shows which snapshots are whole, `gristmill gc --pin SEQ` keeps one"
        )


def read_pins(layout: Layout) -> dict[str, int]:
    """Give the pinned snapshots by name.

    Raises:
        StoreError: the list is damaged or of an unknown format.
    """
    content = b"{}"
    with contextlib.suppress(FileNotFoundError):
        content = layout.pins.read_bytes()
    try:
        found = msgspec.json.decode(content, type=Pins)
    except msgspec.DecodeError as error:
        raise StoreError(f"{layout.pins} is damaged ({type(error).__name__}); restore it, or remove it and pin again") from error  # fmt: skip
    formats.check(layout.pins, found.format, oldest=1)
    return found.pins


def write_pins(layout: Layout, pins: dict[str, int]) -> None:
    """Write the list of pins, in one step."""
    layout.files.write_file(layout.pins, disk.to_json(Pins(pins=pins)))
