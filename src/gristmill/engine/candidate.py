"""The candidate: everything a run made, gathered into the manifest that the gate judges and the commit publishes.

Not here: judging (`engine.gate`), the commit itself (`store.snapshot`). Invariant: a manifest is a function of the
plan, the results and the parent; it holds no times and no machine.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.config import changes
from gristmill.core import access
from gristmill.core.batch import Int64s
from gristmill.core.counts import Counts, StepCounts, add_into
from gristmill.core.errors import naming
from gristmill.core.failpoints import failpoint
from gristmill.core.source import UnitRead
from gristmill.core.step import GlobalStep
from gristmill.engine import adopt, distributions, drift, exports, gate, merge, plan, replay
from gristmill.engine.gate import Quality
from gristmill.engine.phases import Results, left_out, units_of
from gristmill.engine.plan import Plan
from gristmill.engine.report import error_entry
from gristmill.engine.sides import QUARANTINE_SCHEMA, SIDES, SideWriter
from gristmill.engine.work import TaskResult, Work
from gristmill.store import index, snapshot
from gristmill.store.index import IDS, IndexRun
from gristmill.store.layout import FORMAT
from gristmill.store.snapshot import Manifest, Shard

ERRORS_SHOWN = 100
SOURCE_FAILED = "source.failed"
UNAVAILABLE = "refresh.unavailable"


class Candidate(msgspec.Struct, frozen=True):
    """A manifest before the gate, and what the report says beside it."""

    manifest: Manifest
    quality: Quality
    dataset_score: float | None
    steps: list[StepCounts]
    warnings: dict[str, int]
    errors: list[dict[str, Any]]
    bytes_read: int
    bytes_published: int
    text_bytes: int
    gone: int

    @property
    def partial(self) -> bool:
        """Whether a source failed and was left out."""
        return any(entry["code"] == SOURCE_FAILED for entry in self.errors)

    def idle(self, parent: Manifest, *, replays: bool = False) -> bool:
        """Whether publishing would change nothing: all that was read is as it was or still bad, and no source has moved on.

        Where records are read again of which none is in the place of its row, those that were overtaken are as they were too.
        """
        counts = self.manifest.counts
        known_or_bad = counts.unchanged + sum(counts.quarantined.values()) + (counts.superseded if replays else 0)
        known = [{name: state["knows"] for name, state in each.states.items()} for each in (self.manifest, parent)]
        return counts.read == known_or_bad and not counts.withdrawn and known[0] == known[1]

    def quality_json(self) -> dict[str, Any]:
        """Give `quality` as the report shows it."""
        q = self.quality
        return {
            "total": q.total,
            "valid": q.valid,
            "invalid": q.invalid,
            "duplicates": q.duplicates,
            "quality_score": q.quality_score,
        }


def build(work: Work, planned: Plan, done: Results, tombstones: list[str]) -> Candidate:
    """Gather what the phases of a run made."""
    head, layout = work.parent, work.layout
    results = [
        result for name, phase in done.items() if name == "read" or name.startswith("stage-") for result in phase
    ]
    merged = [
        result for name, phase in done.items() if name == "identity" or name.startswith("merge-") for result in phase
    ]
    rewritten = done["withdraw"]
    absent = left_out(planned, done)
    sources = {
        bound.name: Counts() if bound.name in absent else plan.source_rejects(planned, bound.name)
        for bound in work.config.sources
    }
    _write_failed(work, planned, absent)
    _drop_leftovers(work, done)
    steps, warnings = _tally(results, planned, sources, absent)
    total = _total(rewritten, sources)
    new = [shard for result in results for shard in result.shards]
    shards = _shards(head, rewritten) + new
    ordered = _steps(work, steps, total)
    quality = _quality(work, steps)
    removed = _withdrawn_ords(work, rewritten)
    states = _states(work, planned, units_of(done), set(absent))
    failpoint("state.written")
    described = changes.describe(work.asked)
    counted = distributions.gather(work, results, sources)
    digest = distributions.write(layout, work.seq, counted)
    own = drift.own_entry(layout, work.seq, digest, counted.sources, described)
    exported = {
        bound.name: exports.next_state(bound, layout, head, shards, removed, work.seq) for bound in work.config.exports
    }
    if stand(work, total):
        warnings[UNAVAILABLE] = stand(work, total)
    summed = {} if work.afresh else head.summary
    score_before = summed.get("dataset_valid", 0), summed.get("dataset_total", 0)
    counted_before = work.redecided is not None  # what was read again is in the score already
    valid = score_before[0] + (0 if counted_before else quality.valid)
    judged = score_before[1] + (0 if counted_before else quality.total)
    summary = {
        "indexes": sorted(
            {merge.index_name(bound) for bound in work.config.steps if isinstance(bound.step, GlobalStep)}
        ),
        "dataset_valid": valid,
        "dataset_total": judged,
        "distributions": drift.history(work.config, layout, head, own),
    }
    manifest = Manifest(
        FORMAT,
        work.seq,
        head.seq,
        shards,
        _index(work, merged),
        [*head.tombstones, *tombstones],
        {**head.states, **states},
        head.promotions,
        exported,
        total,
        sources,
        summary,
        planned.config,
        planned.code,
        described,
        _lineage(work, planned, described, total),
    )
    return Candidate(
        manifest,
        quality,
        valid / judged if judged else None,
        ordered,
        warnings,
        _left_out(absent) + _errors(work, planned, results),
        sum(result.bytes_read for result in results),
        sum(shard.bytes for shard in new),
        sum(shard.text_bytes for shard in new),
        sum(result.extra["gone"] for result in rewritten),
    )


def _tally(
    results: list[TaskResult], planned: Plan, sources: dict[str, Counts], absent: dict[str, str]
) -> tuple[dict[str, StepCounts], dict[str, int]]:
    """Add what the tasks counted to their sources; give the counts of the steps, and the warnings."""
    steps: dict[str, StepCounts] = {}
    warnings: dict[str, int] = {}
    for name, doing in planned.sources.items():
        add_into(warnings, {} if name in absent else doing.warnings)
    for result in results:
        sources[result.source].add(result.counts)
        add_into(warnings, result.warnings)
        for step in result.steps:
            steps.setdefault(step.name, StepCounts(name=step.name)).add(step)
    return steps, warnings


def _total(rewritten: list[TaskResult], sources: dict[str, Counts]) -> Counts:
    """Add what was withdrawn to its sources, and sum them all."""
    total = Counts()
    for result in rewritten:
        total.withdrawn += result.counts.withdrawn
        for name, n in result.by_source.items():
            sources.setdefault(name, Counts()).withdrawn += n
    for part in sources.values():
        total.add(msgspec.structs.replace(part, withdrawn=0))
    return total


def publish(work: Work, manifest: Manifest, head: Manifest) -> None:
    """Write the manifest, then make it visible by the one Delta commit."""
    work.layout.files.assure(work.seq, _named_anew(manifest, head))
    digest = snapshot.write_manifest(work.layout, work.layout.manifest(work.seq), manifest)
    failpoint("manifest.written")
    snapshot.commit(work.layout, manifest, digest, head)


def _named_anew(manifest: Manifest, head: Manifest) -> dict[str, str]:
    """Give the files that no snapshot before has named, with their sha256 where it is not in the name or not known."""
    known = {shard.path for shard in head.shards} | {run.path for run in head.index} | set(head.tombstones)
    named = {shard.path: "" for shard in manifest.shards} | dict.fromkeys(manifest.tombstones, "")
    named |= {run.path: run.sha256 for run in manifest.index}
    named |= {state["path"]: state["sha256"] for state in manifest.states.values() if state not in head.states.values()}
    return {path: digest for path, digest in named.items() if path not in known}


def _lineage(work: Work, planned: Plan, described: dict[str, Any], total: Counts) -> list[dict[str, Any]]:
    """Say what no record shows: what changed in the config, and what was done about it; what was adopted or retried."""
    changed = changes.changes(work.parent.pipeline, described) if work.parent.seq else []
    lineage: list[dict[str, Any]] = [{"config_changed": text} for text in changed]
    if changed or planned.mode != "forward":
        lineage.append({"mode": planned.mode, "stand": stand(work, total)})
    if planned.adopted is not None:
        lineage.append(adopt.entry(planned.adopted))
    if planned.retried:
        lineage.append({"retried": planned.retried})
    return lineage


def stand(work: Work, total: Counts) -> int:
    """Give how many records stand as they were that were to be decided about again."""
    if work.redecided is not None:
        return int((~np.isin(work.redecided, merge.load_withdrawn(work)[0])).sum())
    return work.parent.rows - total.withdrawn if work.afresh else 0


def _index(work: Work, merged: list[TaskResult]) -> list[IndexRun]:
    """Give all runs of all indexes: a merge hands back every run its bucket has now."""
    buckets: dict[tuple[str, int], list[IndexRun]] = {}
    for run in work.parent.index:
        if not work.afresh or run.fingerprint in (IDS, replay.ORDER):
            buckets.setdefault((run.fingerprint, run.bucket), []).append(run)
    for result in merged:
        made: dict[tuple[str, int], list[IndexRun]] = {}
        for run in result.index:
            made.setdefault((run.fingerprint, run.bucket), []).append(run)
        buckets |= made
    return [run for key in sorted(buckets) for run in buckets[key]]


def _shards(head: Manifest, rewritten: list[TaskResult]) -> list[Shard]:
    instead = {result.extra["replaces"]: result.shards for result in rewritten if result.extra["changed"]}
    return [shard for old in head.shards for shard in instead.get(old.path, [old])]


def _withdrawn_ords(work: Work, rewritten: list[TaskResult]) -> Int64s:
    """Give the ords that really left the table, sorted."""
    sides = [work.layout.absolute(side.path) for result in rewritten for side in result.sides]
    columns = [np.zeros(0, np.int64)]
    for path in sides:
        with naming(path):
            columns.append(index.read_table(path, ["ord"])["ord"].to_numpy())
    return np.sort(np.concatenate(columns))


def _quality(work: Work, steps: dict[str, StepCounts]) -> Quality:
    judged = steps.get(work.config.require.name, StepCounts(name=work.config.require.name))
    equal = gate.count_equal(sorted(work.staged(str(work.stages - 1)).glob("*.hashes.npy")))
    valid = judged.rows_out - equal
    return Quality(judged.rows_in, valid, judged.rows_in - valid, equal)


def _steps(work: Work, steps: dict[str, StepCounts], total: Counts) -> list[StepCounts]:
    """Give the steps in their order, GlobalSteps with what they let through; valid: what came out."""
    ordered = []
    names = [step.name for source in work.config.sources for step in source.steps]
    names += [bound.name for bound in work.config.steps] + [work.config.require.name]
    after = {bound.name: i for i, bound in enumerate(work.config.steps)}
    for name in dict.fromkeys(names):
        step = steps.get(name, StepCounts(name=name))
        if name in {bound.name for bound in work.globals}:
            following = [bound.name for bound in work.config.steps[after[name] + 1 :]] + [work.config.require.name]
            step.rows_out = steps[following[0]].rows_in if following[0] in steps else 0
            step.invalid = total.duplicates.get(name, 0)
            step.rows_in = step.rows_out + step.invalid
        step.valid = step.rows_out
        ordered.append(step)
    return ordered


def _states(work: Work, planned: Plan, units: dict[str, list[UnitRead]], absent: set[str]) -> dict[str, dict[str, str]]:
    """Give where the next state of each source lies; one that was left out keeps the parent's."""
    return {
        bound.name: plan.write_state(work, planned, bound.name, units.get(bound.name, []))
        for bound in work.config.sources
        if bound.name not in absent
    }


def _write_failed(work: Work, planned: Plan, absent: dict[str, str]) -> None:
    """Quarantine the units that could not even be opened."""
    rows = [
        {"source": name, "origin": unit, "step": "plan", "code": code, "detail": detail, "bytes": 0}
        for name, doing in planned.sources.items()
        if name not in absent
        for unit, code, detail in doing.failed
    ]
    if rows:
        side = SideWriter(work.staging / "sides" / "plan.quarantine", "quarantine")
        side.write(pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA).to_batches()[0])
        side.close()
        work.layout.files.adopt_file(side.path, work.layout.side(work.seq, "quarantine", "plan"), mode=access.PRIVATE)


def _left_out(absent: dict[str, str]) -> list[dict[str, Any]]:
    """Give an entry for each source that failed and was left out."""
    failed = sorted((name, why) for name, why in absent.items() if why != plan.NOT_ASKED)
    return [error_entry("read", name, SOURCE_FAILED, why, "", {}) for name, why in failed]


def _drop_leftovers(work: Work, done: Results) -> None:
    """Remove the side files that no result names: of tries that died, and saw other units fail.

    All who gather the same run see the same results, as the first one noted down counts: nobody takes away what another names.
    """
    layout = work.layout
    named = {side.path for phase in done.values() for result in phase for side in result.sides}
    for kind in SIDES:
        of_plan = layout.side(work.seq, kind, "plan")
        lying = [each.relative for each in layout.files.lying(of_plan.parent)]
        layout.files.remove_files([path for path in lying if path not in named and path != layout.relative(of_plan)])


def _errors(work: Work, planned: Plan, results: list[TaskResult]) -> list[dict[str, Any]]:
    """Give the first quarantined things with their places, for the report."""
    paths = [
        (result.source, work.layout.absolute(s.path))
        for result in results
        for s in result.sides
        if s.kind == "quarantine"
    ]
    failed = work.layout.side(work.seq, "quarantine", "plan")
    if failed.exists():
        paths.append(("", failed))
    entries: list[dict[str, Any]] = []
    for _, path in paths:
        if len(entries) >= ERRORS_SHOWN:
            break
        with naming(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            first = next(
                file.iter_batches(ERRORS_SHOWN - len(entries), use_threads=False), None
            )  # there may be millions
        for row in first.to_pylist() if first is not None else []:
            context = {"origin": row["origin"], "id": row["id"], "bytes": row["bytes"]}
            entries.append(error_entry(row["step"], row["source"], row["code"], row["detail"] or "", "", context))
    return entries
