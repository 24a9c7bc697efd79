"""The config's own tests: its example records go through its steps, and what becomes of them is held against what is expected.

Not here: what an example may say (`config.examples`). Invariants: nothing is read and nothing is written; the records of an example
are alone in the world, in their order, so a step that looks at all records sees those of the example.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from gristmill.config.examples import OUTCOMES, Example
from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import RECORD_SCHEMA, Batch, Int64s, UInt64s
from gristmill.core.errors import ConfigError
from gristmill.core.find import suggestion
from gristmill.core.mapping import microseconds
from gristmill.core.single import one
from gristmill.core.source import BoundSource
from gristmill.core.step import BoundStep, GlobalStep
from gristmill.kernels.columns import hash_columns

_TIMES = ("time", "fetched_at")


class Tested(msgspec.Struct, frozen=True):
    """How one example ended. differences: one sentence each; empty: all is as expected."""

    name: str
    differences: list[str]

    @property
    def ok(self) -> bool:
        """Whether all is as expected."""
        return not self.differences


class _Became(msgspec.Struct):
    """What became of a record: kept with its values, or how, why and in which step it ended."""

    how: str = "kept"
    why: str = ""
    step: str = ""
    batch: Batch | None = None

    def told(self) -> str:
        return self.how if self.how == "kept" else f"{self.how} by {self.step}" + (f" ({self.why})" if self.why else "")


class _Nothing:
    """The index of a dataset that holds nothing."""

    def owners(self, keys: UInt64s) -> Int64s:
        return np.full(len(keys), -1, np.int64)


def try_out(config: PipelineConfig, only: Sequence[str] | None = None) -> list[Tested]:
    """Run the examples of a config, or those that are named.

    Raises:
        ConfigError: there is no such example, or a step cannot work.
    """
    names = [example.name for example in config.tests]
    for name in only or []:
        if name not in names:
            raise ConfigError(
                f"there is no test {name!r}{suggestion(name, names) or ';'} tests: {', '.join(names) or 'none'}"
            )
    return [_one_example(config, example) for example in config.tests if not only or example.name in only]


def _one_example(config: PipelineConfig, example: Example) -> Tested:
    source = next((each for each in config.sources if each.name == example.source), None)
    if source is None and len(config.sources) == 1:
        source = config.sources[0]
    became = _through(config, example, source)
    several = len(became) > 1
    told: list[str] = []
    for n, (got, wanted) in enumerate(zip(became, example.wanted, strict=True), 1):
        told += [f"record {n}: {each}" if several else each for each in _differences(got, wanted)]
    return Tested(example.name, told)


def _through(config: PipelineConfig, example: Example, source: BoundSource | None) -> list[_Became]:
    records = [_Became(batch=_batch(record, n, source)) for n, record in enumerate(example.records)]
    steps: list[BoundStep] = [*(source.steps if source is not None else []), *config.steps, config.require]
    for bound in steps:
        if example.steps is not None and bound.name not in example.steps:
            continue
        if isinstance(bound.step, GlobalStep):
            _together(bound, bound.step, records)
            continue
        step = bound.step.open(config.folder)
        for record in records:
            if record.batch is not None:
                after, seen = one(bound, step, record.batch)
                record.batch = after
                if seen.outcome in ("dropped", "quarantined"):
                    record.how, record.why, record.step, record.batch = seen.outcome, seen.word, bound.name, None
    return records


def _together(bound: BoundStep, step: GlobalStep, records: list[_Became]) -> None:
    """Let a step that looks at all records decide about those that are left."""
    batches = [record.batch.rows for record in records if record.batch is not None]
    if not batches:
        return
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    observed = pa.Table.from_batches([step.observe(Batch(rows), 1)])
    buckets = observed["bucket"].to_numpy()
    for bucket in np.unique(buckets).tolist():
        merged = step.merge(observed.filter(pa.array(buckets == bucket)), _Nothing())
        for ord_ in merged.verdicts["ord"].to_pylist():
            records[ord_].how, records[ord_].step, records[ord_].batch = "duplicate", bound.name, None


def _batch(record: Any, n: int, source: BoundSource | None) -> Batch:
    """Give an example record as a step sees it."""
    given = {"text": record} if isinstance(record, str) else dict(record)
    meta = given.pop("meta", None) or {}
    others = {key: given.pop(key) for key in list(given) if key not in RECORD_SCHEMA.names}
    name = source.name if source is not None else "test"
    values: dict[str, Any] = {field.name: None for field in RECORD_SCHEMA} | given
    for time in _TIMES:
        values[time] = microseconds(str(given[time])) if given.get(time) is not None else None
    if isinstance(meta, dict) and (meta or others):
        values["meta"] = orjson.dumps(meta | others).decode()
    elif isinstance(meta, str):
        values["meta"] = meta
    if values["license"] is None and source is not None:
        values["license"] = source.license or None
    values |= {"id": f"{name}/{given.get('id', n)}", "source": name, "origin": f"test#{n}", "ord": n}
    content = hash_columns([pa.array([values["text"]], pa.string())])
    values["content_hash"] = content.tobytes()
    arrays = [pa.array([values[field.name]], field.type) for field in RECORD_SCHEMA]
    return Batch(pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA))


def _differences(got: _Became, wanted: dict[str, Any]) -> list[str]:
    how = next((name for name in OUTCOMES if name in wanted), "kept")
    why = wanted.get(how, True)
    if got.how != how:
        expected = how if why is True else f"{how} ({why})"
        return [f"expected {expected}, got {got.told()}"]
    if why is not True and why not in (got.why, got.step, f"{got.step}:{got.why}"):
        return [f"expected {how} ({why}), got {got.told()}"]
    if got.batch is None:
        columns = [name for name in wanted if name not in OUTCOMES]
        return [f"{', '.join(columns)}: expected of a record that was {got.told()}"] if columns else []
    row = got.batch.rows.to_pylist()[0]
    told: list[str] = []
    for name, value in wanted.items():
        if name == "meta" and isinstance(value, dict):
            meta = orjson.loads(row["meta"]) if row["meta"] else {}
            told += [
                _unlike(f"meta.{key}", item, meta.get(key)) for key, item in value.items() if meta.get(key) != item
            ]
        elif name not in OUTCOMES and not _same(name, value, row[name]):
            told.append(_unlike(name, value, row[name]))
    return told


def _same(name: str, wanted: Any, got: Any) -> bool:
    if name in _TIMES and wanted is not None and got is not None:
        return microseconds(str(wanted)) == _micros(got)
    if name == "lang_score" and wanted is not None and got is not None:
        return bool(np.float32(wanted) == np.float32(got))
    return bool(wanted == got)


def _micros(moment: datetime) -> int:
    since = moment - datetime.fromtimestamp(0, UTC)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def _unlike(name: str, wanted: Any, got: Any) -> str:
    """Say how a value differs: of long texts where they part."""
    if isinstance(wanted, str) and isinstance(got, str):
        at = next((n for n, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), min(len(wanted), len(got)))
        start = max(0, at - 20)
        lead = "…" if start else ""
        return f"{name} differs from character {at + 1} on:\n  expected {lead}{_shown(wanted[start:])}\n  got      {lead}{_shown(got[start:])}"
    return f"{name}: expected {_shown(wanted)}, got {_shown(got)}"


def _shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 100 else text[:99] + "…"
