"""Distributions: what the records of a run were like, by source, as read and as published: `runs/<seq>/distributions.json`.

    {"version": 1, "sources": {NAME: {"read": {DISTRIBUTION: HISTOGRAM}, "published": {DISTRIBUTION: HISTOGRAM}}}}

Of every record: `chars`, `non_ascii` and `spaces` (shares of its characters), `lang`; published ones also have a `lang_score`
where a step gave one. `<step>:<signal>` is what a filter measured: under `read` of all records that reached it, under `published`
of those that got through in the end. `reasons`, under `read`, is what became of the records. What a source had sent before and
sent again unchanged is counted nowhere. An empty distribution, and a source that brought nothing, is left out.

What a record was like is measured when it is read, and what became of it is known stages later: bins wait between the stages in
`<stage>/<task>.measured.arrow`. Not here: the bins (`core.histogram`), comparing (`engine.drift`). Invariant: the file is a
function of the records and their outcomes; how they were cut into tasks and batches, and how often a task was done, leaves no trace.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core import access, histogram
from gristmill.core.batch import Batch, Bytes, Int64s, utf8_buffers
from gristmill.core.counts import Counts
from gristmill.core.errors import naming
from gristmill.core.histogram import Histogram
from gristmill.core.step import BoundStep, Filter
from gristmill.engine.flow import Noted
from gristmill.engine.identity import UNCHANGED
from gristmill.engine.merge import Decisions
from gristmill.engine.sides import read_staged
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store.layout import Layout

VERSION = 1
PROFILE = ("chars", "non_ascii", "spaces")
END = ".distributions.json"

Side: TypeAlias = dict[str, Histogram]  # by distribution
Sources: TypeAlias = dict[str, dict[str, Side]]  # by source, then "read" or "published"
# Noted, with a bin in the place of each number.
Binned: TypeAlias = list[tuple[str, Int64s, Bytes]]


class Distributions(msgspec.Struct, frozen=True):
    """What `distributions.json` holds."""

    version: int = VERSION
    sources: Sources = {}


# --- in a task ---------------------------------------------------------------------------------------------------


def measured_name(stage: int, number: int) -> str:
    """Give the staged file with what was measured in a stage of a task."""
    return f"{stage}/{number:06d}.measured.arrow"


def measured_schema(steps: Sequence[BoundStep], *, first: bool) -> pa.Schema:
    """Give the columns of a measured file: `ord`, and a bin for each distribution; the first has the language as it came."""
    own = [*((name, pa.uint8()) for name in PROFILE), ("lang", pa.string())] if first else []
    return pa.schema([("ord", pa.int64()), *own, *((name, pa.uint8()) for name in _signals(steps))])


def _signals(steps: Sequence[BoundStep]) -> list[str]:
    return [
        f"{bound.name}:{signal}"
        for bound in steps
        if isinstance(bound.step, Filter)
        for signal in sorted({signal for signal, _ in bound.step.RULES.values()})
    ]


def names(steps: Sequence[BoundStep]) -> list[str]:
    """Give all distributions that records through these steps may have, as `read.chars`."""
    both = [*PROFILE, "lang", *_signals(steps)]
    return [*(f"read.{name}" for name in [*both, "reasons"]), *(f"published.{name}" for name in [*both, "lang_score"])]


def measured_rows(schema: pa.Schema, batch: Batch, noted: Noted) -> pa.RecordBatch:
    """Give the row of each record of `batch`: the profile of its text where the schema asks for it, and what was noted of it."""
    columns: dict[str, Any] = {"ord": batch.rows.column("ord")}
    if "lang" in schema.names:
        columns |= {"lang": batch.rows.column("lang"), **_profile(batch.text)}
    columns |= _bins_at(batch.ords, _binned(noted))
    nothing = np.full(len(batch), histogram.UNMEASURED, np.uint8)
    arrays = [columns.get(name, nothing) for name in schema.names]
    return pa.RecordBatch.from_arrays([a if isinstance(a, pa.Array) else pa.array(a) for a in arrays], schema=schema)


def _profile(text: pa.Array) -> dict[str, Bytes]:
    from gristmill.kernels.profile import profile  # the process that plans and gates needs no compiler

    chars, beyond, spaces = profile(*utf8_buffers(text))
    least = np.maximum(chars, 1)
    values = {"chars": chars, "non_ascii": beyond / least, "spaces": spaces / least}
    return {name: histogram.bins(name, values[name]) for name in PROFILE}


def _binned(noted: Noted) -> Binned:
    return [(name, at, histogram.bins(name, values)) for name, at, values in noted]


def _bins_at(ords: Int64s, binned: Binned) -> dict[str, Bytes]:
    """Give the bins of what was noted of the records `ords` (ascending); what was noted of others is left out."""
    columns: dict[str, Bytes] = {}
    for name, at, bins in binned if len(ords) else []:
        column = columns.setdefault(name, np.full(len(ords), histogram.UNMEASURED, np.uint8))
        place = np.minimum(np.searchsorted(ords, at), len(ords) - 1)
        hit = ords[place] == at
        column[place[hit]] = bins[hit]
    return columns


class Counting:
    """Counts what a stage of a task measures; the last stage counts all that was ever measured of what it publishes.

    Records must come in their order.
    """

    def __init__(self, work: Work, job: Job, decided: Decisions) -> None:
        self._path = work.staged(f"{job.stage}/{job.number:06d}{END}")
        self.name = f"{job.stage}/{job.number:06d}{END}"
        self._binned: Binned = []
        self._bins: dict[tuple[str, str], Int64s] = {}
        self._words: dict[str, dict[str, int]] = {}
        files = [read_staged(work.staged(measured_name(stage, job.number))) for stage in range(job.stage)]
        self._earlier = [_Earlier(rows) for rows in files]
        if job.stage == 1:
            for rows in files[0]:
                kinds, _ = decided.of(rows.column("ord").to_numpy())
                self._add_all("read", rows, kinds != UNCHANGED)

    def take(self, batch: Batch, noted: Noted) -> Batch:
        """Count what was noted of a batch in this stage; gives what is left of the batch as it is."""
        self._binned = _binned(noted)
        for name, _, bins in self._binned:
            self._add("read", name, bins)
        return batch

    def publish(self, batch: Batch) -> None:
        """Count, in the last stage, what is left of the batch that was taken last."""
        if not len(batch):
            return
        for name, bins in {**_profile(batch.text), **_bins_at(batch.ords, self._binned)}.items():
            self._add("published", name, bins)
        scores = batch.rows.column("lang_score")
        if scores.null_count < len(scores):
            values = scores.to_numpy(zero_copy_only=False)  # null is NaN
            self._add("published", "lang_score", histogram.bins("lang_score", values))
        self._add_languages("published", batch.rows.column("lang"))
        for earlier in self._earlier:
            for rows, hit in earlier.of(batch.ords):
                self._add_signals("published", rows, hit)

    def _add(self, side: str, name: str, bins: Bytes) -> None:
        counts = self._bins.setdefault((side, name), np.zeros(256, np.int64))
        counts += histogram.counted(bins)

    def _add_signals(self, side: str, rows: pa.RecordBatch, hit: npt.NDArray[np.bool_]) -> None:
        for name in rows.schema.names:
            if ":" in name:
                self._add(side, name, rows.column(name).to_numpy()[hit])

    def _add_all(self, side: str, rows: pa.RecordBatch, hit: npt.NDArray[np.bool_]) -> None:
        for name in PROFILE:
            self._add(side, name, rows.column(name).to_numpy()[hit])
        self._add_languages(side, rows.column("lang").filter(pa.array(hit)))
        self._add_signals(side, rows, hit)

    def _add_languages(self, side: str, column: pa.Array) -> None:
        words = self._words.setdefault(side, {})
        for word, n in histogram.languages(column).items():
            words[word] = words.get(word, 0) + n

    def save(self) -> str:
        """Stage what was counted; give the staged name."""
        found: dict[str, Side] = {"read": {}, "published": {}}
        for (side, name), counts in self._bins.items():
            found[side][name] = histogram.of_numbers(name, counts)
        for side, words in self._words.items():
            found[side]["lang"] = histogram.of_words(words)
        access.make_folder(self._path.parent)
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with naming(scratch):
            scratch.write_bytes(msgspec.json.encode(found))
        scratch.replace(self._path)
        return self.name


class _Earlier:
    """What was measured in an earlier stage of the task, asked for by records in their order."""

    def __init__(self, rows: list[pa.RecordBatch]) -> None:
        self._rows = rows
        self._ords = [each.column("ord").to_numpy() for each in rows]
        self._at = 0

    def of(self, ords: Int64s) -> list[tuple[pa.RecordBatch, npt.NDArray[np.bool_]]]:
        """Give the batches that hold some of `ords`, and which of their rows do."""
        while self._at < len(self._rows) and self._ords[self._at][-1] < ords[0]:
            self._at += 1
        found = []
        for i in range(self._at, len(self._rows)):
            at = self._ords[i]
            if at[0] > ords[-1]:
                break
            place = np.minimum(np.searchsorted(ords, at), len(ords) - 1)
            found.append((self._rows[i], ords[place] == at))
        return found


# --- of a whole run ----------------------------------------------------------------------------------------------


def gather(work: Work, results: list[TaskResult], sources: dict[str, Counts]) -> Distributions:
    """Add up what the tasks of a run counted, and what became of the records of each source."""
    found: Sources = {}
    for result in results:
        for name in result.staged:
            if name.endswith(END):
                with naming(work.staged(name)):
                    _add_into(found.setdefault(result.source, {}), work.staged(name).read_bytes())
    for name, counts in sources.items():
        reasons = histogram.of_words(outcomes(counts))
        if reasons.total:
            found.setdefault(name, {}).setdefault("read", {})["reasons"] = reasons
    full = {
        name: {side: {what: one for what, one in each.items() if one.total} for side, each in sides.items()}
        for name, sides in found.items()
    }
    kept = {name: {"read": {}, "published": {}, **sides} for name, sides in full.items() if any(sides.values())}
    return Distributions(sources=kept)


def _add_into(sides: dict[str, Side], content: bytes) -> None:
    for side, each in msgspec.json.decode(content, type=dict[str, Side]).items():
        held = sides.setdefault(side, {})
        for what, one in each.items():
            held[what] = held[what].add(one) if what in held else one


def outcomes(counts: Counts) -> dict[str, int]:
    """Give what became of the records of a source: kept, or the word of what took them out; unchanged ones left out."""
    told = {"kept": counts.published, "superseded": counts.superseded, **counts.dropped}
    told |= {f"{step}:duplicate": n for step, n in counts.duplicates.items()}
    return told | {f"quarantined:{code}": n for code, n in counts.quarantined.items()}


def write(layout: Layout, seq: int, found: Distributions) -> str:
    """Write the distributions of a run durably; give the sha256."""
    content = msgspec.json.encode(found, order="sorted") + b"\n"
    layout.files.write_file(layout.distributions(seq), content)
    return hashlib.sha256(content).hexdigest()


def read(layout: Layout, seq: int) -> Distributions | None:
    """Read the distributions of a run; None if they are gone, damaged or of a format that is not known."""
    path = layout.distributions(seq)
    try:
        with naming(path):
            found = msgspec.json.decode(path.read_bytes(), type=Distributions)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.version == VERSION else None
