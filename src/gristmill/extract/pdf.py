r"""PDF as bytes becomes its text, page by page, by pdfium.

Not here: recognising text in pictures: a scan is refused with a code. Lines stand as pdfium gives them, with "\n"; a hyphen
at a line's end that pdfium marks as breaking a word is taken out and the word joined; pages are parted by an empty line.
Invariants: a document that ends early, or in which a page's drawing does, is refused, never read as far as it goes (pdfium
mends what it can and says nothing); all pages or none; what is refused says what was found.
"""

from __future__ import annotations

import functools
import re
import zlib
from importlib.metadata import version
from typing import Any

from gristmill.extract.wire import Document, Extracted, ExtractOptions, refused

_MAX_UNREADABLE = 0.05  # share of characters that mean nothing: fonts without a way back to Unicode
_SCAN_CHARS = 20  # a page of pictures with less text than this (a page number, a stamp) was scanned
_END_BYTES = 1024  # how much may follow the end mark
_FORMAT, _PASSWORD, _SECURITY = 3, 4, 5  # FPDF_ERR_*
_WORD_BREAK = re.compile("[\ufffe\x02](?:\r\n|\n|\r)?")
_UNREADABLE = re.compile("[\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff\x00-\x08\x0b\x0e-\x1f]")
_TIME = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?)?")
_STREAM = re.compile(rb">>\s{0,9}stream\r?\n")
_LENGTH = re.compile(rb"/Length\s{1,9}(\d{1,10})(?!\s{1,9}\d{1,10}\s{1,9}R)")
_DEFLATED = re.compile(rb"/Filter\s{0,9}(?:\[\s{0,9})?/FlateDecode\s{0,9}[]/>\r\n ]")
# What holds no text: pictures, fonts, colours, functions, what the document says of itself.
_NO_TEXT = re.compile(
    rb"/(?:Subtype\s{0,9}/(?!Form)|Type\s{0,9}/(?!XObject|ObjStm)|Length[123]\b|N\s|FunctionType|ShadingType)"
)
_DICT_BYTES, _AFTER_BYTES, _INFLATED_BYTES = 4 << 10, 64, 128 << 20
_LINEAR = re.compile(rb"/Linearized\s[^>]{0,400}?/L\s{1,9}(\d{1,12})")


def extract(document: Document, options: ExtractOptions) -> Extracted:
    """Extract the text of a PDF."""
    import pypdfium2  # type: ignore[import-untyped]

    data = document.data
    if b"%PDF-" not in data[:_END_BYTES]:
        return refused("type.mismatch", "expected PDF, found no %PDF- mark at the start")
    if cut := _cut_short(data):
        return refused("file.truncated", cut)
    if damaged := _damaged(data):
        return refused("pdf.corrupt", damaged)
    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in {_PASSWORD, _SECURITY}:
            return refused("pdf.locked", "encrypted; a password is needed")
        return refused("pdf.corrupt", "the structure of the document cannot be read")
    try:
        count = len(pdf)
        if count > options.max_pages:
            return refused("size.cap", f"{count} pages, over max_pages ({options.max_pages})")
        pages: list[str] = []
        pictures = blank = 0
        for number in range(count):
            page = None
            try:
                page = pdf[number]
                textpage = page.get_textpage()
                pages.append(_tidy(textpage.get_text_bounded()))
                textpage.close()
                if len(pages[-1]) < _SCAN_CHARS and _has_picture(page):
                    pictures += 1
                elif not pages[-1]:
                    blank += 1
            except pypdfium2.PdfiumError:
                return refused("pdf.corrupt", f"page {number + 1} of {count} cannot be read")
            finally:
                if page is not None:
                    page.close()
        return _judged(pages, pictures, blank, pdf)
    finally:
        pdf.close()


def _judged(pages: list[str], pictures: int, blank: int, pdf: Any) -> Extracted:
    text = "\n\n".join(page for page in pages if page)
    unreadable = len(_UNREADABLE.findall(text))
    if unreadable > _MAX_UNREADABLE * max(len(text), 1):
        return refused("pdf.mojibake", f"{unreadable / len(text):.0%} of the characters have no meaning in Unicode")
    if pictures and 2 * pictures >= len(pages):
        return refused("pdf.scan", f"{pictures} of {len(pages)} pages are pictures without text")
    if not text:
        return refused("pdf.no_text", f"no text on {len(pages)} pages")
    told = pdf.get_metadata_dict(skip_empty=True)
    meta: dict[str, Any] = {"pages": len(pages)}
    names = {"Author": "author", "Subject": "description", "Keywords": "keywords", "Producer": "producer"}
    meta |= {ours: " ".join(told[theirs].split()) for theirs, ours in names.items() if told.get(theirs, "").strip()}
    meta["extractor"] = f"pypdfium2 {_version()}"
    warnings = [code for code, count in (("pdf.scanned_pages", pictures), ("pdf.blank_pages", blank)) if count]
    title = " ".join(_UNREADABLE.sub("", told.get("Title", "")).split())
    return Extracted(text, title or None, None, _iso(told.get("CreationDate", "")), meta, warnings=warnings)


def _tidy(text: str) -> str:
    """Give a page's text with plain line ends, broken words joined, and no spaces at the ends of lines."""
    joined = _WORD_BREAK.sub("", text)
    lines = joined.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def _has_picture(page: Any) -> bool:
    from pypdfium2 import raw

    return any(True for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3))


def _cut_short(data: bytes) -> str:
    """Tell how it shows that the end of the document is missing; empty if nothing shows."""
    linear = _LINEAR.search(data, 0, _END_BYTES * 2)
    if linear and int(linear[1]) > len(data):
        return f"{len(data)} bytes of a document that says it has {int(linear[1])}"
    end = data.rfind(b"%%EOF")
    if end < 0:
        return "no end mark (%%EOF)"
    if len(data) - end > _END_BYTES and b" obj" in data[end:]:
        return "objects after the last end mark (%%EOF)"
    return ""


def _damaged(data: bytes) -> str:
    """Tell if a compressed stream that draws a page does not inflate to its end; empty if none is seen.

    Only what stands open in the file is looked at; in an encrypted document nothing does.
    """
    at = inflated = 0
    if b"/Encrypt" in data:
        return ""
    while (found := _STREAM.search(data, at)) is not None and inflated < _INFLATED_BYTES:
        start = found.end()
        begin = max(data.rfind(b" obj", max(0, found.start() - _DICT_BYTES), found.start()), at)
        about = data[begin : found.start() + 2]
        said = _LENGTH.search(about)
        told = start + int(said[1]) if said else start
        end = data.find(b"endstream", told, told + _AFTER_BYTES)
        end = end if end >= 0 else data.find(b"endstream", start)
        if end < 0:
            break
        at = end
        if not _DEFLATED.search(about) or _NO_TEXT.search(about):
            continue
        size, whole = _inflated(data[start:end])
        inflated += size
        if not whole:
            return f"the compressed drawing at byte {start} ends early or is damaged"
    return ""


def _inflated(data: bytes) -> tuple[int, bool]:
    """Give how many bytes come out, and whether the last block was seen. Its checksum is often wrong, and tells nothing."""
    inflater, size = zlib.decompressobj(-15), 0
    data = data[2:]
    try:
        while data and not inflater.eof and size < _INFLATED_BYTES:
            size += len(inflater.decompress(data, 1 << 20))
            data = inflater.unconsumed_tail
    except zlib.error:
        return size, False
    return size, inflater.eof or size >= _INFLATED_BYTES


def _iso(value: str) -> str | None:
    """Give a PDF date as ISO 8601."""
    found = _TIME.match(value.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, utc, sign, off_hour, off_minute = found.groups()
    zone = "+00:00" if utc or not sign else f"{sign}{off_hour}:{off_minute or '00'}"
    return f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone}"


@functools.cache
def _version() -> str:
    return version("pypdfium2")
