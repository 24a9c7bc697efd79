"""Records of an API's answers on their way into pages: tombstones, texts that are HTML, values that changed their type.

Not here: asking for them (`net`), which page of a listing they are from (`sources/rest.py`), the mapping of fields
(`core.mapping`). Locator: number of the record in the listing. Invariants: a record becomes a row, a reject or a deleted
key; a record that comes after a deletion of its id begins a new page, as deletions come after a page's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import orjson

from gristmill.core import tombstones
from gristmill.core.mapping import Field, Mapping, Rows
from gristmill.core.mend import Spoiled
from gristmill.core.source import Page
from gristmill.extract import Document, Extractor


class Records:
    """The page in the making. count: number of the next record of the listing."""

    def __init__(
        self,
        rows: Rows,
        mapping: Mapping,
        is_gone: Callable[[Any], bool | None] | None,
        extractor: Extractor | None,
        count: int,
        max_record_bytes: int,
    ) -> None:
        self.rows, self.count, self._max_record_bytes = rows, count, max_record_bytes
        self._text = Field(mapping.text)
        self._id = Field(mapping.id) if mapping.id else None
        self._is_gone, self._extractor = is_gone, extractor
        self._gone: list[str] = []
        self._there: list[str] = []  # quarantined, and not known to be gone
        self._pending_bytes = 0

    def answer(self, records: list[Any], size: int) -> Iterator[Page]:
        """Take the records of one answer of `size` bytes up; gives the pages that must end within it."""
        self._pending_bytes += size
        texts = self._extracted(records) if self._extractor is not None else {}
        for at, record in enumerate(records):
            size = _size(record)
            if self.rows.full:
                yield self.take()
            if isinstance(record, Spoiled):
                self.refuse(record.code, record.detail)
                continue
            if isinstance(record, dict):
                key = self._key(record)
                gone = self._is_gone(record) if self._is_gone is not None else False
                if gone is not False:
                    self._marked(key, size, gone)
                    continue
                if size > self._max_record_bytes:
                    self._there += [] if key is None else [key]
                    self.refuse("size.cap", f"a record of {size} bytes, over max_record_bytes", size)
                    continue
                if key is not None and key in self._gone:
                    yield self.take()
                if at in texts and not self._put(record, texts[at], size):
                    continue
                value = self._text.get(record)
                if isinstance(value, int | float):  # a field that is text elsewhere in the listing
                    self.rows.warn("field.type")
                    _replace(record, self._text, orjson.dumps(value).decode())
            self.rows.add(record, self.count, size)
            self.count += 1

    def refuse(self, code: str, detail: str, size: int = 0) -> None:
        """Count something in the place of a record that is none."""
        self.rows.reject(code, self.count, detail, size)
        self.count += 1

    def _key(self, record: dict[str, Any]) -> str | None:
        value = self._id.get(record) if self._id is not None else None
        return str(value) if type(value) in {str, int} and value != "" else None

    def _marked(self, key: str | None, size: int, gone: bool | None) -> None:
        """Take up a record whose tombstone says that it is gone, or (None) neither that nor the opposite."""
        if gone is None:
            self._there += [] if key is None else [key]
            return self.refuse(tombstones.CODE, tombstones.DETAIL, size)
        if key is None:
            return self.refuse("id.missing", "a deletion without the id of what is deleted", size)
        self._gone.append(key)
        self.count += 1
        return None

    def _extracted(self, records: list[Any]) -> dict[int, Any]:
        """Give what extraction makes of each HTML text, by the record's place in the answer."""
        assert self._extractor is not None
        places, documents = [], []
        for at, record in enumerate(records):
            text = self._text.get(record) if isinstance(record, dict) else None
            if isinstance(text, str) and text.strip():
                places.append(at)
                documents.append(Document("html", text.encode("utf-8", "replace"), "utf-8"))
        return dict(zip(places, self._extractor.extract_many(documents), strict=True))

    def _put(self, record: dict[str, Any], extracted: Any, size: int) -> bool:
        """Put an extracted text in the place of its HTML; False: it was refused."""
        if extracted.code:
            self.rows.reject(extracted.code, self.count, extracted.detail, size)
            self.count += 1
            return False
        for code in extracted.warnings:
            self.rows.warn(code)
        _replace(record, self._text, extracted.text)
        return True

    def take(self, resume: dict[str, Any] | None = None, note: dict[str, Any] | None = None) -> Page:
        """Give what is held as a page."""
        page = msgspec.structs.replace(
            self.rows.take(self._pending_bytes),
            deleted=self._gone,
            present=self._there,
            versioned=True,
            resume=resume,
            note=note or {},
        )
        self._gone, self._there, self._pending_bytes = [], [], 0
        return page


def _size(record: Any) -> int:
    try:
        return len(orjson.dumps(record))
    except TypeError:  # nested deeper than orjson writes; mapping refuses it
        return 0


def _replace(record: dict[str, Any], field: Field, value: str) -> None:
    """Put `value` where `field`, which is one name or dotted path, has its value."""
    name = field.names[0]
    if name in record or "." not in name:
        record[name] = value
        return
    *above, last = name.split(".")
    inner: Any = record
    for key in above:
        inner = inner[key]
    inner[last] = value
