"""Pins: names under which a snapshot is kept whole, made and taken away.

Not here: the list itself (`store.collected`), what gc keeps by it (`engine.garbage`). Invariants: a call takes one pin away at most, and
made again after a death it takes no other and ends the same; no name can be read as the number of a snapshot it does not pin.
"""

from __future__ import annotations

import re

from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError
from gristmill.store import claim, collected, formats, snapshot
from gristmill.store.layout import Layout

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # as of sources and exports


def pin(layout: Layout, seq: int, name: str | None = None, wait_s: float = 0.0) -> dict[str, int]:
    """Keep a snapshot whole until it is unpinned, under a name (its number by default); give all pins.

    Raises:
        ConfigError: it is not there or not whole, or the name is another's or cannot be one.
        FormatError: the dataset is of another format.
    """
    called = str(seq) if name is None else name
    _check_name(called)
    if called.isdecimal() and called != str(seq):
        raise ConfigError(
            f"the name {called!r} is a number, which could be taken for snapshot {called}; put a letter in"
        )
    with claim.DatasetLock(layout, wait_s):
        pins = collected.read_pins(layout)
        if pins.get(called, seq) != seq:
            raise ConfigError(
                f"the name {called!r} pins snapshot {pins[called]}; `gristmill gc --unpin {called}` first"
            )
        if not 0 < seq <= snapshot.head_seq(layout) or not layout.manifest(seq).exists():
            raise ConfigError(f"there is no snapshot {seq} in {layout.root}; `gristmill log` lists what there is")
        _check_format(layout)
        collected.check(layout, seq)
        collected.write_pins(layout, pins | {called: seq})
        return pins | {called: seq}


def unpin(layout: Layout, wanted: str, config: PipelineConfig | None = None, wait_s: float = 0.0) -> dict[str, int]:
    """Take a pin away, by its name or by its snapshot's number; give those that stay: all, where none is called so.

    A pin that is gone is no error: a call that is made again after its end was not heard of does no harm.

    Raises:
        FormatError: the dataset is of another format.
        ConfigError: it may mean several, no pin can be called so, or the config pins that snapshot.
    """
    with claim.DatasetLock(layout, wait_s):
        pins = collected.read_pins(layout)
        meant = sorted(name for name, seq in pins.items() if wanted in (name, str(seq)))
        if not meant:
            _check_name(wanted)
        if config is not None and wanted in map(str, config.retention.pinned):
            place = config.written.places.get("retention")
            raise ConfigError(
                f"{f'{place}: ' if place else ''}retention.pinned holds snapshot {wanted}; take it out of the config, gc keeps it until then"
            )
        if len(meant) > 1:  # taking the one of that name would have the same call, made again, take another
            others = " or ".join(name for name in meant if name != wanted)
            raise ConfigError(
                f"{wanted!r} may mean any of the pins {', '.join(meant)}; take one away by its name: {others}"
            )
        if meant:
            _check_format(layout)
            del pins[meant[0]]
            collected.write_pins(layout, pins)
        return pins


def _check_format(layout: Layout) -> None:
    """See that the dataset is one that this gristmill may change.

    Raises:
        FormatError: its newest snapshot is of a later format, or of an earlier one.
    """
    head = snapshot.head_seq(layout)
    if head:
        formats.check(layout.manifest(head), formats.on_disk(layout.manifest(head)))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"a pin cannot be called {name!r}: use letters, digits, '.', '_' and '-', and begin with a letter or digit (at most 100)"
        )
