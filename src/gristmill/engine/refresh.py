"""A full refresh: what is read again so that all records are decided about anew, in one run.

It is a run like any other, which also reads what it has read before: the units that sources still list, and the pages that earlier runs
landed. Units that are as they were when they were last read are replays (`engine.replay`); those whose source has been described
otherwise since then are read as if they had changed. What was adopted stands, also where a source of the config lists it: it went past
the steps. The indexes of GlobalSteps begin anew. Not here: what a replay is to an id
(`engine.replay`), reading (`engine.task`). Invariants: nothing is written here but staged files; rows that cannot be read again stand as
they are, and own in the new indexes what their published text says.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import Any

import msgspec
import pyarrow.parquet as pq

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.errors import SourceError
from gristmill.core.source import PlanContext, SourcePlan, Split
from gristmill.engine import landing, merge, observed, plan
from gristmill.engine.described import Told
from gristmill.engine.plan import Draft, Replay
from gristmill.engine.work import Work
from gristmill.store import chain
from gristmill.store.index import contains
from gristmill.store.layout import Layout
from gristmill.store.rows import read_shard
from gristmill.store.snapshot import Manifest

TRIES = 3  # of planning, while files come and go


def draft(config: PipelineConfig, layout: Layout, head: Manifest, called: str = "full refresh") -> Draft:
    """Ask every source for what is new, and for all there is; writes nothing. called: what it is for, in messages.

    Raises:
        SourceError: a source fails, even one that may be left out of other runs; or files keep changing while it is asked.
    """
    now = {source["name"]: source for source in changes.describe(config)["sources"]}
    told = Told(layout)
    states = {bound.name: plan.read_state(layout, head, bound.name) for bound in config.sources}
    read = [bound.name for bound in config.sources if not bound.source.LANDED]
    adopted = {name: told.adopted(name, states[name]) for name in read}
    forget = {name: told.otherwise(name, now[name], states[name]) - adopted[name] for name in read}
    standing = chain.standing(layout, head)
    for _ in range(TRIES):
        drafted = plan.draft(config, layout, head, forget=forget)
        for name, why in drafted.failures.items():
            raise SourceError(f"source {name} failed, and a {called} leaves no source out: {why}")
        replays = {}
        for bound in config.sources:
            if bound.source.LANDED:
                replays[bound.name] = _landed(layout, bound.name, standing)
                continue
            whole = plan.ask(bound, None, PlanContext(config.folder), config.run.retries)
            if not whole.listing.equals(drafted.found[bound.name].listing):
                break
            replays[bound.name] = _units(whole, drafted.found[bound.name], adopted[bound.name])
        else:
            return msgspec.structs.replace(drafted, mode="full-refresh", replays=replays) if head.seq else drafted
    raise SourceError(f"files keep changing while a {called} is planned; run it again when they do not")


def _units(whole: SourcePlan, news: SourcePlan, adopted: set[str]) -> list[Replay]:
    """Give the splits of all there is, without the units that are read as news, and those that went past the steps."""
    others = adopted.union(*(split.units for split in news.splits))
    found = []
    for split in whole.splits:
        leave = [unit for unit in split.units if unit in others]
        if len(leave) < len(split.units):
            found.append(Replay(msgspec.structs.replace(split, fresh=False), "units", leave))
    return found


def _landed(layout: Layout, source: str, standing: set[int]) -> list[Replay]:
    """Give what runs that stand have landed of a source and is still kept, a split for each of their tasks."""
    found = []
    for (run, task), parts in landing.landings(layout, source, standing).items():
        name = hashlib.blake2b(f"{source}/{run}/{task}".encode(), digest_size=16).hexdigest()
        stored = sum(part.stat().st_size for part in parts)
        found.append(Replay(Split(name, {"run": run, "task": task}, [], stored, fresh=False), "landing"))
    return found


def observe_standing(work: Work) -> None:
    """Let every GlobalStep observe the rows of the parent that stand as they are, by their published text."""
    with ExitStack() as stack:
        barriers = [
            (
                bound.step,
                stack.enter_context(
                    observed.ObservedWriter(work.staged(f"{stage}/stand.keys.arrow"), observed.OBSERVED)
                ),
            )
            for stage, bound in enumerate(work.globals)
        ]
        for shard in work.parent.shards if barriers else []:
            ords, _ = merge.load_withdrawn(work, shard.first_ord, shard.last_ord + 1)
            if len(ords) == shard.rows:
                continue
            for rows in read_shard(work.layout, shard):
                stand = rows.filter(~contains(ords, rows.column("ord").to_numpy()))
                for step, out in barriers:
                    if stand.num_rows:
                        out.write(observed.observe(step, Batch(stand.select(RECORD_SCHEMA.names)), work.seq))


def records(config: PipelineConfig, layout: Layout, head: Manifest) -> int:
    """Give how many records a full refresh would read again, as far as that is known: what units gave last, and what is landed."""
    total, told = 0, Told(layout)
    for bound in config.sources:
        if bound.source.LANDED:
            parts = landing.landings(layout, bound.name, chain.standing(layout, head)).values()
            total += sum(pq.read_metadata(part).num_rows for each in parts for part in each)
            continue
        state = plan.read_state(layout, head, bound.name)
        known: list[dict[str, Any]] = []
        if state is not None and state.units is not None:
            known = state.units.select(["unit", "ords", "status"]).to_pylist()
        adopted = told.adopted(bound.name, state)
        for unit in known:  # nobody knows what a file holds that was quarantined whole: one thing, as it was counted
            if unit["unit"] not in adopted:
                total += sum(each["hi"] - each["lo"] for each in unit["ords"] or []) or unit["status"] == "bad"
    return total
