"""Freshness: which sources have given nothing new for longer than their config allows.

Not here: telling anybody (`engine.report`, `console`). Invariant: a label beside the records; nothing of it enters a manifest, as clocks
decide nothing about a snapshot.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gristmill.config.settings import PipelineConfig
from gristmill.engine.report import error_entry
from gristmill.store import claim, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest

SOURCE_STALE = "source.stale"


def stale(config: PipelineConfig, layout: Layout, head: Manifest) -> list[dict[str, Any]]:
    """Give an entry of a report's `errors` for each source that has been silent for too long; none before a first snapshot."""
    entries = []
    for bound in config.sources:
        if bound.freshness_s is None or not head.seq:
            continue
        given = last_given(layout, head, bound.name)
        silent_s = int((datetime.now(UTC) - given).total_seconds()) if given is not None else None
        if silent_s is None or silent_s > bound.freshness_s:
            since = f"for {silent_s} s" if silent_s is not None else "in any snapshot"
            message = f"gave nothing new {since}, over its freshness limit of {bound.freshness_s} s; look whether it is still fed"
            entries.append(error_entry("read", bound.name, SOURCE_STALE, message, claim.now(), {"silent_s": silent_s}))
    return entries


def last_given(layout: Layout, head: Manifest, source: str) -> datetime | None:
    """Give when the newest run was claimed in which a source gave a record that was not known; None: none did."""
    manifest = head
    while manifest.seq:
        counts = manifest.sources.get(source)
        by_run = not any("rolled_back_to" in entry for entry in manifest.lineage)
        if by_run and counts is not None and counts.read > counts.unchanged and layout.claim(manifest.seq).exists():
            return datetime.fromisoformat(claim.read_claim(layout, manifest.seq).time)
        if not manifest.parent or not layout.manifest(manifest.parent).exists():
            return None
        manifest = snapshot.read_manifest(layout.manifest(manifest.parent))
    return None
