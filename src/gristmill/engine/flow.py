"""Flow: the steps between two barriers, run over batch after batch, with what each of them said.

Not here: where batches come from and go to (`engine.task`). Invariants: a row that leaves has a verdict; a step that
raises on a row costs that row only (retried, then halved down to it, then quarantined); so does one that takes too long
on it (from then on it is called row by row); nothing here depends on how the records are cut into batches.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core import alarm, own
from gristmill.core.batch import Batch, Int64s
from gristmill.core.counts import StepCounts
from gristmill.core.errors import GristmillError
from gristmill.core.step import BoundStep, Filter, Transform
from gristmill.engine.sides import QUARANTINE_SCHEMA, SIGNAL_SCHEMA, VERDICT_SCHEMA, SideWriter, rows_of
from gristmill.store import disk

RETRY_WAITS_S = (0.05, 0.2, 0.5)

# What filters measured: `<step>:<signal>`, the ords of the records, a number for each.
Noted: TypeAlias = list[tuple[str, Int64s, npt.NDArray[np.generic]]]


class Judging(Protocol):
    """A step that both changes and drops (an opened `custom`)."""

    def run(self, batch: Batch) -> tuple[Batch, pa.Array]:
        """Give the batch with errors set, and the reasons."""
        ...


class Sides(msgspec.Struct, frozen=True):
    """The side files one task writes."""

    verdicts: SideWriter
    quarantine: SideWriter
    signals: SideWriter


class Crash(msgspec.Struct, frozen=True):
    """What is known of records that killed a worker.

    marker: file that names the record and step about to run, when records go one by one to find the culprit.
    poison: ord -> step name and code; such a record is quarantined when it reaches that step. limit_s: how long a step may
    take for a call (`core.alarm`); 0 for any time.
    """

    marker: Path | None = None
    poison: dict[int, tuple[str, str]] = {}
    limit_s: float = 0.0


class Flow:
    """Runs a list of steps over batches."""

    def __init__(self, steps: list[BoundStep], folder: Path, sides: Sides, crash: Crash, retries: int) -> None:
        self.steps = [(bound, bound.step.open(folder)) for bound in steps]
        self.counts = [StepCounts(name=bound.name) for bound in steps]
        self.dropped: dict[str, int] = {}
        self.quarantined: dict[str, int] = {}
        self.step_errors = 0
        self.noted: Noted = []  # of the batch that was run last
        self.sides = sides
        self.crash = crash
        self.retries = retries
        self._slow: set[str] = set()  # steps that took too long for a batch once

    def run(self, batch: Batch) -> Batch:
        """Run all steps; give the rows that are left."""
        self.noted = []
        left = self._run(batch)
        for kind in Sides.__struct_fields__:
            getattr(self.sides, kind).settle()
        return left

    def _run(self, batch: Batch) -> Batch:
        if self.crash.marker is None:
            return self._steps(batch)
        kept = [self._steps(batch.slice(i, 1)).rows for i in range(len(batch))]
        self.crash.marker.unlink(missing_ok=True)  # what kills the worker from here on is no record's doing
        return (
            Batch(pa.Table.from_batches(kept, batch.rows.schema).combine_chunks().to_batches()[0])
            if any(rows.num_rows for rows in kept)
            else batch.slice(0, 0)
        )

    def _steps(self, batch: Batch) -> Batch:
        for (bound, step), counts in zip(self.steps, self.counts, strict=True):
            if len(batch) == 0:
                break
            started = time.perf_counter()
            counts.rows_in += len(batch)
            counts.bytes += text_bytes(batch)
            batch = self._without_poison(bound, batch)
            if len(batch):
                batch, reasons = self._attempt(bound, step, batch)
                batch = self._settle(bound, batch, reasons)
            counts.rows_out += len(batch)
            counts.seconds += time.perf_counter() - started
        return batch

    def _attempt(self, bound: BoundStep, step: Any, batch: Batch) -> tuple[Batch, pa.Array | None]:
        """Run one step; if it raises, try again, then halve the batch down to the rows it raises on. One row must fit into memory."""
        if bound.name in self._slow and len(batch) > 1:
            return self._parts(bound, step, batch, [1] * len(batch))
        waits = RETRY_WAITS_S[: self.retries]
        for wait_s in (*waits, None):
            try:
                self._mark(bound, batch)
                with alarm.limit(self.crash.limit_s):
                    done, reasons = _apply(step, batch)
            except GristmillError:
                raise
            except MemoryError:
                if len(batch) == 1:
                    raise
                break  # less of it at a time may do
            except alarm.LateError:
                if len(batch) == 1:
                    return Batch(batch.rows, pa.array(["timeout.step"])), None
                self._slow.add(bound.name)
                return self._parts(bound, step, batch, [1] * len(batch))
            except BaseException as error:
                if not own.is_raised(error):
                    raise
                if wait_s is not None:
                    time.sleep(wait_s)
                    continue
                if len(batch) == 1:
                    return Batch(batch.rows, pa.array([f"step.error {type(error).__name__}"])), None
            else:
                self._note_signals(bound, done)  # here, as a batch that was halved forgets them
                return done, reasons
        retries, self.retries = self.retries, 0  # the whole batch has had its tries
        halves = self._parts(bound, step, batch, [len(batch) // 2, len(batch) - len(batch) // 2])
        self.retries = retries
        return halves

    def _parts(self, bound: BoundStep, step: Any, batch: Batch, sizes: list[int]) -> tuple[Batch, pa.Array | None]:
        """Run one step on parts of a batch, of `sizes` rows."""
        rows, errors, reasons = [], [], []
        start = 0
        for n in sizes:
            part, why = self._attempt(bound, step, batch.slice(start, n))
            start += n
            rows.append(part.rows)
            errors.append(part.errors if part.errors is not None else pa.nulls(n, pa.string()))
            reasons.append(pc.cast(why, pa.string()) if why is not None else pa.nulls(n, pa.string()))
        joined = pa.Table.from_batches(rows).combine_chunks().to_batches()[0]
        return Batch(joined, pa.concat_arrays(errors)), pa.concat_arrays(reasons)

    def _settle(self, bound: BoundStep, batch: Batch, reasons: pa.Array | None) -> Batch:
        """Record what the step said, and give the rows it left."""
        keep = np.ones(len(batch), bool)
        if batch.errors is not None and batch.errors.null_count < len(batch):
            keep &= self._quarantine(bound, batch, batch.errors)
        if reasons is not None and reasons.null_count < len(batch):
            keep &= self._drop(bound, batch, reasons, keep)
        if keep.all():
            batch.errors = None
            return batch
        return batch.keep(keep)

    def _quarantine(self, bound: BoundStep, batch: Batch, errors: pa.Array) -> Any:
        fine = errors.is_null().to_numpy(zero_copy_only=False)
        bad = batch.rows.filter(pa.array(~fine))
        codes, details = [], []
        for word in errors.drop_null().to_pylist():
            code, _, detail = word.partition(" ")
            codes.append(code)
            details.append(f"{bound.name} raised {detail}" if detail else f"found by {bound.name}")
            self.quarantined[code] = self.quarantined.get(code, 0) + 1
            self.step_errors += 1
        ids, ords = bad.column("id"), bad.column("ord")
        self.sides.verdicts.write(
            rows_of(
                VERDICT_SCHEMA,
                len(codes),
                {"ord": ords, "id": ids, "step": bound.name, "action": "quarantine", "reason": codes},
            )
        )
        self.sides.quarantine.write(
            rows_of(
                QUARANTINE_SCHEMA,
                len(codes),
                {
                    "ord": ords,
                    "id": ids,
                    "source": bad.column("source"),
                    "origin": bad.column("origin"),
                    "step": bound.name,
                    "code": codes,
                    "detail": details,
                },
            )
        )
        self._count(bound).invalid += len(codes)
        return fine

    def _drop(self, bound: BoundStep, batch: Batch, reasons: pa.Array, alive: Any) -> Any:
        kept = reasons.is_null().to_numpy(zero_copy_only=False)
        gone = ~kept & alive
        words = pc.cast(reasons.filter(pa.array(gone)), pa.string()).to_pylist()
        for word in words:
            key = f"{bound.name}:{word}"
            self.dropped[key] = self.dropped.get(key, 0) + 1
        rows = batch.rows.filter(pa.array(gone))
        values, limits = _grounds(bound, batch, gone, words)
        columns = {
            "ord": rows.column("ord"),
            "id": rows.column("id"),
            "step": bound.name,
            "action": "drop",
            "reason": words,
            "value": values,
            "threshold": limits,
        }
        self.sides.verdicts.write(rows_of(VERDICT_SCHEMA, len(words), columns))
        self._count(bound).invalid += len(words)
        return kept

    def _note_signals(self, bound: BoundStep, batch: Batch) -> None:
        if not isinstance(bound.step, Filter):
            return
        for name in sorted({measured for measured, _ in bound.step.RULES.values()} & set(batch.signals)):
            columns = {
                "ord": batch.rows.column("ord"),
                "step": bound.name,
                "signal": name,
                "value": batch.signals[name],
            }
            self.sides.signals.write(rows_of(SIGNAL_SCHEMA, len(batch), columns))
            self.noted.append((f"{bound.name}:{name}", batch.ords, batch.signals[name]))

    def _count(self, bound: BoundStep) -> StepCounts:
        return next(counts for counts in self.counts if counts.name == bound.name)

    def _mark(self, bound: BoundStep, batch: Batch) -> None:
        if self.crash.marker is not None:
            mark(self.crash.marker, int(batch.ords[0]), bound.name)

    def _without_poison(self, bound: BoundStep, batch: Batch) -> Batch:
        poison = {ord_: code for ord_, (step, code) in self.crash.poison.items() if step == bound.name}
        words = [poison.get(ord_) for ord_ in batch.ords.tolist()] if poison else []
        if not any(words):
            return batch
        return self._settle(bound, Batch(batch.rows, pa.array(words, pa.string())), None)


def mark(marker: Path, named: int | str, step: str) -> None:
    """Name what is about to be done, a record or a unit, for who finds this process dead."""
    scratch = marker.with_name(f".{marker.name}.{disk.mark()}")
    scratch.write_bytes(msgspec.json.encode([named, step]))
    scratch.replace(marker)


def _apply(step: Any, batch: Batch) -> tuple[Batch, pa.Array | None]:
    if isinstance(step, Transform):
        return step.apply(batch), None
    if isinstance(step, Filter):
        return batch, step.judge(batch)
    judging: Judging = step
    return judging.run(batch)


def _grounds(
    bound: BoundStep, batch: Batch, gone: Any, words: list[str]
) -> tuple[list[float | None], list[float | None]]:
    """Give the measured value and the limit behind each drop, where the filter names them in RULES."""
    rules = bound.step.RULES if isinstance(bound.step, Filter) else {}
    measured = {signal: batch.signals[signal][gone].tolist() for signal, _ in rules.values() if signal in batch.signals}
    values: list[float | None] = []
    limits: list[float | None] = []
    for i, word in enumerate(words):
        signal, parameter = rules.get(word, ("", ""))
        values.append(float(measured[signal][i]) if signal in measured else None)
        limit = getattr(bound.step, parameter, None) if parameter else None
        limits.append(float(limit) if limit is not None else None)
    return values, limits


def text_bytes(batch: Batch) -> int:
    """Give the UTF-8 bytes of a batch's text."""
    column = batch.text
    if len(column) == 0:
        return 0
    offsets = np.frombuffer(column.buffers()[1], np.int32)
    return int(offsets[column.offset + len(column)] - offsets[column.offset])
