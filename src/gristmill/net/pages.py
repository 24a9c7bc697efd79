"""Pagination: where the next page of a listing is, and whether the listing goes in circles.

A *token* is a small JSON-able mapping that says which page is meant: `{}` the first, `{"url": …}` by a link, `{"value":
…}` by a number or cursor. Not here: fetching (`fetch.py`), asking for a listing's pages in turn (`listing.py`).
Invariants: a listing ends because the server said so or gave an empty page, never because of a short one; what would
never end is an error that names what repeated; a token holds no secret and no credential.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal, TypeAlias

import msgspec
import orjson

from gristmill.core.errors import SourceError
from gristmill.core.tombstones import is_gone

Token: TypeAlias = dict[str, Any]

_EMPTY_PAGES = 3  # in a row, each of which says that more follows
_KEPT = 64  # guards that go into a resume point; a longer circle is found after one more turn


class Pagination(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a listing goes on.

    kind: next_link (a URL in the answer), header_link (in the Link header), cursor, page or offset (a parameter that
    changes), none. next: path of the next URL or cursor in the answer. last_record: or, for cursor, the field of the
    page's last record that is the next cursor. param: the parameter that carries cursor, page number or offset. start:
    its first value; by default 1 for page, 0 for offset, none for cursor. size_param, size: the parameter for records a
    page, and how many. overlap: for offset, so many records of the last page are asked for again, in case some before
    them went away. has_more: path of a flag that says whether more follows. total_records, total_pages: paths of
    counts. send_in: the parameters go into the query, or into the JSON body (param may be a dotted path there).
    """

    kind: Literal["none", "next_link", "header_link", "cursor", "page", "offset"] = "none"
    next: str = ""
    last_record: str = ""
    param: str = ""
    start: int | str | None = None
    size_param: str = ""
    size: int | None = None
    overlap: int = 0
    has_more: str = ""
    total_records: str = ""
    total_pages: str = ""
    send_in: Literal["query", "body"] = "query"

    def __post_init__(self) -> None:
        """Refuse what says too little, or more than its kind can use."""
        problems = []
        if self.kind in {"cursor", "page", "offset"} and not self.param:
            problems.append(f"kind {self.kind} needs param, the name of the parameter that carries it")
        if self.kind == "next_link" and not self.next:
            problems.append("kind next_link needs next, the path of the URL in the answer, such as links.next")
        if self.kind == "cursor" and bool(self.next) == bool(self.last_record):
            problems.append("kind cursor needs next, a path in the answer, or last_record, a field of the last record")
        if self.kind == "cursor" and self.last_record and not self.has_more:
            problems.append("last_record needs has_more, as a last record is always there")
        if self.kind in {"page", "offset"} and isinstance(self.start, str):
            problems.append(f"start must be a number for kind {self.kind}")
        if self.overlap and (self.kind != "offset" or self.overlap < 0):
            problems.append("overlap goes with kind offset, and is not negative")
        if self.size is not None and (self.size < 1 or not self.size_param):
            problems.append("size is at least 1, and needs size_param, the parameter it is sent in")
        if self.overlap and self.size is not None and self.overlap >= self.size:
            problems.append("overlap must be smaller than size")
        if problems:
            raise ValueError("; ".join(f"pagination: {problem}" for problem in problems))

    def first(self) -> Token:
        """Give the token of the first page."""
        start = self.start
        if start is None and self.kind in {"page", "offset"}:
            start = 1 if self.kind == "page" else 0
        return {} if start is None else {"value": start}


class Parents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listing whose records say which children to ask for; `{field}` in the source's endpoint and params are its fields.

    endpoint, params, records, pagination: of the listing. fields: further ones that children get in `_parent`. missing:
    what a child's 404 or 410 means: fail, or skip (it went away since it was listed).
    """

    endpoint: str
    params: dict[str, str | int | float | bool] = {}
    records: str = ""
    pagination: Pagination = Pagination()
    fields: list[str] = []
    missing: Literal["fail", "skip"] = "fail"


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test of an object.

    path: where to look. equals: what must be there; without it: anything but null, false, 0 and "".
    """

    path: str
    equals: str | int | float | bool | None = None

    def holds(self, value: Any) -> bool:
        """Tell whether it is so."""
        found = dig(value, self.path)
        if self.equals is None:
            return bool(found)
        return bool(found == self.equals and isinstance(found, bool) == isinstance(self.equals, bool))

    def is_gone(self, value: Any) -> bool | None:
        """Tell whether an object says that it is gone: by `equals`, else by what tombstones mean; None: it says neither."""
        return is_gone(dig(value, self.path)) if self.equals is None else self.holds(value)


class Seen(msgspec.Struct, frozen=True):
    """What came of one page, as far as the next one hangs on it.

    data: the decoded answer. headers: in lower case. count: of its records. last: the last of them. so_far: records of
    the listing up to here.
    """

    data: Any
    headers: Mapping[str, str]
    count: int
    last: Any
    so_far: int


def following(how: Pagination, token: Token, seen: Seen) -> Token | None:
    """Give the token of the page after `token`'s, as it came (a URL may be relative); None: it was the last.

    Raises:
        SourceError: the answer says that more follows, and not where; or says it in a form that cannot be used.
    """
    more = dig(seen.data, how.has_more) if how.has_more else None
    if how.kind == "none" or (how.has_more and not _true(more)):
        return None
    if how.kind in {"page", "offset"}:
        return _counted(how, token, seen, told=bool(how.has_more))
    value: Any
    if how.kind == "header_link":
        value = next_link(seen.headers.get("link", ""))
    elif how.last_record:
        value = dig(seen.last, how.last_record)
    else:
        value = dig(seen.data, how.next)
    if value is None or value is False or value == "":
        if how.has_more and seen.count:
            raise SourceError(f"pagination: {how.has_more} says that more follows, but no next page is given")
        return None
    if not isinstance(value, str if how.kind in {"next_link", "header_link"} else str | int) or value is True:
        raise SourceError(f"pagination: the next page is given as {type(value).__name__}, not as text or number")
    return {"url": value} if how.kind in {"next_link", "header_link"} else {"value": value}


def _counted(how: Pagination, token: Token, seen: Seen, *, told: bool) -> Token | None:
    """Give the next page number or offset."""
    value = token["value"]
    if how.kind == "page":
        following_value = value + 1
        if how.total_pages:
            first = how.first()["value"]
            pages = _number(dig(seen.data, how.total_pages), how.total_pages)
            return {"value": following_value} if following_value - first < pages else None
    else:
        step = seen.count - how.overlap
        if seen.count and step < 1:  # nothing but what was read before
            return None
        following_value = value + (step if seen.count else how.size or 0)
    if how.total_records:
        total = _number(dig(seen.data, how.total_records), how.total_records)
        read = value + seen.count if how.kind == "offset" else seen.so_far
        if read <= total:
            return {"value": following_value} if read < total else None
        # more came than there should be: it is the count that is wrong, and an empty page will tell the end
    return {"value": following_value} if told or seen.count else None


def _number(value: Any, path: str) -> int:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SourceError(f"pagination: {path} is {type(value).__name__} in the answer, expected a number")
    return int(value)


def _true(value: Any) -> bool:
    return value.strip().lower() in {"true", "1", "yes"} if isinstance(value, str) else bool(value)


_LINK = re.compile(r'\s*<([^>]*)>((?:\s*;\s*[\w!#$&+\-.^`|~*]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)\s*(?:,|$)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)


def next_link(header: str) -> str | None:
    """Give the target of `rel=next` in a Link header (RFC 8288), if there is one."""
    at = 0
    while link := _LINK.match(header, at):
        rel = _REL.search(link[2])
        if rel and "next" in (rel[1] if rel[1] is not None else rel[2]).lower().split():
            return link[1]
        at = link.end()
        if at >= len(header):
            break
    return None


def dig(value: Any, path: str) -> Any:
    """Give what lies at a dotted path: keys of objects, numbers for items of lists; "" is the value itself; None: nothing."""
    if not path:
        return value
    if isinstance(value, dict) and path in value:
        return value[path]
    for key in path.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and re.fullmatch(r"-?\d{1,9}", key) and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def digest(value: Any) -> str:
    """Give 12 hex digits for a JSON-able value."""
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # nested deeper than orjson writes
        data = repr(value).encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:12]  # twice as fast as blake2b where processors have it built in


class Guards:
    """Sees to it that a listing ends: no page asked for twice, none coming twice, no endless emptiness, a most of pages."""

    def __init__(self, max_pages: int, kept: Mapping[str, Any] | None = None) -> None:
        kept = kept or {}
        self._max_pages = max_pages
        self._pages = int(kept.get("pages", 0))
        self._empty = int(kept.get("empty", 0))
        self._tokens: dict[str, int] = {mark: at for at, mark in kept.get("tokens", [])}
        self._bodies: dict[str, int] = {mark: at for at, mark in kept.get("bodies", [])}

    def asking(self, token: Token) -> None:
        """Look at the token of the page that is asked for next.

        Raises:
            SourceError: it was asked for before, or one page too many is asked for.
        """
        if self._pages >= self._max_pages:
            raise SourceError(
                f"pagination: the listing goes on after {self._pages} pages; if it is that long, raise max_pages"
            )
        self._pages += 1
        mark = digest(token)
        if mark in self._tokens:
            what = "next URL" if "url" in token else "cursor, page number or offset"
            raise SourceError(
                f"pagination: a repeated {what}: page {self._pages} is asked for as page {self._tokens[mark]} was; "
                "the listing would never end"
            )
        self._tokens[mark] = self._pages

    def came(self, records: list[Any], *, more: bool) -> None:
        """Look at the records of the page that came.

        Raises:
            SourceError: they are those of an earlier page, or the third empty page says that more follows.
        """
        if not records:
            self._empty += 1
            if more and self._empty >= _EMPTY_PAGES:
                raise SourceError(
                    f"pagination: {self._empty} empty pages in a row (the last is page {self._pages}) say that more follows"
                )
            return
        self._empty = 0
        mark = digest(records)
        if mark in self._bodies:
            raise SourceError(
                f"pagination: a repeated page: page {self._pages} has the records of page {self._bodies[mark]}; "
                "the server gives the same page again, so the listing would never end"
            )
        self._bodies[mark] = self._pages

    def forget(self) -> None:
        """Begin again: the same pages are wanted once more."""
        self._tokens, self._bodies, self._empty = {}, {}, 0

    def kept(self) -> dict[str, Any]:
        """Give what to go on with after a break, JSON-able."""
        newest = [[[at, mark] for mark, at in islice(reversed(marks.items()), _KEPT)] for marks in self._marks()]
        return {"pages": self._pages, "empty": self._empty, "tokens": newest[0][::-1], "bodies": newest[1][::-1]}

    def _marks(self) -> tuple[dict[str, int], dict[str, int]]:
        return self._tokens, self._bodies
