"""CSV, TSV and Parquet."""

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tests.malformed.made.outcome import NONE, Content, Counts, lost

CAP = 300  # of max_record_bytes


def contents() -> Iterator[Content]:
    """Give all of them."""
    for kind, mark in (("csv", ","), ("tsv", "\t")):
        yield from _rows(kind, mark)
        yield from _files(kind, mark)
    yield from _parquet()


def _table(kind: str, mark: str, fault: str, text: str | bytes, rows: int, codes: Counts = NONE, warnings: Counts = NONE, **params: Any) -> Content:  # fmt: skip
    """Give a table written with commas, with its own delimiter."""
    data = text if isinstance(text, bytes) else text.replace(",", mark).encode()
    return Content(kind, fault, f".{kind}", data, rows, codes, warnings, params)


# fault -> a row between good ones, its code; without one it is a row
ROWS = {
    "short_row": ("a\n", "csv.columns"),
    "long_row": ("a,1,2\n", "csv.columns"),
    "delimiters_alone": (",,,\n", "csv.columns"),
    "quote_inside": ('a"b,1\n', "csv.quote"),
    "text_behind_a_quote": ('"a"b,1\n', "csv.quote"),
    "quoted_delimiter": ('"a,b",1\n', ""),
    "quoted_line_end": ('"a\nb\r\n",1\n', ""),
    "doubled_quotes": ('"a ""b"" c",1\n', ""),
    "crlf": ("a,1\r\n", ""),
    "blank_lines": ("\n\r\na,1\n\n", ""),
    "formula": ("=1+1,00123\n", ""),
    "line_separator": ("a\u2028b,1\n", ""),
}


def _rows(kind: str, mark: str) -> Iterator[Content]:
    """Tables with one odd row between good ones."""
    for fault, (row, code) in ROWS.items():
        codes = {code: 1} if code else NONE
        yield _table(kind, mark, fault, f"text,n\ngood 0,1\n{row}good 2,3\n", 2 + (not code), codes)
    header, tab = f"text{mark}n\n".encode(), mark.encode()
    bad = {
        "bad_utf8": b"a\xffb",
        "overlong": b"\xc0\xaf",
        "cut_character": b"\xe6\x97",
        "surrogate_bytes": b"\xed\xa0\x80",
    }
    for fault, cell in bad.items():
        data = header + b"good 0" + tab + b"1\n" + cell + tab + b"1\ngood 2" + tab + b"3\n"
        yield _table(kind, mark, fault, data, 2, {"text.encoding": 1})
    yield _table(kind, mark, "nul", "text,n\na\0b,1\n", 1, warnings={"text.nul": 1})
    wide = f"text,n\n{'x' * CAP},1\nb,2\n"
    yield _table(kind, mark, "over_cap", wide, 1, {"size.cap": 1}, max_record_bytes=CAP)
    quoted = 'text,n\n"' + "x\n" * CAP + '",1\nb,2\n'
    yield _table(kind, mark, "quoted_over_cap", quoted, 1, {"size.cap": 1}, max_record_bytes=CAP)
    yield _table(kind, mark, "id_empty", "text,id\na,\nb,1\n", 1, {"id.missing": 1}, id="id")
    odd = {"time.unparsed": 1}
    yield _table(kind, mark, "time_word", "text,time\na,soon\nb,2024-01-01T00:00:00Z\n", 2, NONE, odd, time="time")


def _files(kind: str, mark: str) -> Iterator[Content]:
    """Tables that are bad or odd as a whole."""
    good = "text,n\ngood 0,1\ngood 1,2\n"
    yield _table(kind, mark, "good", good, 2)
    yield _table(kind, mark, "empty", b"", 0, warnings={"file.empty": 1})
    yield _table(kind, mark, "header_alone", "text,n\n", 0)
    yield _table(kind, mark, "no_last_line_end", good[:-1], 2)
    yield _table(kind, mark, "bom", "\ufeff" + good, 2)
    yield _table(kind, mark, "cut_in_a_row", good[:-3], 1, {"csv.columns": 1})
    yield _table(kind, mark, "junk_behind", good + "junk\n", 2, {"csv.columns": 1})
    yield _table(kind, mark, "zeros_behind", good.replace(",", mark).encode() + bytes(512), 2, {"csv.columns": 1})
    yield _table(kind, mark, "delimiter_told", good.replace(",", "|"), 2, delimiter="|")
    whole = {
        "unclosed_quote": (good + '"open,1\nb,2\n', "file.truncated"),
        "unclosed_at_the_end": (good + 'a,"', "file.truncated"),
        "nameless_column": ("text,,n\na,b,c\n", "csv.header"),
        "column_twice": ("text,n,n\na,b,c\n", "csv.header"),
        "lone_cr": (good.replace("\n", "\r"), "csv.header"),
        "another_delimiter": (good.replace(",", ";"), "field.missing"),
        "no_text_column": ("body,n\na,1\n", "field.missing"),
        "no_header": ("good 0,1\ngood 1,2\n", "field.missing"),
    }
    for fault, (text, code) in whole.items():
        yield lost(kind, fault, f".{kind}", text.replace(",", mark).encode(), code)
    yield lost(kind, "header_bad_utf8", f".{kind}", b"text" + mark.encode() + b"\xff\na" + mark.encode() + b"1\n", "text.encoding")  # fmt: skip
    yield lost(kind, "utf-16_marked", f".{kind}", good.replace(",", mark).encode("utf-16"), "text.encoding")
    header = mark.join(["text", "x" * CAP]).encode() + b"\n"
    yield lost(kind, "header_over_cap", f".{kind}", header, "size.cap", max_record_bytes=CAP)


def parquet(table: pa.Table, **how: Any) -> bytes:
    """Give a table as Parquet, not compressed and with checksums unless told."""
    out = io.BytesIO()
    pq.write_table(table, out, **({"compression": "none", "write_page_checksum": True} | how))
    return out.getvalue()


TEXTS = ["Grist 0, Füße", "Mühle 1, 日本語", "mill 2"]


def _parquet() -> Iterator[Content]:
    plain = pa.table({"text": TEXTS, "n": [1, 2, 3]})
    good = parquet(plain)
    footer = int.from_bytes(good[-8:-4], "little")

    def of(fault: str, data: bytes, rows: int, codes: Counts = NONE, warnings: Counts = NONE, **params: Any) -> Content:
        return Content("parquet", fault, ".parquet", data, rows, codes, warnings, params)

    for codec in ("none", "snappy", "zstd", "gzip"):
        yield of(f"good_{codec}", parquet(plain, compression=codec, row_group_size=2), 3)
    yield of("empty", b"", 0, warnings={"file.empty": 1})
    yield of("no_rows", parquet(plain.slice(0, 0)), 0)
    yield from _damaged_parquet(good, footer)
    rows = {
        "null_text": (pa.table({"text": ["a", None, "c"]}), {"field.missing": 1}, {}),
        "number_text": (pa.table({"text": [1, 2, 3]}), {"field.type": 3}, {}),
        "list_text": (pa.table({"text": [["a"], ["b"], ["c"]]}), {"field.type": 3}, {}),
        "nul": (pa.table({"text": ["a", "b\0", "c"]}), {}, {"text.nul": 1}),
        "nan": (pa.table({"text": TEXTS, "x": [1.5, float("nan"), float("-inf")]}), {}, {"field.not_finite": 2}),
        "dictionary": (pa.table({"text": pa.array(["a", "a", "b"]).dictionary_encode()}), {}, {}),
        "large_string": (pa.table({"text": pa.array(TEXTS, pa.large_string())}), {}, {}),
        "binary_text": (pa.table({"text": pa.array([b"a", b"b\xff", b"c"], pa.binary())}), {"text.encoding": 1}, {}),
    }
    for fault, (table, codes, warnings) in rows.items():
        yield of(fault, parquet(table), 3 - sum(codes.values()), codes, warnings)
    ids = pa.table({"text": TEXTS, "id": ["a", None, ""]})
    yield of("id_missing", parquet(ids), 1, {"id.missing": 2}, id="id")
    one = pa.table({"text": ["a", "b" * (CAP + 1), *["c"] * 20]})
    yield of("over_cap", parquet(one), 21, {"size.cap": 1}, max_record_bytes=CAP)
    large = pa.table({"text": [letter * 2 * CAP for letter in "abc"]})
    yield of("rows_over_cap", parquet(large, use_dictionary=False), 0, {"size.cap": 3}, max_record_bytes=CAP)
    yield lost("parquet", "no_text_column", ".parquet", parquet(pa.table({"body": TEXTS})), "field.missing")
    twice = pa.Table.from_arrays([pa.array(TEXTS)] * 2, names=["text", "text"])
    yield lost("parquet", "column_twice", ".parquet", parquet(twice), "file.unsupported")


def _damaged_parquet(good: bytes, footer: int) -> Iterator[Content]:
    """Parquet that cannot be read, or must not be believed."""
    size, text = len(good), good.index(TEXTS[0].encode())
    cuts = {"in_the_first_page": text + 3, "before_the_footer": size - footer - 8, "in_the_footer": size - footer // 2, "before_the_magic": size - 4, "by_a_byte": size - 1}  # fmt: skip
    for fault, at in cuts.items():
        yield lost("parquet", f"cut_{fault}", ".parquet", good[:at], "file.corrupt")
    flipped = bytearray(good)
    flipped[text + 2] ^= 4
    odd = {
        "flipped_in_a_checked_page": bytes(flipped),
        "footer_of_zeros": good[: size - footer - 8] + bytes(footer) + good[-8:],
        "footer_length_0": good[:-8] + bytes(4) + b"PAR1",
        "footer_length_beyond_the_file": good[:-8] + b"\xff\xff\xff\x7fPAR1",
        "no_magic_at_the_end": good[:-4] + b"XXXX",
        "junk_behind": good + b"junk junk",
        "zeros_behind": good + bytes(512),
        "magic_alone": b"PAR1PAR1",
        "zeros_between_magics": b"PAR1" + bytes(40) + b"PAR1",
    }
    for fault, data in odd.items():
        yield lost("parquet", fault, ".parquet", data, "file.corrupt")
