"""Freshness: which sources have given nothing new for longer than their config allows.

Not here: telling anybody (`engine.report`, `console`). Invariant: a label beside the records; nothing of it enters a manifest, as clocks
decide nothing about a snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from gristmill.config.settings import PipelineConfig
from gristmill.engine.report import error_entry
from gristmill.store import chain, claim
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest

SOURCE_STALE = "source.stale"


def stale(config: PipelineConfig, layout: Layout, head: Manifest) -> list[dict[str, Any]]:
    """Give an entry of a report's `errors` for each source that has been silent for too long; none before a first snapshot."""
    entries = []
    limited = [bound for bound in config.sources if bound.freshness_s is not None] if head.seq else []
    gave = last_given(layout, head, [bound.name for bound in limited])
    for bound in limited:
        assert bound.freshness_s is not None
        given = gave[bound.name]
        silent_s = int((datetime.now(UTC) - given).total_seconds()) if given is not None else None
        if silent_s is None or silent_s > bound.freshness_s:
            since = f"for {silent_s} s" if silent_s is not None else "in any snapshot"
            message = f"gave nothing new {since}, over its freshness limit of {bound.freshness_s} s; look whether it is still fed"
            entries.append(error_entry("read", bound.name, SOURCE_STALE, message, claim.now(), {"silent_s": silent_s}))
    return entries


def last_given(layout: Layout, head: Manifest, sources: Iterable[str]) -> dict[str, datetime | None]:
    """Give when the newest run was claimed in which each source gave a record that was not known; None: none did.

    It goes back as far as one of them was silent, over the heads and ends of manifests.
    """
    found: dict[str, datetime | None] = dict.fromkeys(sources)
    missing, seq = set(found), head.seq
    while seq and missing and layout.manifest(seq).exists():
        link = chain.link(layout, seq)
        by_run = not any("rolled_back_to" in entry for entry in link.lineage)
        if by_run and layout.claim(seq).exists():
            counts = chain.given(layout, seq)
            gave = {name for name in missing if name in counts and counts[name].read > counts[name].unchanged}
            if gave:
                found |= dict.fromkeys(gave, datetime.fromisoformat(claim.read_claim(layout, seq).time))
                missing -= gave
        seq = link.parent
    return found
