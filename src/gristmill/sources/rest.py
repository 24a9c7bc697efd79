"""The `rest` source: records of a JSON API, page by page, with what is new since the last run or as a whole.

Not here: fetching, retries, credentials, pagination (`net`), records into pages (`formats/api_records.py`). One split,
as what is there is only known by asking; its unit is the endpoint without scheme and query. Without `since` a run
reads all there is, and what is not there any more is withdrawn; with it a run asks from the newest record of the last
ones on, less a lag. A resume point is a page's place in its listing; it is good in the run it comes from.
Invariants: the cursor moves when the split has ended and by what the records say; a page comes once and in order, or
the source fails; no secret is in a split, a resume point or a message.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
import orjson
import pyarrow as pa

from gristmill.core.errors import ConfigError, SourceError
from gristmill.core.mapping import MAX_DEPTH, Field, Mapping, Rows, Where
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
)
from gristmill.extract import ExtractOptions
from gristmill.net.addresses import WEB_PORTS, Guard
from gristmill.net.auth import Auth
from gristmill.net.pages import Check, Pagination, Parents
from gristmill.net.since import Reach, Since
from gristmill.net.urls import endpoint_problems, port_of

if TYPE_CHECKING:
    from gristmill.net.walk import Got, Trip

EXTRA = "web"
_PAGE_BYTES = 1 << 20  # of answers, gathered into one page
_PAGE_ANSWERS = 20
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class Rest(Source, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads a JSON API.

    endpoint: the URL of the listing. method, params, headers, body: of the request; body is sent as JSON. auth: one of
    bearer, key, basic, oauth2. pagination: how the listing goes on. records: path of the list in an answer; "": the
    answer itself. text, id, url, time, lang, license: the field for each column: a name, a dotted path, or a template
    like "{title}: {body}"; all other fields go to `meta`. format: html takes the main text out of the text
    field; extract: how (docs/sources/html.md).
    parents: a listing whose records give the values for `{field}` in endpoint and params; a child has them in `_parent`.
    since: the parameter that asks for what is new. deleted: field (or path and equals) by which a record says that it is
    gone. full: each run's listing is all there is, so what is not in it is withdrawn; by default so without `since`.
    allow_empty: a listing that had records may have none. success: what a good answer says (path, equals). error: path
    of the error in a bad one. rate: requests a second, 0: no limit. max_connections: at a time. max_pages: of a listing.
    timeout_s: for one answer. max_bytes: of one, decoded; max_ratio: of what that expands to, above 10 MiB. max_record_bytes: a larger
    record, as JSON, is quarantined; max_depth: of objects and lists in each other. attempts: of one request. wait_s: before the second one, doubling. max_wait_s: the longest wait a server may ask for. allow_hosts: hosts, addresses or networks that are not
    public and may be asked. contact: a URL or address in the User-Agent.
    """

    VERSION: ClassVar[int] = 1
    LANDED: ClassVar[bool] = True
    WINDOWED: ClassVar[bool] = True

    endpoint: str
    method: Literal["GET", "POST"] = "GET"
    params: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: dict[str, Any] | None = None
    auth: Auth | None = None
    pagination: Pagination = Pagination()
    records: str = ""
    text: str = "text"
    id: str | None = None
    url: str | None = None
    time: str | None = None
    lang: str | None = None
    license: str | None = None
    format: Literal["text", "html"] = "text"
    extract: ExtractOptions = ExtractOptions()
    parents: Parents | None = None
    since: Since | None = None
    deleted: str | Check | None = None
    full: bool | None = None
    allow_empty: bool = False
    success: Check | None = None
    error: str = ""
    rate: Annotated[float, msgspec.Meta(ge=0)] = 0
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    max_pages: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    timeout_s: _Positive = 60
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 << 20
    max_ratio: Annotated[int, msgspec.Meta(ge=1)] = 200
    max_record_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 64 << 20
    max_depth: Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)] = MAX_DEPTH
    attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] = 6
    wait_s: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    max_wait_s: Annotated[float, msgspec.Meta(ge=0)] = 900
    allow_hosts: list[str] = msgspec.field(default_factory=list)
    contact: str = ""

    def __post_init__(self) -> None:
        """Refuse what no run could work with."""
        problems = self._mapping.problems() + endpoint_problems("endpoint", self.endpoint)
        if self.parents is not None:
            problems += endpoint_problems("parents.endpoint", self.parents.endpoint)
            if not self._handed_down:
                problems.append("parents: neither endpoint nor params have a {field} of the parents in them")
        if self.body is not None and self.method != "POST":
            problems.append("body: goes with method: POST only")
        if self.pagination.send_in == "body" and self.method != "POST":
            problems.append("pagination: send_in: body goes with method: POST only")
        for name in self.headers:
            if name.lower() in {"authorization", "cookie", "proxy-authorization"}:
                problems.append(f"headers: {name} holds a secret; give it by auth")
        if self.since is not None and self.full:
            problems.append("full: cannot be true with since, as a run then reads only what is new")
        if self.since is not None and not self.id:
            problems.append("id: since needs it, as a changed record must be known by its id")
        if self.deleted is not None and not self.id:
            problems.append("id: deleted needs it, as a deletion says which id is gone")
        if self.format == "html" and "{" in self.text:
            problems.append("text: with format: html it must be one field, not a template")
        if problems:
            raise ValueError("; ".join(problems))
        self._guard()

    @property
    def _mapping(self) -> Mapping:
        return Mapping(self.text, self.id, self.url, self.time, self.lang, self.license)

    @property
    def _unit(self) -> str:
        scheme, _, rest = self.endpoint.partition("://")
        host, _, path = rest.partition("?")[0].partition("/")
        return f"{host.removesuffix(':443' if scheme == 'https' else ':80')}/{path}"

    @property
    def _host(self) -> str:
        """The host without its port: what must not be hurried."""
        return re.sub(r":\d+$", "", self._unit.partition("/")[0])

    @property
    def _is_full(self) -> bool:
        return self.since is None if self.full is None else self.full

    @property
    def _handed_down(self) -> list[str]:
        """The fields of parents that the endpoint and the parameters take."""
        texts = [self.endpoint, *(value for value in self.params.values() if isinstance(value, str))]
        return [name for text in texts if "{" in text for name in Field(text).names]

    def _guard(self) -> Guard:
        """Give what may be connected to: the ports of the config's own URLs are allowed besides those of the web."""
        urls = [self.endpoint]
        if self.parents is not None:
            urls.append(self.parents.endpoint)
        if self.auth is not None and self.auth.oauth2 is not None:
            urls.append(self.auth.oauth2.token_url)
        return Guard(tuple(self.allow_hosts), WEB_PORTS | {port for url in urls if (port := port_of(url))})

    def check(self, folder: Path) -> list[str]:
        """Ask for the first page (with parents, of the first of them too) and look at its first record."""
        missing = _missing()
        if missing:
            return [missing]
        from gristmill.net.loop import Loop
        from gristmill.net.walk import first_record

        try:
            with Loop() as loop:
                record = loop.run(first_record(self._trip(attempts=2)))
        except SourceError as error:
            return [str(error)]
        if not isinstance(record, dict):
            return [] if record is None else [f"records: they are {type(record).__name__}, not objects; check the path"]
        wanted = {"text": self.text, "id": self.id, "since.cursor": self.since.cursor if self.since else None}
        there = ", ".join(sorted(map(str, record))[:20])
        return [
            f'{name}: the first record has no "{spec}"; it has: {there}'
            for name, spec in wanted.items()
            if spec and Field(spec).names and Field(spec).get(record) is None
        ]

    @property
    def has_cursor(self) -> bool:
        """See `Source`."""
        return self.since is not None

    def plan(self, state: State | None, context: PlanContext) -> SourcePlan:
        """Give one split: where to begin follows from the last state, or from what part is asked for.

        Raises:
            ConfigError: a part is asked for that cannot be.
            SourceError: the state is of a newer version.
        """
        doc = state.doc if state is not None else {}
        if doc.get("v", 1) != 1:
            raise SourceError(f"{self._unit}: its state is of version {doc['v']}, made by a newer gristmill")
        known = state is not None and state.units is not None and self._unit in state.units.column("unit").to_pylist()
        spec: dict[str, Any] = {"known": True} if known and self._is_full else {}
        backfill = False
        if self.since is not None:
            window, backfill = context.window, context.window.is_backfill
            begin = self._cursor(window.since if window.since is not None else doc.get("since"), "since")
            if begin is not None and window.since is None:
                begin = self.since.lagged(begin)
            if begin is None and window.since is None and self.since.initial is not None:
                begin = self.since.parse(self.since.initial)
            end = self._cursor(window.until, "until")
            if end is not None and not self.since.until_param:
                raise ConfigError("since: until_param is not set, so no end can be asked for; set it to fill a part in")
            if begin is not None and end is not None and window.since is not None and begin >= end:
                raise ConfigError(
                    f"--window {window.since}..{window.until}: it ends before it begins, or there; write SINCE..UNTIL"
                )
            params = {self.since.param: begin, self.since.until_param: end}
            spec["params"] = {name: self.since.written(at) for name, at in params.items() if at is not None}
        listing = pa.table({"unit": [self._unit]}, NO_UNITS.schema) if self._is_full else NO_UNITS
        name = hashlib.blake2b(
            orjson.dumps([self._unit, spec], option=orjson.OPT_SORT_KEYS), digest_size=16
        ).hexdigest()
        split = Split(name, spec, [self._unit], 0, fresh=state is None, lane=self._host)
        return SourcePlan(
            [split], listing, replaced=[self._unit] if known and self._is_full else [], ceiling={"backfill": backfill}
        )

    def _cursor(self, value: Any, what: str) -> int | None:
        if value is None or self.since is None:
            return None
        found = self.since.parse(value)
        if found is None:
            raise ConfigError(f"{self._unit}: {what} {value!r} is no {self.since.kind()}")
        return found

    def read(self, split: Split, context: ReadContext) -> Iterator[Page]:
        """Read the listing.

        Raises:
            SourceError: the API refuses, answers what is no page, or the listing would not end.
            Transient: it does not answer now.
        """
        if self._unit in context.skip:
            return
        from gristmill.net.loop import Loop
        from gristmill.net.walk import walk

        resume = context.resume or {}
        trip = self._trip(params=split.spec.get("params", {}))
        with contextlib.ExitStack() as stack:
            records = self._records(stack, context.batch_bytes, int(resume.get("count", 0)))
            loop = stack.enter_context(Loop())
            yield from self._pages(loop.iterate(walk(trip, resume.get("at"))), records, resume, split)

    def _trip(self, params: dict[str, str] | None = None, attempts: int | None = None) -> Trip:
        """Give what is to be asked, for `net.walk`."""
        from gristmill.net.fetch import Limits, user_agent
        from gristmill.net.listing import Query
        from gristmill.net.retry import Patience
        from gristmill.net.walk import Pace, Trip

        query = Query(
            url=self.endpoint,
            method=self.method,
            params=_texts(self.params) | (params or {}),
            headers=self.headers,
            body=self.body,
            records=self.records,
            pagination=self.pagination,
            success=self.success,
            error=self.error,
        )
        above = self.parents
        parents = None
        if above is not None:
            parents = Query(
                url=above.endpoint,
                params=_texts(above.params),
                headers=self.headers,
                records=above.records,
                pagination=above.pagination,
                success=self.success,
                error=self.error,
            )
        return Trip(
            query=query,
            parents=parents,
            handed_down=sorted({*self._handed_down, *above.fields}) if above is not None else [],
            skip_missing=above is not None and above.missing == "skip",
            auth=self.auth,
            guard=self._guard(),
            limits=Limits(max_bytes=self.max_bytes, max_ratio=self.max_ratio, timeout_s=self.timeout_s),
            patience=Patience(
                attempts=attempts or self.attempts,
                wait_initial_s=self.wait_s,
                wait_jitter_s=self.wait_s,
                retry_after_max_s=self.max_wait_s,
            ),
            pace=Pace(self.rate, self.max_connections, self.max_pages),
            agent=user_agent(self.contact),
        )

    def _records(self, stack: contextlib.ExitStack, batch_bytes: int, count: int) -> Any:
        from gristmill.extract import Extractor
        from gristmill.sources.formats.api_records import Records

        extractor = stack.enter_context(Extractor(self.extract)) if self.format == "html" else None
        check = Check(self.deleted) if isinstance(self.deleted, str) else self.deleted
        rows = Rows(self._unit, self._mapping, batch_bytes, Where(max_depth=self.max_depth))
        is_gone = check.is_gone if check is not None else None
        return Records(rows, self._mapping, is_gone, extractor, count, self.max_record_bytes)

    def _pages(self, answers: Iterator[Got], records: Any, resume: dict[str, Any], split: Split) -> Iterator[Page]:
        """Gather answers into pages; the last one has the note for `fold`."""
        reach = Reach(self.since, resume.get("reach")) if self.since is not None else None
        held_bytes = held = 0
        for got in answers:
            for code in got.warnings:
                records.rows.warn(code)
            for code, detail in got.refused:
                records.refuse(code, detail)
            if reach is not None:
                reach.began(got.date)
                self._see(got.records, reach, records.rows)
            yield from records.answer(got.records, got.size)
            held_bytes, held = held_bytes + got.size, held + 1
            if got.place is not None and (held_bytes >= _PAGE_BYTES or held >= _PAGE_ANSWERS or records.rows.full):
                yield records.take({"at": got.place, "count": records.count, "reach": reach and reach.kept()})
                held_bytes = held = 0
        if split.spec.get("known") and not records.count and not self.allow_empty:
            raise SourceError(
                f"{self._unit}: the listing had records and now has none; if that is so, set allow_empty: true to "
                "withdraw all of them"
            )
        yield records.take(note=reach.note() if reach is not None else {})

    def _see(self, records: list[Any], reach: Reach, rows: Rows) -> None:
        """Take up the cursors of some records."""
        field = Field(self.since.cursor if self.since is not None else "")
        for record in records:
            odd = reach.see(field.get(record) if isinstance(record, dict) else None)
            if odd is not None:
                rows.warn(odd)

    def fold(self, state: State | None, plan: SourcePlan, reads: list[UnitRead], seq: int) -> State:
        """Move the cursor to the newest record that was read, if the split ended and was no backfill. Pure."""
        after = super().fold(state, plan, reads, seq)
        if self.since is None:
            return after
        notes = [read.note["since"] for read in reads if read.advance and read.status == "ok" and "since" in read.note]
        if plan.ceiling.get("backfill") or not notes:
            return after
        reached = [at for text in [after.doc.get("since"), *notes] if (at := self.since.parse(text)) is not None]
        return State({**after.doc, "v": 1, "since": self.since.text(max(reached))}, after.units)


def _texts(params: dict[str, str | int | float | bool]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in params.items()}


def _missing() -> str | None:
    """Say what to install if the libraries for HTTP are not there."""
    for package in ("aiohttp", "stamina", "yarl"):
        try:
            version(package)
        except PackageNotFoundError:
            return f'rest needs {package}, which is not installed; pip install "gristmill[web]"'
    return None
