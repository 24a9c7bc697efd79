"""Ends of a run that are not the usual one: nothing was new, or it died between its commit and its report.

Not here: the usual one (`engine.run`). Invariant: such a report says what the manifest and the plan say; nothing is counted again.
"""

from __future__ import annotations

import shutil

import msgspec

from gristmill.config.settings import PipelineConfig
from gristmill.core.counts import Counts, StepCounts
from gristmill.engine import freshness
from gristmill.engine.candidate import SOURCE_FAILED
from gristmill.engine.plan import Draft
from gristmill.engine.report import Report, error_entry
from gristmill.observe.events import Events
from gristmill.store import claim, disk, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest


def nothing_new(config: PipelineConfig, layout: Layout, head: Manifest, drafted: Draft, events: Events) -> Report:
    """Report that there was nothing to do; what still cannot be opened is named, it is tried again every run."""
    errors = []
    for name, found in drafted.found.items():
        for unit, code, detail in found.failed:
            events.note(f"source {name}: {unit}: {code}: {detail}")
            errors.append(error_entry("plan", name, code, detail, claim.now(), {"origin": unit}))
    for name, why in drafted.failures.items():
        events.note(f"source {name} failed and is left out of this run: {why}")
        errors.append(error_entry("plan", name, SOURCE_FAILED, why, claim.now(), {}))
    report = Report(
        errors=errors + freshness.stale(config, layout, head),
        status="partial" if drafted.failures else "nothing_new",
        snapshot=head.seq or None,
        dataset=str(layout.root),
        dataset_rows=head.rows,
        started=claim.now(),
        sources={bound.name: msgspec.to_builtins(Counts()) for bound in config.sources},
    )
    events.report(report.to_json())
    return report


def late_report(layout: Layout, head: Manifest) -> Report:
    """Give the report of a snapshot whose run died before writing one: all but the times is in the manifest."""
    kept = head.summary["report"]
    steps = [
        StepCounts(step["name"], step["in"], step["out"], step["valid"], step["invalid"], 0.0, step["bytes"])
        for step in kept["steps"]
    ]
    fields = {name: value for name, value in kept.items() if name != "steps"}
    partial = any(entry["code"] == SOURCE_FAILED for entry in kept["errors"])
    return Report(
        **fields,
        steps=steps,
        run=head.seq,
        snapshot=head.seq,
        parent=head.parent or None,
        status="partial" if partial else "published",
        dataset=str(layout.root),
        counts=head.counts,
        dataset_rows=head.rows,
        lineage=head.lineage,
        resumed=True,
    )


def close(layout: Layout, head: Manifest) -> None:
    """Complete a run that is published: its report if it died before writing one, and what it left in staging."""
    if not layout.report(head.seq).exists():
        snapshot.sync_commit(layout)
        disk.write_file(layout.report(head.seq), disk.to_json(late_report(layout, head).to_json()))
    for kept in (layout.judged(head.seq), layout.candidate(head.seq)):
        kept.unlink(missing_ok=True)
    shutil.rmtree(layout.staging(head.seq), ignore_errors=True)
