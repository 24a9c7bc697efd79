"""The seams of a run for schedulers: plan, work, gate, commit, each in a process of its own.

Not here: the same in one process (`engine.run`). Invariants: `work_stage` may run on many machines at once and again and
again; the others hold the lock for as long as they last; each may be done again after any death, and after the run is
over tells how it ended; what crosses a border is a number and a name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError, GateRefused
from gristmill.engine import ends, phases, plan
from gristmill.engine.begin import Options, claim_next
from gristmill.engine.drive import Driver
from gristmill.engine.phases import Phases, Results
from gristmill.engine.place import layout_of
from gristmill.engine.report import Report, read_report
from gristmill.engine.run import INLINE_BYTES, MakeExecutor, clear_staging, finish, go_on
from gristmill.engine.work import Setup, Work
from gristmill.observe.events import Events
from gristmill.store import claim, snapshot
from gristmill.store.claim import Claim
from gristmill.store.layout import Layout


def stages(config: PipelineConfig) -> list[str]:
    """Give the names of the stages a run of this config goes through, in order."""
    return phases.names(Work(Setup(Path(config.dataset), 0, 0, "", config.file, [], config)))


def plan_stage(config: PipelineConfig, options: Options, events: Events, make: MakeExecutor) -> dict[str, Any]:
    """Claim a number and freeze a plan, or find the one that is open; give its number and phases.

    What a run that died after its commit left open is done first, as every run does.

    Returns:
        {"status": "planned", "seq", "parent", "stages": [names in order], "tasks", "bytes"}, or the status of a report when
        nothing is new ("nothing_new"; "partial" where a source failed and was left out) with "snapshot".
    """
    layout = layout_of(config)
    fingerprint = changes.fingerprint(config)
    with claim.DatasetLock(layout, options.wait_s):
        head = snapshot.head(layout)
        open_claim = claim.unfinished(layout, head.seq, fingerprint)
        clear_staging(layout, open_claim, shared=True)
        if open_claim is not None:
            frozen = plan.read_plan(layout, open_claim.seq)
        else:
            finish(config, layout, head, options, events, make)
            drafted = plan.draft(config, layout, head, options.source, options.window)
            claimed = claim_next(config, layout, head, fingerprint, drafted)
            if claimed is None:
                report = ends.nothing_new(config, layout, head, drafted, events)
                return {"status": report.status, "snapshot": report.snapshot}
            frozen = claimed
    return {
        "status": "planned",
        "seq": frozen.seq,
        "parent": frozen.parent or None,
        "stages": phases.names(_work(config, options, frozen)),
        "tasks": len(frozen.tasks),
        "bytes": frozen.stored_bytes,
    }


def work_stage(
    config: PipelineConfig,
    options: Options,
    seq: int,
    stage: str,
    part: tuple[int, int],
    events: Events,
    make: MakeExecutor,
) -> dict[str, Any]:
    """Do part (i, n), counted from 1, of the jobs of one phase of run `seq`; done ones are not done again.

    Raises:
        ConfigError: there is no such plan or phase, or an earlier phase is not done.
    """
    layout = layout_of(config)
    this, parts = part
    if not layout.plan(seq).exists():
        raise ConfigError(f"run {seq} has no plan in {layout.name}; run `gristmill stage plan` first")
    told: dict[str, Any] = {"status": "done", "seq": seq, "stage": stage, "part": this, "parts": parts}
    if snapshot.head_seq(layout) == seq or _ended(layout, seq) is not None:
        return told | {"tasks": 0}
    if not 1 <= this <= parts:
        raise ConfigError(f"part {this}/{parts} is none; parts go from 1/{parts} to {parts}/{parts}")
    frozen = plan.read_plan(layout, seq)
    work = _work(config, options, frozen)
    _open(config, layout, snapshot.head_seq(layout), seq)
    every = Phases(work, frozen)
    if stage not in every.makers:
        raise ConfigError(f"there is no stage {stage!r}; run {seq} has {', '.join(every.makers)}")
    results: Results = {}
    for name in every.makers:
        if name == stage:
            break
        done = every.journalled(name, results)
        if done is None:
            raise ConfigError(f"stage {name} of run {seq} is not done yet; {stage} comes after it")
        every.take(name, done, results)
    jobs = every.jobs(stage, results)[this - 1 :: parts]
    workers = options.workers or 1
    driver = Driver(work, make(work, workers, workers == 1 or frozen.stored_bytes < INLINE_BYTES), events)
    try:
        return told | {"tasks": len(driver.run(stage, jobs))}
    finally:
        driver.executor.close()


def settle_stage(config: PipelineConfig, options: Options, seq: int, events: Events, make: MakeExecutor) -> Report:
    """Do what is left of run `seq` up to `options.until`: judged and kept, published, or exported too.

    Raises:
        ConfigError: the run is not open, or failed for good.
        GateRefused: the candidate is refused, now or before.
    """
    layout = layout_of(config)
    with claim.DatasetLock(layout, options.wait_s):
        head = snapshot.head(layout)
        if head.seq == seq and options.until == "exports":
            finish(config, layout, head, options, events, make)
        elif head.seq == seq:
            ends.close(layout, head)
        report = _ended(layout, seq)
        if report is not None:
            return report
        open_claim = _open(config, layout, head.seq, seq)
        return go_on(config, options, events, make, open_claim)


def _open(config: PipelineConfig, layout: Layout, head: int, seq: int) -> Claim:
    found = claim.unfinished(layout, head, changes.fingerprint(config))
    if found is None or found.seq != seq:
        raise ConfigError(
            f"run {seq} is not open under this config (newest snapshot: {head}); run `gristmill stage plan`"
        )
    return found


def _ended(layout: Layout, seq: int) -> Report | None:
    """Give the report of a run that is over; None while it is open. One that did not end well is told as it was."""
    if not layout.report(seq).exists():
        return None
    report = msgspec.convert(read_report(layout, seq), Report)
    told = "; ".join(entry["message"] for entry in report.errors if entry["stage"] in {"gate", "run"})
    if report.status == "refused":
        raise GateRefused(told)
    if report.status == "failed":
        raise ConfigError(f"run {seq} failed for good ({told}); run `gristmill stage plan` for a new one")
    return report


def _work(config: PipelineConfig, options: Options, frozen: plan.Plan) -> Work:
    if frozen.config != changes.fingerprint(config):
        raise ConfigError(f"run {frozen.seq} was planned with another config; put it back, or plan again")
    return Work(
        Setup(
            Path(config.dataset),
            frozen.seq,
            frozen.parent,
            frozen.config,
            config.file,
            options.overrides,
            config,
            frozen.adopted,
            frozen.mode,
        )
    )
