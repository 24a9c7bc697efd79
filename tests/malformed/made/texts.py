"""Text files, whole and by line; declared encodings; names that claim another format."""

from collections.abc import Iterator
from typing import Any

from tests.malformed.made import tables, values
from tests.malformed.made.outcome import NONE, Content, Counts, lost

CAP = 300  # of max_record_bytes
PROSE = "Füße und Mühlen\n水車 und Wind\nThe end.\n"
BAD = {
    "bad_utf8": b"a\xffb",
    "overlong": b"\xc0\xaf",
    "surrogate_bytes": b"\xed\xa0\x80",
    "cut_character": b"\xe6\x97",
    "latin_1": b"F\xfc\xdfe",
}
# encoding -> bytes that it has no character for, between line ends
UNKNOWN = {"utf-16-le": b"\x00\xd8", "utf-16-be": b"\xd8\x00", "utf-32-le": b"\xff\xff\xff\x7f", "utf-32-be": b"\x7f\xff\xff\xff", "shift_jis": b"\xfe\xfe", "euc-jp": b"\xff", "big5": b"\xff", "windows-1252": b"\x81", "ascii": b"\xfc", "gb18030": b"\xff"}  # fmt: skip


def contents() -> Iterator[Content]:
    """Give all of them."""
    yield from _whole()
    yield from _lines()
    yield from _encoded()
    yield from _misnamed()


def _whole() -> Iterator[Content]:
    """A file is a record."""

    def text(
        fault: str, data: bytes, rows: int, codes: Counts = NONE, warnings: Counts = NONE, **params: Any
    ) -> Content:
        return Content("text", fault, ".txt", data, rows, codes, warnings, {"format": "text"} | params)

    good = PROSE.encode()
    yield text("good", good, 1)
    yield text("empty", b"", 0, warnings={"file.empty": 1})
    yield text("bom", b"\xef\xbb\xbf" + good, 1)
    yield text("crlf", good.replace(b"\n", b"\r\n"), 1)
    for fault, data in BAD.items():
        yield text(fault, good + data + b"\n" + good, 0, {"text.encoding": 1})
    yield text("cut_in_a_character", good[: good.index("車".encode()) + 1], 0, {"text.encoding": 1})
    yield text("nul_near_the_start", good + b"\0" + good, 0, {"type.mismatch": 1})
    yield text("nul_far_behind", good * 300 + b"a\0b" + good, 1, warnings={"text.nul": 1})
    yield text("program", b"\x7fELF\2\1\1" + bytes(9) + b"\x3e\0", 0, {"type.mismatch": 1})
    yield text("utf-16_unmarked", "plain words".encode("utf-16-le"), 0, {"type.mismatch": 1})
    yield text("zeros", bytes(600), 0, {"type.mismatch": 1})
    yield text("utf-16_marked", PROSE.encode("utf-16"), 0, {"text.encoding": 1})
    yield text("utf-32_marked", PROSE.encode("utf-32"), 0, {"text.encoding": 1})
    yield text("over_cap", b"x" * (CAP + 1), 0, {"size.cap": 1}, max_record_bytes=CAP)
    yield text("at_cap", b"x" * CAP, 1, max_record_bytes=CAP)


def _lines() -> Iterator[Content]:
    """A line is a record."""

    def lines(
        fault: str, data: bytes, rows: int, codes: Counts = NONE, warnings: Counts = NONE, **params: Any
    ) -> Content:
        return Content("lines", fault, ".txt", data, rows, codes, warnings, {"format": "text", "lines": True} | params)

    good = PROSE.encode()
    yield lines("good", good, 3)
    yield lines("empty", b"", 0, warnings={"file.empty": 1})
    yield lines("blank_lines", good.replace(b"\n", b"\n \n\n"), 3)
    yield lines("crlf", good.replace(b"\n", b"\r\n"), 3)
    yield lines("no_last_line_end", good[:-1], 3)
    yield lines("bom", b"\xef\xbb\xbf" + good, 3)
    for fault, data in BAD.items():
        yield lines(fault, good + data + b"\n" + good, 6, {"text.encoding": 1})
    yield lines("nul_far_behind", good * 300 + b"a\0b\n", 901, warnings={"text.nul": 1})
    program = b"\x7fELF\2\1\1" + bytes(9) + b"\n\x3e\0"
    yield lost("lines", "program", ".txt", program, "type.mismatch", format="text", lines=True)
    yield lines("over_cap", good + b"x" * (CAP + 1) + b"\n" + good, 6, {"size.cap": 1}, max_record_bytes=CAP)
    yield lines("at_cap", good + b"x" * CAP + b"\n", 4, max_record_bytes=CAP)
    for codec in ("utf-16", "utf-32"):
        yield lost("lines", f"{codec}_marked", ".txt", PROSE.encode(codec), "text.encoding", format="text", lines=True)


def _encoded() -> Iterator[Content]:
    """Declared encodings: what cannot be decoded costs its record, in lines of text, JSON and CSV."""
    for encoding, unknown in UNKNOWN.items():
        end, told = "\n".encode(encoding), {"encoding": encoding}
        odd = "a".encode(encoding) + unknown + end
        text = {"format": "text", "lines": True} | told
        line = "good".encode(encoding) + end
        yield Content("encoded", f"{encoding}_lines_good", ".txt", line * 3, 3, params=text)
        yield Content(
            "encoded", f"{encoding}_lines_bad", ".txt", line + odd + line, 2, {"text.encoding": 1}, params=text
        )
        record, begin = '{"text": "good"}\n'.encode(encoding), '{"text": "a'.encode(encoding)
        bad = record + begin + unknown + '"}\n'.encode(encoding) + record
        yield Content("encoded", f"{encoding}_jsonl_bad", ".jsonl", bad, 2, {"text.encoding": 1}, params=told)
        row = "good,1\n".encode(encoding)
        bad = "text,n\n".encode(encoding) + row + "a".encode(encoding) + unknown + ",2\n".encode(encoding) + row
        yield Content("encoded", f"{encoding}_csv_bad", ".csv", bad, 2, {"text.encoding": 1}, params=told)
    for codec in ("utf-16", "utf-32", "utf-8-sig"):
        for told in (codec, "auto"):
            data = values.LINES.decode().encode(codec)
            yield Content("encoded", f"{codec}_marked_as_{told}", ".jsonl", data, 3, params={"encoding": told})
    half = values.LINES.decode().encode("utf-16-le") + b"\n"  # half of the last character
    yield Content(
        "encoded", "utf-16-le_odd_byte", ".jsonl", half, 3, {"text.encoding": 1}, params={"encoding": "utf-16-le"}
    )
    utf8 = {"encoding": "ascii", "format": "text", "lines": True}
    yield Content("encoded", "utf-8_told_as_ascii", ".txt", PROSE.encode(), 1, {"text.encoding": 2}, params=utf8)


def _misnamed() -> Iterator[Content]:
    """The content decides, but for names of text and tables, which are believed of anything but Parquet."""
    lines, array = values.LINES, b"[" + b",\n".join(values.GOOD) + b"]"
    parquet = tables.parquet(tables.pa.table({"text": tables.TEXTS}))
    warned = {"file.extension": 1}

    def named(
        fault: str, suffix: str, data: bytes, rows: int, codes: Counts = NONE, warnings: Counts = warned
    ) -> Content:
        return Content("misnamed", fault, suffix, data, rows, codes, warnings)

    for suffix in (".jsonl", ".json", ".csv", ".tsv", ".txt", ".html", ".pdf"):
        yield named(f"parquet_as{suffix}", suffix, parquet, 3)
    for suffix in (".html", ".pdf", ".parquet"):
        yield named(f"jsonl_as{suffix}", suffix, lines, 3)
        yield named(f"json_as{suffix}", suffix, array, 3)
    yield named("json_as.jsonl", ".jsonl", array, 3)
    yield named("jsonl_as.json", ".json", lines, 3, NONE, NONE)  # values one after the other are JSON
    yield named("jsonl_as.txt", ".txt", lines, 1, NONE, {"text.like_json": 1})
    yield named("json_as.md", ".md", array, 1, NONE, NONE)
    yield named("jsonl_without_a_name", ".data", lines, 3, NONE, NONE)
    yield named("parquet_without_a_name", ".data", parquet, 3, NONE, NONE)
    yield named("text_without_a_name", ".data", b"plain words\n", 1, NONE, NONE)
    yield named("binary_without_a_name", ".data", b"\x89PNG\r\n\x1a\n" + bytes(20), 0, {"type.mismatch": 1}, NONE)
    for suffix in (".gz", ".zst", ".bz2", ".xz", ".zip", ".tar"):
        yield named(f"jsonl_as.jsonl{suffix}", f".jsonl{suffix}", lines, 3)
        yield named(f"text_as.txt{suffix}", f".txt{suffix}", b"plain words\n", 1)
