"""What `gristmill try` does: a few records of one file, one by one through the steps, with the text before and after.

Not here: runs (`pipeline`), the look of the lines (`terminal`). Invariants: nothing is written; a record goes alone, so
a step that looks at all records is passed over and says so; this is the one place where document text is shown, because
it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from gristmill.console import terminal
from gristmill.core.batch import RECORD_SCHEMA, Batch
from gristmill.core.errors import ConfigError, GristmillError, UnitFailed
from gristmill.core.files import Local
from gristmill.core.single import Seen, one
from gristmill.core.source import BoundSource, Page, PlanContext, ReadContext, Reject, Source
from gristmill.core.step import BoundStep, GlobalStep
from gristmill.pipeline import Pipeline

_PAGE_BYTES = 64 << 10
_CONTEXT = 24  # characters shown before the first difference


class Trial(NamedTuple):
    """One record's way through the steps. code, detail: why it is no record at all."""

    id: str
    origin: str
    text: str
    steps: list[Seen]
    code: str = ""
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        plain = self._asdict() | {
            "steps": [{k: v for k, v in seen._asdict().items() if k != "word"} for seen in self.steps]
        }
        return {key: value for key, value in plain.items() if value or key == "steps"}


def attempt(pipeline: Pipeline, file: Path, n: int) -> list[Trial]:
    """Run up to `n` pieces of a file through the steps of a pipeline.

    Raises:
        ConfigError: the file is not there, or the pipeline has no `files` source.
    """
    if not file.is_file():
        raise ConfigError(f"there is no file {str(file)!r}; name one file with data")
    bound = _source_for(pipeline, file)
    folder = pipeline.config.folder
    steps = [*bound.steps, *pipeline.config.steps, pipeline.config.require]
    opened = [(each, each.step if isinstance(each.step, GlobalStep) else each.step.open(folder)) for each in steps]
    return list(islice(_trials(bound, file, folder, opened), n))


def _source_for(pipeline: Pipeline, file: Path) -> BoundSource:
    """Give the `files` source that reads this file, else the first one."""
    known = [bound for bound in pipeline.config.sources if bound.part == "files"]
    if not known:
        raise ConfigError(
            "the config has no `files` source, and only files can be tried; give one, or use `gristmill run`"
        )
    local = Local(pipeline.config.folder)
    wanted = file.resolve()
    for bound in known:
        path: Any = getattr(bound.source, "path", [])
        try:
            listed = local.list([path] if isinstance(path, str) else path).found
        except GristmillError:
            continue
        if any((pipeline.config.folder / found.path).resolve() == wanted for found in listed):
            return bound
    return known[0]


def _trials(bound: BoundSource, file: Path, folder: Path, opened: list[tuple[BoundStep, Any]]) -> Iterator[Trial]:
    source: Source = msgspec.structs.replace(bound.source, path=str(file.absolute()))
    try:
        planned = source.plan(None, PlanContext(folder))
        for unit, code, detail in planned.failed:
            yield Trial("", unit, "", [], code, detail)
        for split in planned.splits:
            for page in source.read(split, ReadContext(folder=folder, batch_bytes=_PAGE_BYTES)):
                yield from _of_page(bound, page, opened)
    except UnitFailed as error:
        yield Trial("", error.unit, "", [], error.code, error.detail)


def _of_page(bound: BoundSource, page: Page, opened: list[tuple[BoundStep, Any]]) -> Iterator[Trial]:
    pieces: list[tuple[int, int | Reject]] = [(_locator(reject.origin), reject) for reject in page.rejects]
    pieces += [(_locator(origin), i) for i, origin in enumerate(page.rows.column("origin").to_pylist())]
    for _, piece in sorted(pieces, key=lambda item: item[0]):
        if isinstance(piece, Reject):
            yield Trial("", piece.origin, "", [], piece.code, piece.detail)
        else:
            yield _through(_batch(bound, page.rows.slice(piece, 1), piece), opened)


def _locator(origin: str) -> int:
    last = origin.rpartition("#")[2]
    return int(last) if last.isdecimal() else 0


def _batch(bound: BoundSource, row: pa.RecordBatch, ord_: int) -> Batch:
    """Give one row of a page as the record a step sees."""
    values: dict[str, Any] = {name: row.column(name) for name in row.schema.names if name in RECORD_SCHEMA.names}
    name = row.column("key")[0].as_py() or row.column("origin")[0].as_py()
    given: dict[str, Any] = {"id": f"{bound.name}/{name}", "source": bound.name, "content_hash": bytes(16), "ord": ord_}
    if bound.license and values["license"].null_count:
        given["license"] = bound.license
    columns = [
        pa.array([given[field.name]], field.type) if field.name in given else values.get(field.name, pa.nulls(1, field.type))
        for field in RECORD_SCHEMA
    ]  # fmt: skip
    return Batch(pa.RecordBatch.from_arrays(columns, schema=RECORD_SCHEMA))


def _through(batch: Batch, opened: list[tuple[BoundStep, Any]]) -> Trial:
    first = batch.rows.slice(0, 1).to_pylist()[0]
    seen: list[Seen] = []
    for bound, step in opened:
        if isinstance(step, GlobalStep):
            seen.append(Seen(bound.name, "skipped", "looks at all records together"))
            continue
        after, told = one(bound, step, batch)
        seen.append(told)
        if told.outcome in {"dropped", "quarantined"}:
            break
        batch = after
    return Trial(first["id"], first["origin"] or "", first["text"], seen)


# --- as lines ----------------------------------------------------------------------------------------------------


def lines(trials: list[Trial], ink: terminal.Ink, room: int | None) -> Iterator[str]:
    """Give trials as lines: each step's outcome, and where the text changed, both texts from there on."""
    for i, trial in enumerate(trials, 1):
        where = terminal.visible(trial.id or trial.origin)
        yield ink("strong", f"record {i}: {where}") + (f"  ({terminal.visible(trial.origin)})" if trial.id else "")
        if trial.code:
            yield f"  {ink('bad', 'quarantined')}: {trial.code}: {terminal.visible(trial.detail)}"
        else:
            yield terminal.cut(
                f"  {'read':<16}{len(trial.text):,} characters: {terminal.visible(trial.text[:400])}", room
            )
        for seen in trial.steps:
            yield from _step_lines(seen, ink, room)
        yield ""


def _step_lines(seen: Seen, ink: terminal.Ink, room: int | None) -> Iterator[str]:
    style = {"dropped": "bad", "quarantined": "bad", "changed": "warn", "skipped": "dim"}.get(seen.outcome, "good")
    why = f": {terminal.visible(seen.reason)}" if seen.reason else ""
    columns = f" ({', '.join(seen.columns)})" if seen.columns else ""
    yield f"  {terminal.visible(seen.step):<16}{ink(style, seen.outcome)}{columns}{why}"
    if seen.before != seen.after:
        at = max(0, _same(seen.before, seen.after) - _CONTEXT)
        lead = "…" if at else ""
        for sign, text in (("-", seen.before), ("+", seen.after)):
            shown = terminal.visible(text[at : at + 400])
            yield terminal.cut(f"    {sign} {len(text):,}: {lead}{shown}", room)


def _same(one: str, other: str) -> int:
    """Give how many characters at the start are the same."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return min(len(one), len(other)) if at is None else at
