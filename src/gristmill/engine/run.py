"""The outer loop: plan, work, gate, commit, exports, report.

Not here: each of those (`plan`, `task`, `merge`, `gate`, `store.snapshot`, `exports`). Invariants: everything that
lasts is written under the dataset's lock; until the one Delta commit no reader sees anything; a run that dies anywhere
is gone on with by the next one, with the same bytes.
"""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import GateRefused, TooManyErrors, naming
from gristmill.core.failpoints import failpoint
from gristmill.engine import (
    cost,
    drift,
    ends,
    exports,
    freshness,
    gate,
    landing,
    plan,
)
from gristmill.engine.begin import Options, claim_next, draft
from gristmill.engine.candidate import Candidate, build, publish, stand
from gristmill.engine.drive import Driver, Executor
from gristmill.engine.phases import Phases, Results
from gristmill.engine.place import layout_of
from gristmill.engine.plan import Draft, Plan
from gristmill.engine.report import Report, error_entry, read_report, whole_report
from gristmill.engine.work import Setup, Work
from gristmill.observe.events import Events, RunBegins, StageBegins
from gristmill.store import claim, disk, index, snapshot
from gristmill.store.claim import Claim
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest

# Work below this is done in the process itself: starting workers would take longer.
INLINE_BYTES = 2 << 20


MakeExecutor = Callable[[Work, int, bool], Executor]


def run(
    config: PipelineConfig, options: Options, events: Events, make: MakeExecutor, drafted: Draft | None = None
) -> Report:
    """Make the next snapshot, if there is anything new. drafted: do this, and do not ask the sources.

    Raises:
        LockedError: another run holds the dataset.
        GristmillError: the run failed; nothing is published and it is safe to run again.
    """
    layout = layout_of(config)
    fingerprint = changes.fingerprint(config)
    with claim.DatasetLock(layout, options.wait_s):
        events.stage(StageBegins(name="plan"))
        head = snapshot.head(layout)
        report: Report | None = None
        dead = claim.unfinished(layout, head.seq, fingerprint)
        clear_staging(layout, dead)
        if dead is not None:
            events.note(f"going on with run {dead.seq}, which did not end")
            frozen = plan.read_plan(layout, dead.seq)
            report = _Run(config, options, events, make, head, frozen, resumed=True).go()
            head = snapshot.head(layout)
            if _is_asked_for(options, frozen):
                return report
        left_open = _left_open(layout, head)
        waiting = finish(config, layout, head, options, events, make)
        if left_open and _is_asked_for(options, plan.read_plan(layout, head.seq)):
            if waiting is not None:
                raise waiting
            return ends.late_report(layout, head)
        drafted = drafted or draft(config, layout, head, options)
        planned = claim_next(config, layout, head, fingerprint, drafted)
        if planned is None:
            if waiting is not None and report is None:
                raise waiting
            return report or ends.nothing_new(config, layout, head, drafted, events)
        return _Run(config, options, events, make, head, planned, resumed=False).go()


def _left_open(layout: Layout, head: Manifest) -> bool:
    """Tell if the run of the head died or failed after its commit: without a report, or with an export that failed."""
    if not head.seq:
        return False
    report = whole_report(
        layout, head.seq
    )  # of a damaged one nobody knows: what is asked for is done, perhaps once more
    failed = report is not None and report["status"] == "published_export_failed"
    return failed or not layout.report(head.seq).exists()


def _is_asked_for(options: Options, frozen: Plan) -> bool:
    """Tell if a run that died or failed was what is asked for, and no run like every day's: it is not to be done once more."""
    asked = (options.adopted, options.mode)
    return asked != (None, "forward") and asked == (frozen.adopted, frozen.mode)


def go_on(config: PipelineConfig, options: Options, events: Events, make: MakeExecutor, open_claim: Claim) -> Report:
    """Go on with the run a scheduler has planned, and with no other, up to `options.until`. The lock is held.

    A candidate that the gate let pass and kept is published as it is. The report's seconds begin with the plan.
    """
    layout = layout_of(config)
    clear_staging(layout, open_claim, shared=True)
    frozen = plan.read_plan(layout, open_claim.seq)
    one = _Run(config, options, events, make, snapshot.head(layout), frozen, resumed=False)
    one.started = open_claim.time
    since_s = (datetime.now(UTC) - datetime.fromisoformat(open_claim.time)).total_seconds()
    one.clock -= max(0.0, since_s)  # a clock may go back
    kept = options.until != "gate" and layout.judged(one.seq).exists()
    return one.publish_kept() if kept else one.go()


def clear_staging(layout: Layout, open_claim: Claim | None, *, shared: bool = False) -> None:
    """Remove what runs that are over left in staging, and late writers of dead ones; only the open run keeps its own.

    Not after a restart of the machine: staged files were not synced, and are not trusted then. shared: the stages of the run are worked on
    by several machines, on storage that outlives them; what another one has staged is trusted.
    """
    elsewhere = shared and open_claim is not None and open_claim.host != socket.gethostname()
    safe = open_claim is not None and (elsewhere or open_claim.boot == claim.boot_id())
    trusted = str(open_claim.seq) if open_claim is not None and safe else ""
    root = layout.staging(0).parent
    for folder in root.iterdir() if root.is_dir() else []:
        if folder.name != trusted:
            shutil.rmtree(folder, ignore_errors=True)


def finish(
    config: PipelineConfig, layout: Layout, head: Manifest, options: Options, events: Events, make: MakeExecutor
) -> Exception | None:
    """Complete what a run that died after its commit left open: exports, report, staging.

    Gives why an export could not be made: the run goes on, and tries again when it has published.
    """
    waiting = None
    if not head.seq:
        return None
    if config.exports:
        work = Work(Setup(layout.root, head.seq, head.parent, "", config.file, options.overrides, config))
        driver = Driver(work, make(work, 1, True), events)
        done = exports.reconcile(config, layout, head, lambda jobs: driver.run("exports", jobs))
        driver.executor.close()
        for name, made in done.made.items():
            if made.written:
                events.note(f"export {name} was not whole as of snapshot {head.seq}: it is repaired")
        waiting = done.waiting
        if waiting is not None:
            events.note(f"{exports.why(waiting)}; tried again after this run")
    died = not layout.report(head.seq).exists()
    ends.close(layout, head)
    if died:
        announce(events, layout, plan.read_plan(layout, head.seq), resumed=True)
        events.report(read_report(layout, head.seq))
    return waiting


def announce(events: Events, layout: Layout, planned: Plan, *, resumed: bool) -> None:
    """Tell who listens which run begins, and where its tasks write."""
    landing_folders = [layout.landing(name) / str(planned.seq) for name in planned.sources]
    begins = RunBegins(
        run=planned.seq, dataset=layout.name, claimed=claim.read_claim(layout, planned.seq).time, config=planned.config,
        code=planned.code, resumed=resumed, folders=[layout.staging(planned.seq), *landing_folders],
    )  # fmt: skip
    events.run(begins)


class _Run:
    """One run from its frozen plan to its report."""

    def __init__(
        self,
        config: PipelineConfig,
        options: Options,
        events: Events,
        make: MakeExecutor,
        head: Manifest,
        frozen: Plan,
        *,
        resumed: bool,
    ) -> None:
        self.config, self.options, self.events, self.head, self.plan, self.resumed = (
            config,
            options,
            events,
            head,
            frozen,
            resumed,
        )
        self.layout = layout_of(config)
        self.seq = frozen.seq
        setup = Setup(
            self.layout.root, self.seq, head.seq, frozen.config, config.file, options.overrides, config, frozen.adopted,
            frozen.mode,
        )  # fmt: skip
        self.work = Work(setup)
        small = frozen.stored_bytes < INLINE_BYTES or len(frozen.tasks) < 2
        small = small and not resumed  # what ended the process before may do so again: then a worker's
        self.driver = Driver(self.work, make(self.work, options.workers or config.run.workers or 0, small), events)
        self.started, self.clock, self.cpu_clock = claim.now(), time.perf_counter(), cost.cpu_s()
        announce(events, self.layout, frozen, resumed=resumed)

    def go(self) -> Report:
        try:
            return self._go()
        finally:
            self.driver.executor.close()

    def _go(self) -> Report:
        phases = Phases(self.work, self.plan)
        results: Results = {}
        for name in phases.makers:
            phases.take(name, self.driver.run(name, phases.jobs(name, results)), results)
            if name == "read" or name.startswith("stage-"):
                self._check_errors(results)
        return self._decide(build(self.work, self.plan, results, phases.tombstones()))

    def _check_errors(self, results: Results) -> None:
        """Stop when steps raise on more than the allowed share of the records (a single one is always allowed)."""
        failed = sum(result.step_errors for done in results.values() for result in done)
        read = sum(result.counts.read for result in results["read"])
        if failed > max(1, self.config.run.max_error_ratio * read):
            raise TooManyErrors(
                f"steps raised on {failed} of {read} records, over max_error_ratio {self.config.run.max_error_ratio:g}; nothing is "
                f"published. They were: {self._raised(results)}. Mend the step, and run again"
            )

    def _raised(self, results: Results) -> str:
        """Say which steps raised what, and how often."""
        told: Counter[str] = Counter()
        lasting = [self.layout.absolute(s.path) for done in results.values() for r in done for s in r.sides]
        for path in [*sorted(self.work.staged("0").glob("*.quarantine.parquet")), *lasting]:
            if "quarantine" in str(path):
                with naming(path):
                    rows = index.read_table(path, ["code", "detail"]).to_pylist()
                told.update(row["detail"] for row in rows if row["code"].startswith(("step.", "crash.")))
        return ", ".join(f"{what} ({n} times)" for what, n in told.most_common(5)) or "see the run's log"

    def _decide(self, candidate: Candidate) -> Report:
        gate.check_balance(
            candidate.manifest.counts, candidate.manifest.sources, self.head.rows, candidate.manifest.rows
        )
        accepted = frozenset(self.options.accept_gate)
        counts, sources = candidate.manifest.counts, candidate.manifest.sources
        gone_ratio = candidate.gone / self.head.rows if self.head.rows else 0.0
        verdicts = gate.judge(
            self.config.gate, counts, sources, candidate.quality, accepted, gone_ratio, self.head.states
        )
        drifted = drift.judge(self.config.gate, self.layout, candidate.manifest)
        verdicts += drift.verdicts(drifted, accepted)
        lineage = list(candidate.manifest.lineage)
        lineage += [
            {"accepted": v.rule, "value": v.value, "limit": v.limit, "why": self.options.why}
            for v in verdicts
            if v.accepted
        ]
        report = self._report(candidate, verdicts, lineage)
        report.drift, report.drift_not_judged = drifted.entries, drifted.not_judged
        report.errors += drift.warnings(drifted)
        manifest = msgspec.structs.replace(
            candidate.manifest, lineage=lineage, summary=candidate.manifest.summary | {"report": timeless(report)}
        )
        if not all(verdict.ok for verdict in verdicts):
            snapshot.write_manifest(self.layout, self.layout.candidate(self.seq), manifest)
            report.status, report.snapshot = "refused", self.head.seq or None
            shutil.rmtree(self.layout.staging(self.seq), ignore_errors=True)
            told = gate.refusal(verdicts, is_plain=self.options.is_plain)
            report.errors.append(error_entry("gate", None, "gate.refused", told, claim.now(), {"candidate": self.seq}))
            self._write(report)
            error = GateRefused(told)
            error.add_note(msgspec.json.encode(report.to_json()).decode())
            raise error
        again = self.work.redecided
        redecided = again is not None and len(again) > stand(self.work, counts)  # else what it was for cannot be read
        if self.plan.mode != "full-refresh" and not redecided and candidate.idle(self.head, replays=again is not None):
            return self._idle(report)
        if self.options.until == "gate":
            snapshot.write_manifest(self.layout, self.layout.candidate(self.seq), manifest)
            self.layout.files.write_file(self.layout.judged(self.seq), disk.to_json(report.to_json()))
            return report
        return self._publish(manifest, report)

    def publish_kept(self) -> Report:
        """Publish the candidate that was judged, let pass and kept."""
        try:
            manifest = snapshot.read_manifest(self.layout.candidate(self.seq))
            report = msgspec.json.decode(self.layout.judged(self.seq).read_bytes(), type=Report)
            return self._publish(manifest, report)
        finally:
            self.driver.executor.close()

    def _publish(self, manifest: Manifest, report: Report) -> Report:
        publish(self.work, manifest, self.head)
        clearing = threading.Thread(target=shutil.rmtree, args=(self.layout.staging(self.seq), True))
        clearing.start()  # beside the exports, which read the table: it takes as long as writing a tenth of them
        if self.options.until == "exports":
            self._export(manifest, report)
        report.errors += freshness.stale(self.config, self.layout, manifest)
        self._write(report)
        failpoint("report.written")
        for kept in (self.layout.judged(self.seq), self.layout.candidate(self.seq)):
            if kept.exists():
                self.layout.files.remove(kept)
        clearing.join()
        landing.sweep(self.layout, self.config.run.landing_days)
        failpoint("staging.removed")
        return report

    def _idle(self, report: Report) -> Report:
        """End a run that had to read to find out that there is nothing new; its number stays a gap."""
        report.snapshot = self.head.seq or None
        if report.status == "published":
            report.status = "nothing_new"
        ends.note_standing(self.events, report.warnings)
        report.errors += freshness.stale(self.config, self.layout, self.head)
        self._write(report)
        shutil.rmtree(self.layout.staging(self.seq), ignore_errors=True)
        return report

    def _export(self, manifest: Manifest, report: Report) -> None:
        done = exports.reconcile(self.config, self.layout, manifest, lambda jobs: self.driver.run("exports", jobs))
        exports.tell(done, report)

    def _report(self, candidate: Candidate, verdicts: list[gate.Verdict], lineage: list[dict[str, object]]) -> Report:
        counts, manifest = candidate.manifest.counts, candidate.manifest
        failed = sum(counts.quarantined.values())
        seconds = time.perf_counter() - self.clock
        return Report(
            run=self.seq, snapshot=self.seq, parent=self.head.seq or None, status="partial" if candidate.partial else "published", dataset=self.layout.name, counts=counts,
            balanced=counts.balanced, quality=candidate.quality_json(), dataset_rows=manifest.rows, dataset_quality_score=candidate.dataset_score,
            success_rate=1 - failed / counts.read if counts.read else 1.0, records_failed=failed,
            errors=[{**entry, "time": entry["time"] or self.started} for entry in candidate.errors],
            sources={name: msgspec.to_builtins(part) for name, part in manifest.sources.items()}, steps=candidate.steps,
            warnings=candidate.warnings, bytes_read=candidate.bytes_read, bytes_published=candidate.bytes_published,
            compression_ratio=candidate.text_bytes / candidate.bytes_published if candidate.bytes_published else 0.0,
            started=self.started, seconds=seconds, mb_per_s=candidate.bytes_read / 1e6 / seconds, peak_rss_mb=self.driver.peak_rss_mb,
            retries=self.driver.retried, resumed=self.resumed, gate=gate.as_json(verdicts), lineage=lineage,
        )  # fmt: skip

    def _write(self, report: Report) -> None:
        report.seconds = time.perf_counter() - self.clock
        report.mb_per_s = report.bytes_read / 1e6 / report.seconds
        report.cpu_seconds = cost.cpu_s() - self.cpu_clock + self.driver.cpu_s
        report.cores = self.driver.executor.slots
        cost.settle(self.config.cost, self.layout, self.plan.stored_bytes, self.plan.config, report)
        ends.write_report(self.layout, report)
        self.events.report(report.to_json())


def timeless(report: Report) -> dict[str, object]:
    """Give what of a report depends on the records alone, for the manifest."""
    names = ("balanced", "quality", "dataset_quality_score", "success_rate", "records_failed", "sources", "warnings",
             "bytes_read", "bytes_published", "compression_ratio", "gate")  # fmt: skip
    steps = [{**step, "seconds": 0.0} for step in msgspec.to_builtins(report.steps)]
    plain = report.to_json()
    errors = [{**entry, "time": ""} for entry in plain["errors"]]
    over = [entry for entry in plain["drift"] if entry["level"] != "ok"]  # a manifest holds what matters of many lines
    return {name: plain[name] for name in names} | {"steps": steps, "errors": errors, "drift": over}
