"""A listing of an API: its pages one after the other, each asked for with patience and credentials, and understood.

Not here: single fetches, retries, credentials, the rules of pagination (the modules beside this one); what a record
means (`sources/rest.py`). Invariants: pages come in order and once each, and an answer that is no proper page ends the
listing with an error, never early and in silence; headers and parameters of the config go to the endpoint's origin only.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import orjson
from yarl import URL

from gristmill.core.errors import SourceError
from gristmill.core.mend import Mended, fault_of, mend
from gristmill.core.oddities import oddities_of_one
from gristmill.net.credentials import Credentials
from gristmill.net.fetch import FetchFailed, Response, shown
from gristmill.net.pages import Check, Guards, Pagination, Seen, Token, dig, following
from gristmill.net.retry import Retrier, http_date

_SHOWN_CHARS = 40  # of an API's own error word or code
_ROUND = 1000  # limits of how far an API counts are multiples of it
_SWEEPS = 2  # passes more over a listing that shrank while it was read


class Query(msgspec.Struct, frozen=True):
    """What is asked for. url: absolute; body: sent as JSON; records: path of the list; others as in `sources/rest.py`."""

    url: str
    method: str = "GET"
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    records: str = ""
    pagination: Pagination = Pagination()
    success: Check | None = None
    error: str = ""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page to be asked for, and what is known of the listing before it.

    so_far: records; total: of them, as the last page told it; shrank: it has fallen; sweep: how often the listing was
    gone over before.
    """

    token: Token
    so_far: int = 0
    total: int | None = None
    shrank: bool = False
    sweep: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A page that came. size: bytes of its body. following: the next one's place, None after the last. warnings: codes.

    date: of the answer, by the server's clock.
    """

    records: list[Any]
    size: int
    following: Place | None
    warnings: list[str] = []
    date: datetime | None = None


class Said(NamedTuple):
    """What an answer says. mended: set if a strict parser refuses it for some of its values. odd: codes of what changed."""

    data: Any = None
    mended: Mended | None = None
    odd: tuple[str, ...] = ()

    def judged(self, records: list[Any]) -> list[Any]:
        """Give its records, with a `Spoiled` in the place of each that is."""
        if self.mended is None:
            return records
        is_utf8 = self.mended.is_utf8
        return [fault if (fault := fault_of(record, is_utf8=is_utf8)) else record for record in records]


class PageMissing(SourceError):
    """A page is not there: 404 or 410."""


class Listing:
    """The pages of one query."""

    def __init__(self, query: Query, retrier: Retrier, credentials: Credentials) -> None:
        self._query, self._retrier, self._credentials = query, retrier, credentials

    async def pages(self, at: Place | None, guards: Guards) -> AsyncIterator[Answer]:
        """Give the pages from `at` on (None: from the first).

        Raises:
            SourceError: an answer is no page, or the listing would not end.
            Transient: no answer came, and might another time.
        """
        at = at or Place(self._query.pagination.first())
        while at is not None:
            guards.asking(at.token)
            response, said = await self._answer(at.token)
            records = self._records(said.data, response) if response.status != 204 else []
            after = self._after(at, response, said.data, records)
            guards.came(records, more=after is not None)
            warnings = [*response.notes, *said.odd]
            if said.mended is not None and said.mended.has_controls:
                warnings.append("json.control")
            if after is None and at.shrank:
                warnings.append("listing.shrank")
            if after is None and self._round(said.data, at.so_far + len(records)):
                warnings.append("listing.round_total")
            if after is not None and after.sweep != at.sweep:
                guards.forget()
            date = http_date(response.headers.get("date", ""))
            yield Answer(said.judged(records), len(response.body), after, warnings, date)
            at = after

    def _round(self, data: Any, so_far: int) -> bool:
        """Tell if the total that ended a listing may be no total but as far as the API counts."""
        path = self._query.pagination.total_records
        return bool(path) and so_far > 0 and so_far % _ROUND == 0 and str(dig(data, path)) == str(so_far)

    def _after(self, at: Place, response: Response, data: Any, records: list[Any]) -> Place | None:
        """Give the next place.

        A listing whose `total_records` falls while it is read has lost records of its earlier pages, so later ones have
        moved to where was read before: it is gone over again, at most twice.
        """
        how = self._query.pagination
        so_far = at.so_far + len(records)
        last = records[-1] if records else None
        token = following(how, at.token, Seen(data, response.headers, len(records), last, so_far))
        total = dig(data, how.total_records) if how.total_records else None
        total = total if isinstance(total, int) else None
        shrank = at.shrank or (total is not None and at.total is not None and total < at.total)
        if token is not None:
            return Place(self._bare(token, response.url), so_far, total, shrank, at.sweep)
        return Place(how.first(), sweep=at.sweep + 1) if shrank and at.sweep < _SWEEPS else None

    def _bare(self, token: Token, base: str) -> Token:
        """Give a token with its URL made absolute, and without parameters of the config, which may be secrets: their names stay."""
        if "url" not in token:
            if fault_of(token, is_utf8=True):
                raise SourceError(
                    f"{shown(base)}: pagination: the next page is given in characters that no URL can hold"
                )
            return token
        try:
            url = URL(base).join(URL(token["url"])).with_fragment(None)
        except ValueError:
            raise SourceError(f"{shown(base)}: pagination: the next page's URL is no URL") from None
        secret = self._credentials.query(str(url)) if url.scheme in {"http", "https"} and url.host else {}
        ours = {**self._query.params, **secret}
        names = [name for name, value in ours.items() if url.query.get(name) == value]
        return {"url": str(url.without_query_params(*names)), "with": names} if names else {"url": str(url)}

    def _request(self, token: Token) -> tuple[str, bytes | None]:
        """Give the URL (the key that may go into it still left out) and the body."""
        query, how = self._query, self._query.pagination
        if "url" in token:
            again = {name: query.params[name] for name in token.get("with", []) if name in query.params}
            return str(URL(token["url"]).update_query(again)), self._json(query.body)
        changing: dict[str, Any] = {how.size_param: how.size} if how.size is not None else {}
        if "value" in token:
            changing[how.param] = token["value"]
        if how.send_in == "body":
            body = json.loads(json.dumps(query.body or {}))
            for path, value in changing.items():
                _put(body, path, value)
            return str(URL(query.url).update_query(query.params)), self._json(body)
        params = query.params | {name: str(value) for name, value in changing.items()}
        return str(URL(query.url).update_query(params)), self._json(query.body)

    @staticmethod
    def _json(body: dict[str, Any] | None) -> bytes | None:
        return None if body is None else orjson.dumps(body)

    async def _answer(self, token: Token) -> tuple[Response, Said]:
        """Ask for a page, with a new token once if the answer is 401."""
        query = self._query
        url, body = self._request(token)
        own = self._credentials.belongs(url)
        sent = url if not own else str(URL(url).update_query(self._credentials.query(url)))
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if body is not None else {})
        for renewed in (False, True):
            credentials = await self._credentials.headers(url)
            response, said = await self._fetch(
                sent, headers, (query.headers | credentials) if own else {}, body if own else None
            )
            if response.status != 401 or renewed or not await self._credentials.renewed(credentials):
                break
        status = response.status
        if status in {401, 403}:
            raise SourceError(
                f"{shown(url)}: auth.refused: HTTP {status}; check the credentials under auth, and that they may read this"
                + ("" if own else "; the page is on another host, which is not given the credentials")
            )
        if not 200 <= status < 300 or status == 206:  # a part, which nobody asked for
            kind = PageMissing if status in {404, 410} else SourceError
            raise kind(f"{shown(url)}: http.{status}: HTTP {status} for a page of the listing; check the endpoint")
        how = query.pagination
        if status == 204 and token != how.first() and how.kind not in {"page", "offset"}:
            raise SourceError(f"{shown(url)}: http.204: no content for a page that another one led to")
        return response, said

    async def _fetch(
        self, url: str, headers: dict[str, str], credentials: dict[str, str], body: bytes | None
    ) -> tuple[Response, Said]:
        """Give a response and what it says: nothing if its status is no success."""
        said = Said()

        def accept(response: Response) -> None:
            nonlocal said
            said = self._judged(response)

        try:
            response = await self._retrier.fetch(
                self._query.method, url, headers=headers, credentials=credentials, body=body, accept=accept
            )
            return response, said  # noqa: TRY300  reads as one
        except FetchFailed as error:
            if error.code.startswith("api."):  # it answers, and keeps answering this
                raise SourceError(str(error)) from None
            raise

    def _judged(self, response: Response) -> Said:
        """Decode an answer if it is what was asked for; that it is not is worth another attempt."""
        if not 200 <= response.status < 300 or response.status == 204:
            return Said()
        said = parsed(response)
        query, data = self._query, said.data
        found = dig(data, query.error) if query.error else None
        if found:
            raise FetchFailed(
                "api.error", response.url, f"the answer has {query.error}{_word(found)} (HTTP {response.status})"
            )
        if query.success is not None and not query.success.holds(data):
            raise FetchFailed("api.error", response.url, f"the answer's {query.success.path} does not say success")
        return said

    def _records(self, data: Any, response: Response) -> list[Any]:
        path = self._query.records
        if path and not _has(data, path):
            kind = "a list" if isinstance(data, list) else "an object" if isinstance(data, dict) else "a value"
            raise SourceError(
                f"{shown(response.url)}: api.records: the answer, {kind}, has no {path!r}; check `records`"
            )
        found = dig(data, path)
        if found is None:
            return []
        if isinstance(found, dict):
            return [found]
        if not isinstance(found, list):
            raise SourceError(
                f"{shown(response.url)}: api.records: {path or 'the answer'} is {type(found).__name__}, expected a list"
            )
        return found


def parsed(response: Response) -> Said:
    """Give the JSON value of a body: UTF-8, or what its charset or its first bytes say.

    Raises:
        FetchFailed: it is none.
    """
    body = response.body.removeprefix(b"\xef\xbb\xbf")
    try:
        data = orjson.loads(body)
        return Said(data, odd=tuple(sorted(oddities_of_one(body, data))))
    except orjson.JSONDecodeError:
        pass
    kind = response.headers.get("content-type", "").lower()
    charset = kind.partition("charset=")[2].partition(";")[0].strip(' "')
    for name in (charset, json.detect_encoding(body)):
        if name and name not in {"utf-8", "utf8"}:
            try:
                return Said(orjson.loads(body.decode(name).encode()))
            except (LookupError, UnicodeError, orjson.JSONDecodeError):
                continue
    try:
        mended = mend(body)
        return Said(mended.value, mended)
    except ValueError:
        pass
    looks = "HTML" if body.lstrip()[:1] == b"<" else "nothing" if not body.strip() else "something else, or cut"
    said = kind.partition(";")[0][:40] or "no type"
    raise FetchFailed("api.not_json", response.url, f"HTTP {response.status} with {looks} ({said}), expected JSON")


def _has(data: Any, path: str) -> bool:
    """Tell whether there is anything, null included, at a path."""
    if dig(data, path) is not None or (isinstance(data, dict) and path in data):
        return True
    above, _, last = path.rpartition(".")
    inner = dig(data, above)
    return isinstance(inner, dict) and last in inner


def _put(body: dict[str, Any], path: str, value: Any) -> None:
    *above, last = path.split(".")
    for key in above:
        body = body.setdefault(key, {})
    body[last] = value


def _word(found: Any) -> str:
    """Give an API's error code for a message: a short word or number only, as texts may hold anything."""
    if isinstance(found, dict):
        found = next((found[key] for key in ("code", "status", "type", "error") if key in found), None)
    if isinstance(found, list):
        return f": {len(found)} of them"
    shown_word = isinstance(found, int) or (
        isinstance(found, str) and found.replace("_", "").replace(".", "").isalnum()
    )
    return f": {str(found)[:_SHOWN_CHARS]}" if shown_word else ""
