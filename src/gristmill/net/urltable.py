"""The table of URLs a web source knows: what is due, the pieces of work made of it, and its next state.

Not here: where URLs come from (`sources/web.py`), what became of a visit (`sources/formats/webpage.py`). Invariants: the pieces follow from the rows alone, a host
lies in one piece or in a lane of its own; a row is there for every URL, read or not, for a sitemap may not name it twice; all functions are pure.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from itertools import zip_longest
from typing import Any

import orjson
import pyarrow as pa

from gristmill.core.source import UNIT_FIELDS, Split, UnitRead
from gristmill.net.urls import host_of

SPLIT_URLS = 1000
_PAGE_BYTES = 32 << 10  # what a page is taken to weigh before it is read
_FIELDS: list[tuple[str, pa.DataType]] = [
    ("listed", pa.bool_()),  # stands in `urls`
    ("via", pa.string()),  # the sitemap or feed that named it
    ("lastmod", pa.string()),  # when it changed, as that says
    ("etag", pa.string()),
    ("last_modified", pa.string()),
    ("body_hash", pa.string()),
    ("text_hash", pa.string()),
    ("http_status", pa.int32()),
    ("misses", pa.int32()),
    ("last_miss_day", pa.string()),
    ("next_due", pa.string()),
]
_UNIT = ("seq", "ords", "status", "code")
_KNOWN = ("etag", "last_modified", "body_hash", "text_hash", "misses", "last_miss_day")
_TIMES = ("last_miss_day", "hint")
LISTING = pa.schema([pa.field("unit", pa.string()), *(pa.field(name, kind) for name, kind in _FIELDS)])

Row = dict[str, Any]
STATE = pa.schema([*LISTING, *UNIT_FIELDS])


def is_due(row: Row, old: Row | None, now: datetime, recheck: str | None) -> bool:
    """Tell whether a URL is asked for in this run; a new date in a sitemap or feed is a hint to."""
    if recheck is None or old is None or old["next_due"] is None or row["lastmod"] != old["lastmod"]:
        return True
    return now >= datetime.fromisoformat(old["next_due"])


def splits_of(due: list[Row], known: dict[str, Row], now: str) -> list[Split]:
    """Pack the URLs by host: all of a host in one split, its hosts in turn; a large host alone, in a lane."""
    hosts: dict[str, list[Row]] = {}
    for row in due:
        hosts.setdefault(host_of(row["unit"]), []).append(row)
    splits: list[Split] = []
    packed: list[list[Row]] = []
    for host, rows in sorted(hosts.items()):
        if len(rows) > SPLIT_URLS:
            parts = [rows[at : at + SPLIT_URLS] for at in range(0, len(rows), SPLIT_URLS)]
            splits += [_split(part, known, now, host) for part in parts]
            continue
        if packed and sum(map(len, packed)) + len(rows) > SPLIT_URLS:
            splits.append(_split(_in_turn(packed), known, now))
            packed = []
        packed.append(rows)
    if packed:
        splits.append(_split(_in_turn(packed), known, now))
    return splits


def _in_turn(hosts: list[list[Row]]) -> list[Row]:
    """Give one row of each host, then a second of each: so that their pages come in step."""
    return [row for turn in zip_longest(*hosts) for row in turn if row is not None]


def _split(rows: list[Row], known: dict[str, Row], now: str, lane: str = "") -> Split:
    """Make a split; its id holds what is asked for and what was known of it, and no times.

    `spec["urls"]`: for each, url and what is known of it: the columns of `_KNOWN`, hint (its lastmod) and gone, where they are set.
    """
    urls = [_due(row, known.get(row["unit"])) for row in rows]
    content = [{name: value for name, value in url.items() if name not in _TIMES} for url in urls]
    return Split(
        id=hashlib.blake2b(orjson.dumps(content), digest_size=16).hexdigest(),
        spec={"urls": urls, "now": now},
        units=[row["unit"] for row in rows],
        bytes=len(rows) * _PAGE_BYTES,
        fresh=not any(row["unit"] in known for row in rows),
        lane=lane,
    )


def _due(row: Row, old: Row | None) -> dict[str, Any]:
    told = {"url": row["unit"]} | {name: row[name] for name in _KNOWN} | {"hint": row["lastmod"]}
    told["gone"] = (old is not None and old["status"] == "gone") or None
    return {name: value for name, value in told.items() if value is not None}


def moved_on(row: Row, old: Row | None, read: UnitRead | None, seq: int) -> Row:
    """Give the next row of a URL. One that was never read has a row too: a sitemap may not name it a second time."""
    unit = {"seq": seq, "ords": [], "status": "bad", "code": None} if old is None else {n: old[n] for n in _UNIT}
    if read is None:
        return row | unit
    if not read.advance:
        before = row if old is None else {name: old[name] for name in LISTING.names}
        return before | {"listed": row["listed"], "via": row["via"]} | unit
    row = row | {name: value for name, value in read.note.items() if name in row}
    if read.status == "ok":
        ords = [{"lo": read.lo, "hi": read.hi}] if read.hi > read.lo else []
        return row | {"seq": seq, "ords": ords, "status": "ok", "code": None}
    if read.status == "gone":
        return row | {
            "seq": unit["seq"] if unit["status"] == "gone" else seq,
            "ords": [],
            "status": "gone",
            "code": None,
        }
    return (
        row
        | unit
        | ({"status": "ok", "code": None} if read.status == "unchanged" else {"status": "bad", "code": read.code})
    )
