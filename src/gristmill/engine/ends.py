"""Ends of a run: its report and page are written; and those that are not the usual one: nothing was new, or it died before its report.

Not here: the usual one (`engine.run`), what stands on a page (`report`). Invariants: a late report says what the manifest and the plan
say, nothing is counted again; a page that cannot be written fails no run.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

import msgspec

from gristmill.config.settings import PipelineConfig
from gristmill.core.counts import Counts, StepCounts
from gristmill.engine import freshness
from gristmill.engine.candidate import SOURCE_FAILED, UNAVAILABLE
from gristmill.engine.drive import places_of
from gristmill.engine.plan import Draft
from gristmill.engine.report import Report, error_entry, whole_report
from gristmill.observe.events import Events
from gristmill.observe.logs import RunLog
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
    warnings = {UNAVAILABLE: len(drafted.redecided)} if drafted.redecided else {}
    note_standing(events, warnings)
    report = Report(
        errors=errors + freshness.stale(config, layout, head),
        status="partial" if drafted.failures else "nothing_new",
        snapshot=head.seq or None,
        dataset=layout.name,
        dataset_rows=head.rows,
        started=claim.now(),
        sources={bound.name: msgspec.to_builtins(Counts()) for bound in config.sources},
        warnings=warnings,
    )
    events.report(report.to_json())
    return report


def note_standing(events: Events, warnings: dict[str, int]) -> None:
    """Say of a run that publishes nothing that there were records to decide about again, which cannot be read."""
    if n := warnings.get(UNAVAILABLE):
        events.note(f"records that come out otherwise, but cannot be read again, and so stand as they are: {n:,}")


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
        dataset=layout.name,
        counts=head.counts,
        dataset_rows=head.rows,
        lineage=head.lineage,
        resumed=True,
    )


def write_report(layout: Layout, report: Report) -> None:
    """Write the report of a run durably, and its page."""
    assert report.run is not None
    plain = report.to_json()
    layout.files.write_file(layout.report(report.run), disk.to_json(plain))
    write_page(layout, plain)


def write_page(layout: Layout, plain: dict[str, Any]) -> None:
    """Write the page of a run; whatever keeps it from being written is told in the run's log and changes nothing else."""
    try:
        from gristmill.report import page  # the templates load where a run ends, not where a dataset is looked at

        page.write(layout, plain)
    except Exception as error:
        told = f"report.html could not be written; `gristmill report` tries again. {places_of(error)}"
        with contextlib.suppress(OSError):
            RunLog(layout.log, run=plain["run"]).note(told)


def close(layout: Layout, head: Manifest) -> None:
    """Complete a run that is published: its report if it died before writing one, or that is damaged, and what it left in staging."""
    report = whole_report(layout, head.seq)
    if report is None:
        snapshot.sync_commit(layout)
        write_report(layout, late_report(layout, head))
    elif not layout.page(head.seq).exists():
        write_page(layout, report)
    for kept in (layout.judged(head.seq), layout.candidate(head.seq)):
        if kept.exists():
            layout.files.remove(kept)
    shutil.rmtree(layout.staging(head.seq), ignore_errors=True)


def exported(layout: Layout, head: Manifest, made: dict[str, Any]) -> None:
    """Put into a snapshot's report what was made of exports it does not name yet: a scheduler makes them after the run."""
    plain = whole_report(layout, head.seq)
    if plain is None:
        return
    if made.keys() - plain["exports"].keys():
        plain["exports"] = made | plain["exports"]
        layout.files.write_file(layout.report(head.seq), disk.to_json(plain))
        write_page(layout, plain)
