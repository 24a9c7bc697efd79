"""The `dlt` source: any resource written for dlt (https://dlthub.com), its cursor kept in our snapshot.

The resource is iterated, dlt's pipeline is not run: no schema, no load packages, no state beside the snapshot. Each item it
yields (a list of objects, an Arrow table) becomes a page; objects yielded one by one are gathered into pages.
Not here: how items become pages and where one may resume (`formats.dlt_items`), what dlt resources do and how dlt finds its
own configuration (dlt's docs), landing and merging by key (`engine`). Invariants: the state comes in with the split and goes
out with the last page's note, under a name of our own, so moving the user's module loses no cursor; what a failing resource
says is not passed on, as it may quote records or secrets.
"""

from __future__ import annotations

import copy
import hashlib
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import orjson
import pyarrow as pa

from gristmill.core import modules
from gristmill.core.errors import ConfigError, SourceError, Transient
from gristmill.core.mapping import MAX_DEPTH, Mapping, Rows, Where, microseconds
from gristmill.core.source import (
    NO_UNITS,
    Page,
    PlanContext,
    ReadContext,
    Source,
    SourcePlan,
    Split,
    State,
    UnitRead,
    Window,
    fold_units,
)
from gristmill.sources.formats import dlt_items
from gristmill.sources.formats.dlt_items import Doc, Items, Pages

EXTRA = "dlt"
# Where a resource that belongs to no dlt source keeps its state; dlt would take the name of its module.
STATE_NAME = "gristmill"
_FORMAT = 1  # of State.doc and Page.note
# Files that are not the user's own: what fails is placed by the last frame that lies in none of them.
_NOT_THEIRS = (
    "<",
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")},
    str(Path(__file__).parents[1]),
)
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _Cursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """dlt's incremental loading, given from outside.

    cursor_path: the field that grows, a name or JSON path. initial_value: where the first run begins; since and until are
    read as its type. row_order: `asc` if the resource yields growing cursors: only then can a broken run go on in the
    middle. lag: how far to step back for late rows, in seconds for times.
    """

    cursor_path: str
    initial_value: Any = None
    row_order: Literal["asc", "desc"] | None = None
    lag: float | None = None


class Dlt(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads a dlt resource.

    resource: "module:function" or "./file.py:function" that gives a dlt resource or source. arguments: what it is called
    with. select: the resource's name inside a source of several. key: the field, dotted path or template that names a
    record. text, url, time, lang, license: the field for each column; all others go to `meta`. deleted: a field by which a
    record says that it is gone: true, a number but 0, a time. incremental: a cursor, for a resource without one of its own.
    full: read all of it each run and withdraw what is not there any more. allow_empty: a full read may give nothing.
    resume: `page` if the state the resource keeps itself is right after each item; `auto` trusts a rising dlt cursor only.
    max_record_bytes: a record that is larger, as JSON, is quarantined. max_depth: of objects and lists in each other.
    """

    VERSION: ClassVar[int] = 1
    LANDED: ClassVar[bool] = True
    WINDOWED: ClassVar[bool] = True

    resource: str
    key: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 # msgspec copies it
    select: str = ""
    text: str = "text"
    url: str | None = None
    time: str | None = None
    lang: str | None = None
    license: str | None = None
    deleted: str | None = None
    incremental: _Cursor | None = None
    full: bool = False
    allow_empty: bool = False
    resume: Literal["auto", "page"] = "auto"
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 << 20
    max_depth: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)] = MAX_DEPTH

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = self.mapping.problems()
        if not all(self.resource.rpartition(":")):
            problems.append(f'resource: expected "module:function" or "./file.py:function", found {self.resource!r}')
        if not self.key:
            problems.append("key: empty; name the field that identifies a record")
        if self.full and self.incremental is not None:
            problems.append("full: reads everything each run, so incremental cannot be given; leave one out")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def mapping(self) -> Mapping:
        """Which field of an object becomes which column."""
        return Mapping(self.text, self.key, self.url, self.time, self.lang, self.license)

    @property
    def unit(self) -> str:
        """The name of the one unit: the resource."""
        return self.select or self.resource.rpartition(":")[2]

    def check(self, folder: Path) -> list[str]:
        """Give the problems a user can act on: imports the function and calls it, reads no item."""
        try:
            self._resource(folder)
        except (ConfigError, SourceError) as error:
            return [str(error)]
        return []

    @property
    def has_cursor(self) -> bool:
        """See `Source`."""
        return self.incremental is not None

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Give the one split, which holds the committed state.

        Raises:
            ConfigError: the window cannot be read.
            SourceError: the state is of another format.
        """
        window, unit = context.window, self.unit
        self._can_read(window)
        doc = state.doc if state is not None else {}
        if doc and doc.get("v") != _FORMAT:
            raise SourceError(f"dlt {self.resource}: its state has format {doc.get('v')}; upgrade gristmill")
        asked = window.since is not None
        units = state.units if state is not None else None
        known = units is not None and unit in units["unit"].to_pylist()
        spec: Doc = {"dlt": {} if self.full or asked else doc.get("dlt", {}), "known": known}
        if asked:
            spec |= {"since": window.since, "until": window.until, "last": self._last_value(doc)}
            if _reversed(*self._bounds(spec)):
                raise ConfigError(
                    f"--window {window.since}..{window.until}: it ends before it begins, or there; write SINCE..UNTIL"
                )
        content = orjson.dumps([self.resource, unit, self.full, spec], option=orjson.OPT_SORT_KEYS)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        return SourcePlan(
            splits=[Split(digest, spec, [unit], 0, fresh=not known)],
            listing=pa.table({"unit": pa.array([unit], pa.string())}) if self.full else NO_UNITS,
            replaced=[unit] if self.full and known else [],
            ceiling={"backfill": window.is_backfill},
        )

    def _can_read(self, window: Window) -> None:
        if window == Window():
            return
        if self.incremental is None:
            raise ConfigError(
                f"dlt {self.resource}: since and until need a cursor; give incremental: {{cursor_path: ...}}"
            )
        if window.since is None:
            raise ConfigError(f"dlt {self.resource}: until alone is no window; give since too")

    def _last_value(self, doc: Doc) -> Any:
        """Give the last value of the config's cursor as the state has it: a window is read as its type."""
        path = self.incremental.cursor_path if self.incremental is not None else ""
        kept = [each.get("incremental", {}).get(path) for each in doc.get("dlt", {}).get("resources", {}).values()]
        return next((each["last_value"] for each in kept if each), None)

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read what the resource yields.

        Raises:
            SourceError: it fails, works in parallel, keeps too much state, or gives nothing where there was something.
            Transient: it fails in a way that may pass.
        """
        if self.unit in context.skip:
            return
        start = context.resume or {"dlt": split.spec["dlt"], "row": 0}
        resource = self._resource(context.folder)
        try:
            items = Items(self._pointed(resource, split), start["dlt"])
        except SourceError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        rows = Rows(self.unit, self.mapping, context.batch_bytes, Where(max_depth=self.max_depth))
        pages = Pages(rows, self.mapping, self.deleted, start["row"], self.max_record_bytes)
        try:
            yield from self._pages(items, pages)
        finally:
            items.close()
        if self.full and split.spec["known"] and pages.row == 0 and not self.allow_empty:
            raise SourceError(
                f"dlt {self.resource} gives no record at all, though it did before; look at what it reads, or set "
                "allow_empty: true to withdraw them all"
            )
        yield msgspec.structs.replace(pages.take(), note={"v": _FORMAT, "dlt": items.state()})

    def _pages(self, items: Items, pages: Pages) -> Iterator[Page]:
        while True:
            try:
                item = next(items, None)
            except Exception as error:
                raise self._failure(error) from error
            if item is None:
                return
            if items.in_parallel:
                raise SourceError(
                    f"dlt {self.resource} works in parallel (parallelized, deferred or async), so the order of its items "
                    "is chance; set parallelized=False, or give a function that yields them one after the other"
                )
            single = isinstance(item, dict)
            for record in [item] if single else dlt_items.records(item, pages.names):
                yield from pages.add(record)
            if not single or pages.held >= dlt_items.GATHER_ROWS:
                resume = items.resume(trusted=self.resume == "page")
                yield pages.take(None if resume is None else {"dlt": resume, "row": pages.row})

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        """Keep the state of the last page, unless it was a backfill."""
        doc = state.doc if state is not None else {}
        read = next((read for read in reads if read.advance and read.status == "ok" and "dlt" in read.note), None)
        if read is not None and not plan.ceiling.get("backfill"):
            doc = copy.deepcopy(read.note)
        return State(doc, fold_units(state.units if state is not None else None, plan, reads, seq))

    def _resource(self, folder: Path) -> Any:
        """Import the function, call it, and give the one resource meant."""
        dlt = dlt_items.names()
        place, _, name = self.resource.rpartition(":")
        try:
            function = getattr(_module(place, folder), name, None)
        except ConfigError:
            raise
        except Exception as error:
            if isinstance(error, ImportError) and error.name == place.partition(".")[0]:
                raise ConfigError(f"resource: there is no module {error.name!r} to import") from error
            raise self._failure(error) from error
        if not callable(function):
            raise ConfigError(f"resource: {place} has no function {name!r}")
        bound = isinstance(function, dlt.DltResource) and function.args_bound
        try:
            with dlt.injected(dlt.StateContext(state={})):  # the function itself sees an empty state
                made = function.with_name(function.name) if bound else function(**self.arguments)
        except Exception as error:
            raise self._failure(error) from error
        if isinstance(made, dlt.DltSource):
            known = sorted(made.resources)
            if self.select not in known and (self.select or len(known) != 1):
                raise ConfigError(
                    f"select: {self.resource} has {', '.join(known)}, not {self.select!r}; name one of them"
                )
            made = made.resources[self.select or known[0]]
        if not isinstance(made, dlt.DltResource):
            raise ConfigError(f"resource: {self.resource} gives {type(made).__name__}, not a dlt resource or source")
        if made.source_name is None:
            made.source_name = STATE_NAME
        return made

    def _pointed(self, resource: Any, split: Split) -> Any:
        """Give the resource with the cursor of the config, and the window asked for."""
        if self.incremental is None:
            return resource
        cursor = self.incremental
        since, until = self._bounds(split.spec)
        incremental = dlt_items.names().Incremental(
            cursor.cursor_path,
            initial_value=cursor.initial_value if since is None else since,
            end_value=until,
            row_order=cursor.row_order,
            lag=cursor.lag,
        )
        return resource.apply_hints(incremental=incremental)

    def _bounds(self, spec: Doc) -> tuple[Any, Any]:
        """Give begin and end of the window as values of the cursor's type."""
        like = self.incremental.initial_value if self.incremental is not None else None
        if like is None and "since" in spec:
            like = dlt_items.names().decode(spec.get("last"))
        return _as_typed(spec.get("since"), like, "since"), _as_typed(spec.get("until"), like, "until")

    def _failure(self, error: Exception) -> SourceError:
        """Give the error to raise for what dlt or the user's code raised: its kinds and place, not its words.

        Those may quote records or secrets. Only dlt's word on its own configuration is quoted: it names what is missing.
        """
        chain: list[BaseException] = []
        one: BaseException | None = error
        while one is not None and one not in chain:
            chain.append(one)
            one = one.__cause__ or one.__context__
        dlt = dlt_items.names()
        status = next((code for each in chain if (code := _status(each))), 0)
        told = f"dlt {self.resource} failed: {' from '.join(type(each).__name__ for each in chain)}"
        told += f", status {status}" if status else ""
        frames = [frame for each in reversed(chain) for frame in reversed(traceback.extract_tb(each.__traceback__))]
        own = next((frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)), None)
        told += f", at {Path(own.filename).name}:{own.lineno}" if own else ""
        told += next((f": {each}" for each in chain if isinstance(each, dlt.MissingFields)), "")
        passes = status in _PASSING_STATUS if status else any(isinstance(each, dlt.passing) for each in chain)
        return Transient(told) if passes else SourceError(told)


def _module(place: str, folder: Path) -> ModuleType:
    """Import what `place:function` names."""
    if modules.is_file(place) and not (folder / place).is_file():
        raise ConfigError(f"resource: there is no file {folder / place}")
    return modules.load(place, folder)


def _status(error: BaseException) -> int:
    code = getattr(getattr(error, "response", None), "status_code", 0)
    return code if type(code) is int else 0


def _reversed(since: Any, until: Any) -> bool:
    """Tell if a window surely holds nothing. Texts are compared as times: of others nobody knows here what they stand for."""
    if isinstance(since, str) or isinstance(until, str):
        since, until = microseconds(since), microseconds(until)
    try:
        return since is not None and until is not None and bool(since >= until)
    except TypeError:  # a time with a zone and one without
        return False


def _as_typed(written: str | None, like: Any, name: str) -> Any:
    """Read a bound of the window as a value of the cursor's type."""
    readers: list[tuple[type, Callable[[str], Any]]] = [
        (bool, str),
        (int, int),
        (float, float),
        (datetime, datetime.fromisoformat),
        (date, date.fromisoformat),
    ]
    if written is None:
        return None
    try:
        return next((read(written) for kind, read in readers if isinstance(like, kind)), written)
    except ValueError:
        raise ConfigError(f"{name}: {written!r} is no {type(like).__name__}, which the cursor is") from None
