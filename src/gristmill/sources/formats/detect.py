"""Which format a file is in, by its first bytes; and whether its name says otherwise.

Not here: compression (`core.files.codec_of`), encodings (`core.encodings`), what a format means (the other modules of this room). Invariant: the content
decides, except that a name ending in .txt, .md, .text, .rst, .csv or .tsv is believed of all that prose and tables may begin with, a
bracket or a tag, which is told (`text_like`): what begins as Parquet or PDF does is neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import PurePosixPath

import orjson

from gristmill.core.encodings import UTF16
from gristmill.core.errors import UnitFailed
from gristmill.core.tararchive import RECORD, is_header

HEAD_BYTES = 64 << 10  # what a format is told by
_BOM = b"\xef\xbb\xbf"
_CODEC_NAMES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_TAR_NAMES = {".tgz": "gzip", ".tzst": "zstd", ".tbz2": "bzip2", ".tbz": "bzip2", ".txz": "xz"}
_CONTAINERS = {".tar": "tar", ".zip": "zip"}
_FORMAT_NAMES = {
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    ".json": "json",
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".txt", ".md", ".text", ".rst"), "text"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".html", ".htm", ".xhtml", ".shtml"), "html"),
    ".pdf": "pdf",
}
_HTML = re.compile(
    rb"(?:<!--.{0,4000}?-->\s*+|<\?xml[^>]{0,400}+>\s*+){0,9}<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)


# What an array begins with, and neither a line of a log ([2024-01-01] ...) nor a badge ([![build](...)](...)) nor a footnote does.
_ARRAY = re.compile(
    rb'\[\s*+(?:[{"]|\[\s*+[\[{"\]]|\]\s*+\Z|\[?\s*+-?[\d.eE+-]++\s*+,|(?:true|false|null)\s*+[,\]]|\Z)'
)
_PAGE = re.compile(rb"(?:<\?xml[^>]{0,400}+>\s*+)?<(?:!doctype\s+html|html)(?=[\s>])", re.IGNORECASE)


def named_codec(unit: str) -> str:
    """Give the compression that a file's name claims; empty for none."""
    return (_CODEC_NAMES | _TAR_NAMES).get(_suffix(unit), "")


def named_suffix(unit: str) -> str:
    """Give the end of a file's name that tells its format: ".jsonl" of "a.jsonl.gz", ".tar" of "a.tgz"."""
    if _suffix(unit) in _TAR_NAMES:
        return ".tar"
    return _suffix(PurePosixPath(unit).stem if named_codec(unit) else unit)


def named_format(unit: str) -> str | None:
    """Give the format that a file's name claims."""
    return _FORMAT_NAMES.get(named_suffix(unit))


def named_container(unit: str) -> str:
    """Give the kind of archive that a file's name claims; empty for none."""
    return _CONTAINERS.get(named_suffix(unit), "")


def container_of(head: bytes, unit: str) -> str:
    """Give the kind of archive that begins with `head`: zip, tar, or an empty string. A damaged tar is told by its name."""
    cut = 0 < len(head) < 4 and b"PK\3\4".startswith(head) and named_container(unit) == "zip"
    if cut or head.startswith((b"PK\3\4", b"PK\5\6", b"PK\7\x08")):
        return "zip"
    block = head[:RECORD]
    has_magic = block[257:262] == b"ustar"
    if is_header(block) and (has_magic or named_container(unit) == "tar"):
        return "tar"
    return "tar" if named_container(unit) == "tar" and (has_magic or b"\0" in block) else ""


def detect(head: bytes, unit: str) -> tuple[str, bool]:
    """Tell the format by the first decompressed bytes, and if the name claims another one.

    A .json whose first line is a whole object followed by another is read as JSON lines, which survive a bad line.
    """
    claimed = named_format(unit)
    if head.startswith(b"PAR1") or (
        head.startswith(b"PARE") and head[7:8] == b"\0"
    ):  # encrypted: a length, and no text
        return "parquet", claimed not in {None, "parquet"}
    if head.startswith(b"%PDF-"):
        return "pdf", claimed not in {None, "pdf"}
    if head.startswith(UTF16[:2]):
        head = head.decode("utf-16", "ignore").encode()
    bare = head.removeprefix(_BOM).lstrip()
    if claimed in {"text", "csv"}:
        return claimed, False
    if _HTML.match(bare) or (claimed == "html" and bare.startswith(b"<")):
        return "html", claimed not in {None, "html"}
    if bare[:1] not in {b"[", b"{"}:
        return claimed or "text", False
    first, _, rest = bare.partition(b"\n")
    rest = rest.lstrip()
    whole = _is_json(first)
    values = whole and (not rest or rest.startswith(b"{") or _is_json(rest.partition(b"\n")[0]))
    if claimed is None and bare.startswith(b"[") and not values and not _ARRAY.match(bare):
        return "text", False
    if bare.startswith(b"["):
        kind = "jsonl" if whole and rest else "json"
    elif claimed == "json":
        kind = "jsonl" if whole and rest.startswith(b"{") else "json"
    elif claimed == "jsonl" or whole or len(first) == len(bare) >= HEAD_BYTES // 2:
        kind = "jsonl"  # also when the first line is too long to see its end
    else:
        kind = "json"
    return kind, claimed not in {None, kind} and (claimed, kind) != ("json", "jsonl")


def text_like(head: bytes) -> str:
    """Tell what a text begins like: html (a whole page), json (lines of objects), or an empty string."""
    bare = head.removeprefix(_BOM).lstrip()
    return "html" if _PAGE.match(bare) else "json" if _are_objects(bare) else ""


def peek(blocks: Iterator[bytes], *, late: bool = False) -> tuple[bytes, Iterator[bytes]]:
    """Give the first bytes of a stream, and the stream with them still in it. late: where it fails behind some, it does so only there."""
    held: list[bytes] = []
    try:
        for block in blocks:
            held.append(block)
            if sum(map(len, held)) >= HEAD_BYTES:
                break
    except UnitFailed as error:
        if not late or not any(held):
            raise
        blocks = _failing(error)
    return b"".join(held)[:HEAD_BYTES], chain(held, blocks)


def _failing(error: UnitFailed) -> Iterator[bytes]:
    yield b""
    raise error


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _are_objects(data: bytes) -> bool:
    """Tell whether the first line is a whole JSON object, and the next one the beginning of one (it may be cut here)."""
    first, _, rest = data.partition(b"\n")
    second = rest.lstrip()
    return first.startswith(b"{") and second.startswith(b"{") and _is_json(first)


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
