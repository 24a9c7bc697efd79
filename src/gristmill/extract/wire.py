"""What goes in and out of text extraction, and how it crosses the pipe to the process that does it.

Not here: the process (`extractor`, `worker`), the extraction (`html`, `pdf`). A frame is a length (4 bytes, little
endian) and that many bytes of MessagePack. Invariants: nothing that crosses the pipe can run code on the other side (no
pickle); an `Extracted` either has a `code`, and is a reject, or has text, or is empty with a warning that says why.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Kind = Literal["html", "pdf"]
HEADER_BYTES = 4
EXIT_MEMORY, EXIT_ERROR = 77, 78  # the child's exit codes when memory ran out, when a library raised
_MIB = 1 << 20


class ExtractOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How text is extracted, and what one document may cost. Usable as a field of a source: its fields are YAML keys.

    extractor: of HTML: resiliparse, trafilatura, or default, which asks trafilatura only where resiliparse's result looks
    bad. max_bytes: a larger document is refused, unread. max_depth: of nested open tags in HTML. max_attributes: of one
    HTML tag. max_pages: of a PDF. cpu_s, wall_s: processor time and time for one document; the process is killed, the
    document refused. max_memory_mb: address space of the extracting process.
    """

    extractor: Literal["default", "resiliparse", "trafilatura"] = "default"
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 10 * _MIB
    max_depth: Annotated[int, msgspec.Meta(ge=1)] = 2000
    max_attributes: Annotated[int, msgspec.Meta(ge=1)] = 2000
    max_pages: Annotated[int, msgspec.Meta(ge=1)] = 5000
    cpu_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 10.0
    wall_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 120.0
    max_memory_mb: Annotated[int, msgspec.Meta(ge=256)] = 1024


class Document(msgspec.Struct, frozen=True, array_like=True):
    """A document to extract from. charset: what its HTTP header says, if any. url: where it is from, for links and log-ins."""

    kind: Kind
    data: bytes
    charset: str | None = None
    url: str | None = None


class Extracted(msgspec.Struct, frozen=True, array_like=True):
    """What came out of one document.

    text: the main text, paragraphs parted by line ends; empty when `code` says why the document is refused. title, lang
    (a language tag), time (ISO 8601) as the document itself declares them. meta: what else it says of itself (canonical,
    license, robots, tdm_reservation, author, pages, ...) and `extractor`, name and version. detail: never quotes text of
    the document. warnings: codes of oddities that cost nothing.
    """

    text: str = ""
    title: str | None = None
    lang: str | None = None
    time: str | None = None
    meta: dict[str, Any] = {}
    code: str = ""
    detail: str = ""
    warnings: list[str] = []


def refused(code: str, detail: str) -> Extracted:
    """Give the result for a document that is refused."""
    return Extracted(code=code, detail=detail)


def frame(value: Any) -> bytes:
    """Give a value as a frame."""
    body = msgspec.msgpack.encode(value)
    return len(body).to_bytes(HEADER_BYTES, "little") + body
