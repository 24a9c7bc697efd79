"""What a dlt resource yields, item by item, as pages of records; and the state dlt keeps meanwhile.

Not here: which resource, its arguments and its errors (`sources/dlt.py`). Invariants: a state is given as a resume point
only where it says no more than what was handed out before it; rows that share the cursor's last value are read again, as
one of them may have changed (dlt's memory of them is switched off); of dlt only the names in `names` and the private ones
in `Items` are used, and a contract test reads every one.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pyarrow as pa

from gristmill.core import tombstones
from gristmill.core.errors import MissingExtra, SourceError
from gristmill.core.mapping import Field, Mapping, Rows
from gristmill.core.mend import Unstorable, storable
from gristmill.core.objects import UNDECODABLE, objects
from gristmill.core.source import Page

MAX_STATE_BYTES = 1 << 20
GATHER_ROWS = 1000  # objects a page, where they come one by one

Doc = dict[str, Any]


class Pages:
    """Records of a resource on their way into pages. row: number of the next record, held: of those not yet given."""

    def __init__(self, rows: Rows, mapping: Mapping, deleted: str | None, row: int, max_record_bytes: int) -> None:
        self.row, self.held = row, 0
        self._max_record_bytes = max_record_bytes
        self._rows = rows
        self._key = Field(mapping.id or "")
        self._deleted = Field(deleted) if deleted else None
        self.names = rows.names | frozenset(self._deleted.names if self._deleted is not None else ())
        self._gone: list[str] = []
        self._there: list[str] = []  # quarantined, and not known to be gone
        self._bytes = 0

    def add(self, record: Any) -> Iterator[Page]:
        """Take a record up; gives the page before it where that must end."""
        key, size = None, 0
        if isinstance(record, dict):
            odd: Counter[str] = Counter()
            try:
                record = storable(record, odd)  # a copy: mapping takes fields out of it
            except Unstorable as fault:
                return self._refuse("text.surrogate", str(fault))
            self._rows.warn_all(odd)
            size = _size(record)
            key = self._key.get(record)
        named = str(key) if type(key) in {str, int} and key != "" else None
        gone: bool | None = False
        if self._deleted is not None and named is not None:
            gone = tombstones.is_gone(self._deleted.get(record))
        if self._rows.full or (not gone and named in self._gone):  # it came back: deletions come after a page's rows
            yield self.take()
        if gone is None and named is not None:
            self._there.append(named)
            self._rows.reject(tombstones.CODE, self.row, tombstones.DETAIL, size)
        elif gone and named is not None:
            self._gone.append(named)
        elif size > self._max_record_bytes:
            self._there += [named] if named is not None else []
            self._rows.reject("size.cap", self.row, f"a record of {size} bytes, over max_record_bytes", size)
        else:
            self._rows.add(record, self.row, size)
        self.row += 1
        self.held += 1
        self._bytes += size

    def _refuse(self, code: str, detail: str) -> None:
        """Count something in the place of a record that is none."""
        self._rows.reject(code, self.row, detail, 0)
        self.row += 1
        self.held += 1

    def take(self, resume: Doc | None = None) -> Page:
        """Give what is held as a page."""
        page = msgspec.structs.replace(
            self._rows.take(self._bytes), deleted=self._gone, present=self._there, versioned=True, resume=resume
        )
        self._gone, self._there, self._bytes, self.held = [], [], 0, 0
        return page


class Items:
    """The items of a resource, one by one, with our state in dlt's hands."""

    def __init__(self, resource: Any, state: Doc) -> None:
        self._names = dlt = names()
        self._began = state
        self._state = dlt.decode(state)
        section = resource._get_config_section_context()  # noqa: SLF001
        name = section.source_state_key
        source = dlt.SingleSource(dlt.Schema(name), resource.section, [resource])
        contexts = [dlt.StateContext(state={"sources": {name: self._state}}), section]
        contexts += [dlt.SourceContext(source), dlt.SchemaContext(source.discover_schema())]
        self._pipe = resource._pipe  # noqa: SLF001
        self._forget_boundary()
        with dlt.injected(*contexts):
            self._iterator = dlt.PipeIterator.from_pipes([self._pipe], next_item_mode="fifo")
        self._forget_boundary()
        self._iterator.set_context(contexts)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self._iterator).item

    def _cursors(self) -> Iterator[Any]:
        """Give dlt's cursors of the resource and those it is made from; before the first item some are only announced."""
        pipe = self._pipe
        while pipe is not None:
            for step in pipe.steps:
                if isinstance(step, (self._names.CursorWrapper, self._names.Incremental)):
                    inner = None if isinstance(step, self._names.Incremental) else step.incremental
                    yield step if inner is None else inner
            pipe = pipe.parent

    def _forget_boundary(self) -> None:
        for cursor in self._cursors():
            cursor.primary_key = ()

    @property
    def in_parallel(self) -> bool:
        """Whether anything was ever computed beside this thread."""
        pool = self._iterator._futures_pool  # noqa: SLF001
        return pool._thread_pool is not None or pool._async_pool is not None  # noqa: SLF001

    def resume(self, *, trusted: bool) -> Doc | None:
        """Give the state if one can go on from it after the last item. trusted: what the resource itself keeps is right."""
        state = self.state()
        kept = state.keys() | {key for each in state.get("resources", {}).values() for key in each}
        cursors = list(self._cursors())
        rising = all(
            isinstance(each, self._names.Incremental) and (each.row_order, each.range_start) == ("asc", "closed")
            for each in cursors
        )
        between = len(self._iterator._sources) <= 1  # noqa: SLF001 # else a page of the parent is not handed out whole
        own = kept - {"resources", "incremental"}
        return state if between and rising and (trusted or not own) and state != self._began else None

    def state(self) -> Doc:
        """Give a deep copy of the state as it is now, JSON-able.

        Raises:
            SourceError: it is too large.
        """
        kept = copy.deepcopy(self._state)
        for each in kept.get("resources", {}).values():
            for cursor in each.get("incremental", {}).values():
                cursor.pop(
                    "start_value", None
                )  # where this run began: nothing reads it, and no two runs would be alike
        encoded = self._names.encode(kept)
        if len(encoded) > MAX_STATE_BYTES:
            raise SourceError(
                f"dlt keeps a state of {len(encoded)} bytes, over {MAX_STATE_BYTES}; the resource must remember less"
            )
        return orjson.loads(encoded)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the resource's generators and threads."""
        self._iterator.close()


def names() -> SimpleNamespace:
    """Import what is used of dlt, its telemetry off. The names under `dlt.common` and `dlt.extract` are not promised by it.

    Raises:
        MissingExtra: dlt is not installed.
    """
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    try:
        from dlt.common.configuration.exceptions import ConfigFieldMissingException
        from dlt.common.json import json
        from dlt.common.pipeline import StateInjectableContext
        from dlt.common.schema import Schema
        from dlt.extract.incremental import Incremental, IncrementalResourceWrapper
        from dlt.extract.pipe_iterator import ManagedPipeIterator
        from dlt.extract.resource import DltResource
        from dlt.extract.source import (
            DltSource,
            SourceInjectableContext,
            SourceSchemaInjectableContext,
            _DltSingleSource,
        )
        from requests import exceptions as http
    except ImportError as error:
        raise MissingExtra(
            f'the dlt source needs what is not installed ({error}); pip install "gristmill[dlt]"'
        ) from error
    return SimpleNamespace(
        StateContext=StateInjectableContext,
        SourceContext=SourceInjectableContext,
        SchemaContext=SourceSchemaInjectableContext,
        SingleSource=_DltSingleSource,
        Schema=Schema,
        DltSource=DltSource,
        DltResource=DltResource,
        Incremental=Incremental,
        CursorWrapper=IncrementalResourceWrapper,
        PipeIterator=ManagedPipeIterator,
        MissingFields=ConfigFieldMissingException,
        encode=json.typed_dumpb,  # dates, decimals and bytes too, as dlt keeps them
        decode=lambda doc: json.typed_loadb(orjson.dumps(doc)),
        injected=_injected,
        passing=(ConnectionError, TimeoutError, http.ConnectionError, http.Timeout, http.ChunkedEncodingError),
    )


@contextmanager
def _injected(*contexts: Any) -> Iterator[None]:
    from dlt.common.configuration.container import Container

    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(Container().injectable_context(context))
        yield


def records(item: Any, texts: Collection[str] = ()) -> Iterator[Any]:
    """Give the records of an item: a list, an Arrow table or batch, a data frame, or one of another kind, to be refused.

    texts: columns of a table whose bytes are read as text.

    Raises:
        SourceError: a table cannot be taken apart, or has two columns of one name.
    """
    if type(item).__module__.partition(".")[0] == "pandas":
        item = pa.Table.from_pandas(item, preserve_index=False)
    if isinstance(item, pa.RecordBatch):
        item = pa.Table.from_batches([item])
    if isinstance(item, pa.Table):
        for batch in item.to_batches(GATHER_ROWS):
            try:
                rows = list(objects(batch, texts))
            except UNDECODABLE as error:
                raise SourceError(f"the resource gives a table that cannot be read ({type(error).__name__})") from None
            yield from rows
    else:
        yield from item if isinstance(item, (list, tuple)) else [item]


def _size(record: Doc) -> int:
    """Give a record's size as JSON, 0 if it has none."""
    try:
        return len(orjson.dumps(record, default=str))
    except TypeError:
        return 0
