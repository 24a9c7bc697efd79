"""HTML and PDF files: one file is one record, its text extracted in a killable child process.

Not here: the extraction (`extract`). Locator: 0. The columns url (the canonical link), time, lang and license are filled
from what the document says of itself; everything else it says, and the title, is `meta`. Invariant: each file gives a row, a
reject with a code, or, when there is nothing in it, a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gristmill.core.mapping import Mapping, Rows
from gristmill.core.source import Page
from gristmill.extract import Extracted, Extractor, Kind

MAPPING = Mapping(text="text", url="url", time="time", lang="lang", license="license")


def read(
    blocks: Iterable[bytes], rows: Rows, kind: Kind, extractor: Extractor, max_bytes: int, charset: str | None = None
) -> Iterator[Page]:
    """Read a whole file as one document; `rows` must have been made with `MAPPING`. charset: as the config says."""
    held: list[bytes] = []
    size = 0
    for block in blocks:
        size += len(block)
        if size <= max_bytes:
            held.append(block)
        else:
            held.clear()
    if size > max_bytes:
        rows.reject("size.cap", 0, f"a document of {size} bytes, over {max_bytes}", size)
    else:
        _add(rows, extractor.extract(kind, b"".join(held), charset=charset), size)
    yield rows.take(size)


def _add(rows: Rows, found: Extracted, size: int) -> None:
    for code in found.warnings:
        rows.warn(code)
    if found.code:
        rows.reject(found.code, 0, found.detail, size)
    elif found.text:
        record = dict(found.meta)
        if found.title:
            record["title"] = found.title
        canonical = record.get("canonical", "")
        if canonical.startswith(("http://", "https://")):
            record["url"] = record.pop("canonical")
        rows.add(record | {"text": found.text, "time": found.time, "lang": found.lang}, 0, size)
