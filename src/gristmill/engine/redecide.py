"""Redeciding: thresholds of filters again over stored signals, and only the records that come out otherwise are read again.

Every filter's signals are stored for each record that reached it, so which records a changed threshold moves is known without their
texts: those that fall are withdrawn, those that now pass are read again and go through all steps (`engine.replay`). Exact only where
nothing but thresholds changed, and no GlobalStep stands behind them: whom such a step keeps out would change too. Not here: reading
again (`engine.refresh`, `engine.task`). Invariants: the outcome is that of a full refresh; what cannot be redecided is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.config import changes
from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import Int64s, UInt64s
from gristmill.core.errors import ConfigError
from gristmill.core.step import BoundStep, Filter, GlobalStep
from gristmill.engine import observed, plan, refresh
from gristmill.engine.identity import current_ords, unique_keys
from gristmill.engine.plan import Draft, Replay
from gristmill.kernels.columns import hash_columns
from gristmill.store import index
from gristmill.store.index import IDS, Bucket
from gristmill.store.layout import Layout
from gristmill.store.rows import named, read_shard
from gristmill.store.snapshot import EMPTY, Manifest, read_manifest

Json = dict[str, Any]
_OUT = ("drop", "duplicate", "quarantine")
_NAMED = pa.schema([("ord", pa.int64()), ("id", pa.string())])
_WAY_OUT = "`gristmill run --full-refresh` reads all records again and decides about them anew"


def draft(config: PipelineConfig, layout: Layout, head: Manifest) -> Draft:
    """Find what is new, and what thresholds that changed move; writes nothing.

    Raises:
        ConfigError: something else changed, or the stored signals do not tell.
        SourceError: a source fails.
    """
    if not head.seq:
        return refresh.draft(config, layout, head)
    moved = _Moved(config, layout, head).records()
    if not moved.num_rows:  # so that it can be called again
        return msgspec.structs.replace(plan.draft(config, layout, head), mode="redecide")
    drafted = refresh.draft(config, layout, head, "redecision")
    units = _units(layout, head, moved, config)
    replays = {
        bound.name: drafted.replays[bound.name]
        if bound.source.LANDED
        else [_only(bound.name, each, units) for each in drafted.replays[bound.name]]
        for bound in config.sources
    }
    kept = {name: [each for each in many if each is not None] for name, many in replays.items()}
    return msgspec.structs.replace(drafted, mode="redecide", replays=kept, redecided=moved["ord"].to_pylist())


def records(config: PipelineConfig, layout: Layout, head: Manifest) -> int | str:
    """Give how many records would be decided about otherwise, or why that cannot be told."""
    try:
        return len(_Moved(config, layout, head).records())
    except ConfigError as error:
        return "; ".join(error.problems)


class _Moved:
    """Which records the filters of now decide about otherwise than the runs since the last full refresh did."""

    def __init__(self, config: PipelineConfig, layout: Layout, head: Manifest) -> None:
        self.config, self.layout, self.head = config, layout, head
        self.runs = list(_since_refresh(layout, head))
        now = changes.describe(config)
        common = [*config.steps, config.require]
        behind = [i for i, bound in enumerate(config.steps) if isinstance(bound.step, GlobalStep)]
        barred = (
            f"a step that compares all records stands behind it ({config.steps[behind[-1]].name})" if behind else ""
        )
        problems: list[str] = []
        # (source or "", name of the step) -> the step, of filters whose thresholds changed since one of the runs
        self.changed: dict[tuple[str, str], BoundStep] = {}
        for run in self.runs:
            then = run.pipeline
            before = {source["name"]: source for source in then["sources"]}
            for bound, told in zip(config.sources, now["sources"], strict=True):
                was = before.get(bound.name)
                if was is None:
                    continue
                if {**was, "steps": []} != {**told, "steps": []}:
                    problems.append(f"source {bound.name} was changed")
                found = _changed(bound.steps, was["steps"], told["steps"], problems)
                problems += [f"{one.name}: {barred}" for one in found if behind]
                self.changed |= {(bound.name, one.name): one for one in found}
            found = _changed(common, [*then["steps"], then["require"]], [*now["steps"], now["require"]], problems)
            problems += [f"{one.name}: {barred}" for one in found if behind and common.index(one) < behind[-1]]
            self.changed |= {("", one.name): one for one in found}
        if problems:
            raise ConfigError(*(f"--redecide: {told}; {_WAY_OUT}" for told in dict.fromkeys(problems)))

    def records(self) -> pa.Table:
        """Give (ord, id) of the records that come out otherwise, by ord.

        Of an id only the record that is current counts: runs also measured what then was superseded, or was as it had been.

        Raises:
            ConfigError: a signal that a threshold looks at was not stored.
        """
        dead = index.read_tombstones(self.layout, self.head.tombstones)
        moved = self._named(self._measured(dead))
        current = [
            current_ords(keys, entries, dead) for keys, entries in _entries_of(self.layout, self.head, moved["id"])
        ]
        stands = index.contains(np.unique(np.concatenate([np.zeros(0, np.int64), *current])), moved["ord"].to_numpy())
        return moved.filter(pa.array(stands))

    def _measured(self, dead: index.Tombstones) -> Int64s:
        """Give the ords of what a run since the last full refresh measured and would decide about otherwise now, sorted."""
        found = [np.zeros(0, np.int64)]
        for run in self.runs:
            for (source, name), bound in self.changed.items():
                old = _as_was(run.pipeline, source, bound)
                if old is None or old == bound.step:
                    continue
                new, n = cast("Filter", bound.step), 0
                for ords, signals in self._signals(run.seq, name):
                    moved = ords[_moved(old, new, signals, len(ords))]
                    found.append(moved[~dead.dead(moved)])
                    n += len(ords)
                if n < _judged(run, name):  # the step had no limit then that has it measured
                    _moved(old, new, {}, 0)
        return np.unique(np.concatenate(found))

    def _signals(self, seq: int, step: str) -> Iterator[tuple[Int64s, dict[str, Any]]]:
        """Give what a step measured in a run, a file of it at a time."""
        for path in self.layout.files.fetched(self.layout.run(seq) / "signals", "*.parquet"):
            with named(self.layout, path):
                table = pq.read_table(path, filters=[("step", "=", step)])
            names = table["signal"].unique().to_pylist()
            ords = np.unique(table["ord"].to_numpy())
            signals = {}
            for name in names:
                rows = table.filter(pc.equal(table["signal"], name))
                values = np.full(len(ords), np.nan)
                values[np.searchsorted(ords, rows["ord"].to_numpy())] = rows["value"].to_numpy()
                signals[name] = values
            if len(ords):
                yield ords, signals

    def _named(self, ords: Int64s) -> pa.Table:
        """Give (ord, id) of records, by ord: of published ones, and of those that a verdict names."""
        found = [_NAMED.empty_table()]
        for shard in self.head.shards:
            if np.diff(np.searchsorted(ords, [shard.first_ord, shard.last_ord + 1]))[0]:
                for rows in read_shard(self.layout, shard, ["id", "ord"]):
                    hit = index.contains(ords, rows.column("ord").to_numpy())
                    found.append(_pairs(rows, hit))
        for run in self.runs if len(ords) else []:
            for path in self.layout.files.fetched(self.layout.run(run.seq) / "verdicts", "*.parquet"):
                with named(self.layout, path):
                    table = index.read_table(path, ["ord", "id", "action"])
                hit = index.contains(ords, table["ord"].to_numpy())
                found.append(_pairs(table, hit & pc.is_in(table["action"], pa.array(_OUT)).to_numpy()))
        pairs = pa.concat_tables(found)
        return pairs.take(np.unique(pairs["ord"].to_numpy(), return_index=True)[1])


def _since_refresh(layout: Layout, head: Manifest) -> Iterator[Manifest]:
    """Give the manifests back to the last in which all was decided anew, that one too."""
    while head.seq:
        back = next((entry["rolled_back_to"] for entry in head.lineage if "rolled_back_to" in entry), None)
        if back is not None:  # what lies between is taken back, a refresh too
            head = read_manifest(layout.manifest(back))
            continue
        yield head
        if any(entry.get("mode") == "full-refresh" for entry in head.lineage):
            return
        head = read_manifest(layout.manifest(head.parent)) if head.parent else EMPTY


def _changed(steps: list[BoundStep], old: list[Json], new: list[Json], problems: list[str]) -> list[BoundStep]:
    """Give the filters whose thresholds changed; what else did is a problem."""
    if [step["name"] for step in old] != [step["name"] for step in new]:
        problems.append("steps were added, removed or moved")
        return []
    found = []
    for bound, was, told in zip(steps, old, new, strict=True):
        if was == told:
            continue
        rules = bound.step.RULES.values() if isinstance(bound.step, Filter) else ()
        limits = {limit for _, limit in rules if limit.startswith(("min_", "max_"))}
        params = {name for name in told["params"] if told["params"][name] != was["params"].get(name)}
        if {**was, "params": 0} != {**told, "params": 0} or not limits or not params <= limits:
            problems.append(f"{bound.name}: more than thresholds over stored signals changed")
        else:
            found.append(bound)
    return found


def _as_was(pipeline: Json, source: str, bound: BoundStep) -> Filter | None:
    """Give a filter as a run had it; None where it had no such source."""
    if source:
        steps: list[Json] = next((each["steps"] for each in pipeline["sources"] if each["name"] == source), [])
    else:
        steps = [*pipeline["steps"], pipeline["require"]]
    params = next((step["params"] for step in steps if step["name"] == bound.name), None)
    kind: Any = type(bound.step)
    found: Filter | None = msgspec.convert(params, kind) if params is not None else None
    return found


def _judged(run: Manifest, step: str) -> int:
    """Give how many records a step of a run kept or dropped."""
    steps: list[Json] = run.summary.get("report", {}).get("steps", [])
    kept: int = sum(told["out"] for told in steps if told["name"] == step)
    return kept + sum(n for why, n in run.counts.dropped.items() if why.startswith(f"{step}:"))


def _moved(old: Filter, new: Filter, signals: dict[str, Any], n: int) -> npt.NDArray[np.bool_]:
    """Tell for each of n records whether a limit that changed holds for it otherwise than before."""
    moved = np.zeros(n, bool)
    for signal, limit in new.RULES.values():
        before, after = getattr(old, limit), getattr(new, limit)
        if before == after:
            continue
        values = signals.get(signal)
        if values is None or np.isnan(values).any():
            raise ConfigError(f"--redecide: {limit} looks at the signal {signal!r}, which was not stored; {_WAY_OUT}")
        sides = [_breaks(values, limit, bound) for bound in (before, after)]
        moved |= sides[0] != sides[1]
    return moved


def _breaks(values: Any, limit: str, bound: float | None) -> npt.NDArray[np.bool_]:
    if bound is None:
        return np.zeros(len(values), bool)
    broken: npt.NDArray[np.bool_] = values < bound if limit.startswith("min_") else values > bound
    return broken


def _units(layout: Layout, head: Manifest, moved: pa.Table, config: PipelineConfig) -> set[str]:
    """Give the units (`<source>/<unit>`) in which one of these records stood, changed or not, when they were last read.

    By the ords that reading them gave: where each record is a unit of its own (`Page.versioned`), the index does not name the source's.
    """
    ranges: list[tuple[int, int, str]] = []
    for bound in config.sources:
        state = plan.read_state(layout, head, bound.name)
        if state is not None and state.units is not None:
            for row in state.units.select(["unit", "ords"]).to_pylist():
                ranges += [(part["lo"], part["hi"], f"{bound.name}/{row['unit']}") for part in row["ords"] or []]
    ranges.sort()
    firsts, ends = (np.array([each[i] for each in ranges], np.int64) for i in (0, 1))
    found: set[str] = set()
    for _, entries in _entries_of(layout, head, moved["id"]) if ranges else []:
        ords = entries["ord"].to_numpy()
        at = np.searchsorted(firsts, ords, side="right") - 1
        within = (at >= 0) & (ords < ends[at])
        found |= {ranges[i][2] for i in np.unique(at[within]).tolist()}
    return found


def _entries_of(layout: Layout, head: Manifest, ids: pa.ChunkedArray) -> Iterator[tuple[UInt64s, pa.Table]]:
    """Give the keys of ids, and what the id index says of them, a bucket at a time."""
    hashed: UInt64s = hash_columns([ids.combine_chunks()])
    keys = unique_keys(hashed[:, 0], hashed[:, 1])
    buckets = (keys[:, 0] >> np.uint64(64 - observed.ID_BUCKET_BITS)).astype(np.int64)
    for bucket in np.unique(buckets).tolist():
        runs = [run for run in head.index if run.fingerprint == IDS and run.bucket == bucket]
        within = keys[buckets == bucket]
        yield within, Bucket(layout, runs, index.Tombstones(np.zeros(0, np.int64))).entries_of(within)


def _pairs(rows: pa.Table | pa.RecordBatch, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """Give (ord, id) of the rows that are wanted."""
    return pa.table([rows.column(name).filter(pa.array(wanted)) for name in _NAMED.names], schema=_NAMED)


def _only(source: str, replay: Replay, units: set[str]) -> Replay | None:
    """Give a replay of some units only; None if none of them is in it."""
    leave = [unit for unit in replay.split.units if unit in replay.leave or f"{source}/{unit}" not in units]
    return msgspec.structs.replace(replay, leave=leave) if len(leave) < len(replay.split.units) else None
