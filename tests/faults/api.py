"""A small API over a list of records, in every style of pagination there is, for the fault server.

Paths: /next, /link, /cursor, /last, /page, /offset, /plain, and /graph by POST. The label of a reply is the number of its
page, so a fault can be aimed at the first, a middle or the last page. `STYLES` has the settings of the `rest` source for each.
"""

import json
from collections.abc import Callable
from typing import Any

from tests.faults.server import Reply, Request

SIZE = 4

STYLES: dict[str, dict[str, Any]] = {
    "next": {"records": "data.items", "pagination": {"kind": "next_link", "next": "links.next"}},
    "link": {"records": "", "pagination": {"kind": "header_link"}},
    "cursor": {"records": "data.items", "pagination": {"kind": "cursor", "param": "after", "next": "meta.after"}},
    "last": {
        "records": "data.items",
        "pagination": {"kind": "cursor", "param": "after", "last_record": "id", "has_more": "meta.more"},
    },
    "page": {
        "records": "data.items",
        "pagination": {"kind": "page", "param": "page", "size_param": "size", "size": SIZE},
    },
    "offset": {
        "records": "data.items",
        "pagination": {"kind": "offset", "param": "from", "size_param": "size", "size": SIZE},
    },
    "plain": {"records": "data.items"},
    "graph": {
        "records": "data.items",
        "method": "POST",
        "body": {"query": "{ items }", "variables": {}},
        "pagination": {
            "kind": "cursor",
            "param": "variables.after",
            "next": "meta.after",
            "send_in": "body",
        },
    },
}


class Api:
    """Serves `records`, which may be changed between requests. before: is called with (self, page) before each answer."""

    def __init__(
        self, records: list[dict[str, Any]], *, size: int = SIZE, before: Callable[["Api", int], None] | None = None
    ) -> None:
        self.records, self.size, self.before = list(records), size, before

    def __call__(self, request: Request) -> Reply:
        style, query, size = request.path.strip("/"), request.query, self.size
        if style == "graph":
            query = json.loads(request.body)["variables"]
        if style == "offset":
            start = int(query.get("from", 0))
        elif style == "last":
            ids = [record["id"] for record in self.records]
            start = 0 if "after" not in query else ids.index(type(ids[0])(query["after"])) + 1
        else:
            start = size * (int(query.get({"cursor": "after", "graph": "after"}.get(style, "page"), 1)) - 1)
        page = start // size
        if self.before is not None:
            self.before(self, page)
        items = self.records if style == "plain" else self.records[start : start + size]
        if "updated_since" in query:
            items = [each for each in self.records if each["updated"] >= query["updated_since"]]
            items = [each for each in items if "updated_until" not in query or each["updated"] < query["updated_until"]]
        more = style != "plain" and "updated_since" not in query and start + size < len(self.records)
        target = f"/{style}?page={page + 2}"
        headers = (
            {"Link": f'</{style}?page=1>; rel="first", <{target}>; rel="next"'} if style == "link" and more else {}
        )
        answer: Any = {
            "status": "ok",
            "data": {"items": items},
            "links": {"next": target if more else None},
            "meta": {"after": page + 2 if more else None, "more": more, "total": len(self.records)},
        }
        return Reply(json.dumps(items if style == "link" else answer).encode(), headers=headers, label=str(page))
