"""The three seams for schedulers: plan, work, commit, each in a process of its own.

Not here: the same three in one process (`engine.run`). Invariants: `work_stage` may run on many machines at once and
again and again; only `plan_stage` and `commit_stage` hold the lock; what crosses a border is a number and a name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError
from gristmill.engine import plan
from gristmill.engine.drive import Driver
from gristmill.engine.phases import Phases, Results
from gristmill.engine.run import MakeExecutor, Options, claim_next
from gristmill.engine.work import Setup, Work
from gristmill.observe.events import Events
from gristmill.store import claim, snapshot
from gristmill.store.layout import Layout


def plan_stage(config: PipelineConfig, options: Options) -> dict[str, Any]:
    """Claim a number and freeze a plan, or find the one that is open; give its number and phases.

    Returns:
        {"status": "planned", "seq", "parent", "stages": [names in order], "tasks", "bytes"}, or {"status": "nothing_new"}.
    """
    layout = Layout(Path(config.dataset))
    fingerprint = changes.fingerprint(config)
    with claim.DatasetLock(layout, options.wait_s):
        head = snapshot.head(layout)
        open_claim = claim.unfinished(layout, head.seq, fingerprint)
        frozen = (
            plan.read_plan(layout, open_claim.seq)
            if open_claim
            else claim_next(
                config, layout, head, fingerprint, plan.draft(config, layout, head, options.source, options.window)
            )
        )
    if frozen is None:
        return {"status": "nothing_new", "snapshot": head.seq or None}
    phases = Phases(_work(config, options, frozen), frozen)
    return {
        "status": "planned",
        "seq": frozen.seq,
        "parent": frozen.parent or None,
        "stages": list(phases.makers),
        "tasks": len(frozen.tasks),
        "bytes": frozen.stored_bytes,
    }


def work_stage(
    config: PipelineConfig,
    options: Options,
    seq: int,
    stage: str,
    part: int,
    parts: int,
    events: Events,
    make: MakeExecutor,
) -> dict[str, Any]:
    """Do part `part` of `parts` (counted from 1) of the jobs of one phase of run `seq`; done ones are not done again.

    Raises:
        ConfigError: there is no such plan or phase, or an earlier phase is not done.
    """
    layout = Layout(Path(config.dataset))
    if not layout.plan(seq).exists():
        raise ConfigError(f"run {seq} has no plan in {layout.root}; run `gristmill stage plan` first")
    if not 1 <= part <= parts:
        raise ConfigError(f"part {part}/{parts} is none; parts go from 1/{parts} to {parts}/{parts}")
    frozen = plan.read_plan(layout, seq)
    work = _work(config, options, frozen)
    phases = Phases(work, frozen)
    if stage not in phases.makers:
        raise ConfigError(f"there is no stage {stage!r}; run {seq} has {', '.join(phases.makers)}")
    results: Results = {}
    for name in phases.makers:
        if name == stage:
            break
        done = phases.journalled(name, results)
        if done is None:
            raise ConfigError(f"stage {name} of run {seq} is not done yet; {stage} comes after it")
        phases.take(name, done, results)
    jobs = phases.jobs(stage, results)[part - 1 :: parts]
    driver = Driver(work, make(work, 1, True), events)
    done = driver.run(stage, jobs)
    return {"status": "done", "seq": seq, "stage": stage, "part": part, "parts": parts, "tasks": len(done)}


def _work(config: PipelineConfig, options: Options, frozen: plan.Plan) -> Work:
    if frozen.config != changes.fingerprint(config):
        raise ConfigError(f"run {frozen.seq} was planned with another config; put it back, or plan again")
    return Work(
        Setup(Path(config.dataset), frozen.seq, frozen.parent, frozen.config, config.file, options.overrides, config)
    )
