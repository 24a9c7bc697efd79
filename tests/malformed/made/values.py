"""JSON lines and JSON files: one bad value among good ones, and files that are bad as a whole."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.malformed.made.outcome import NONE, Content, Counts, lost

GOOD = ['{"text": "Grist 0, Füße"}'.encode(), '{"text": "Mühle 1, 日本語", "n": [1, {"a": null}]}'.encode(), b'{"text": "mill 2\\n\\"end\\""}']  # fmt: skip
LINES = b"".join(line + b"\n" for line in GOOD)
CAP = 300  # of max_record_bytes, over every good record


class Value(NamedTuple):
    """One value with a fault. code: what it costs; without one it is a row. in_array: it may stand in an array without breaking that."""

    fault: str
    data: bytes
    code: str = ""
    warnings: Counts = NONE
    params: Mapping[str, Any] = MappingProxyType({})
    in_array: bool = True


def _deep(levels: int) -> bytes:
    """Give an object that is itself one of so many levels."""
    return b'{"text": "deep", "a": ' + b"[" * (levels - 1) + b"1" + b"]" * (levels - 1) + b"}"


def _of_size(size: int) -> bytes:
    return b'{"text": "' + b"x" * (size - 12) + b'"}'


ID, REST = {"id": "id"}, {"url": "url", "time": "time", "lang": "lang", "license": "license"}
VALUES = [
    Value("bare_word", b"grist", "json.syntax"),
    Value("trailing_comma", b'{"text": "a",}', "json.syntax"),
    Value("single_quotes", b"{'text': 'a'}", "json.syntax"),
    Value("no_colon", b'{"text" "a"}', "json.syntax"),
    Value("comment", b'{"text": "a" /* b */}', "json.syntax"),
    Value("bad_escape", b'{"text": "\\x41"}', "json.syntax"),
    Value("raw_tab", b'{"text": "a\tb"}', "json.syntax"),
    Value("raw_nul", b'{"text": "a\0b"}', "json.syntax"),
    Value("leading_zero", b'{"text": "a", "n": 01}', "json.syntax"),
    Value("python_true", b'{"text": "a", "n": True}', "json.syntax"),
    Value("cut_value", b'{"text": "a', "json.syntax", in_array=False),
    Value("two_values", b'{"text": "a"} {"text": "b"}', "json.extra", in_array=False),
    Value("junk_behind", b'{"text": "a"} junk', "json.extra", in_array=False),
    Value("nan", b'{"text": "a", "n": NaN}', "json.nan"),
    Value("infinity", b'{"text": "a", "n": -Infinity}', "json.nan"),
    Value("1e999", b'{"text": "a", "n": 1e999}', "json.nan"),
    Value("5000_digits", b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "json.nan"),
    Value("depth_254", _deep(254)),
    Value("depth_255", _deep(255), "json.depth"),
    Value("depth_100000", _deep(100_000), "json.depth"),
    Value("depth_over_max", _deep(6), "json.depth", params={"max_depth": 5}),
    Value("depth_at_max", _deep(5), params={"max_depth": 5}),
    Value("number", b"7", "json.not_object"),
    Value("string", b'"text"', "json.not_object"),
    Value("array", b'["text", "a"]', "json.not_object"),
    Value("null", b"null", "json.not_object"),
    Value("bad_utf8", b'{"text": "a\xffb"}', "text.encoding"),
    Value("overlong", b'{"text": "a\xc0\xafb"}', "text.encoding"),
    Value("surrogate_bytes", b'{"text": "a\xed\xa0\x80b"}', "text.encoding"),
    Value("cut_character", b'{"text": "a\xe6\x97"}', "text.encoding"),
    Value("latin_1", '{"text": "Füße"}'.encode("latin-1"), "text.encoding"),
    Value("high_surrogate", b'{"text": "a\\ud800"}', "text.surrogate"),
    Value("low_surrogate", b'{"text": "\\udc00a"}', "text.surrogate"),
    Value("surrogate_pair", b'{"text": "\\ud83d\\ude00"}'),
    Value("escaped_nul", b'{"text": "a\\u0000b"}', warnings={"text.nul": 1}),
    Value("line_separator", '{"text": "a\u2028b\u0085c"}'.encode()),
    Value("missing", b'{"body": "a"}', "field.missing"),
    Value("empty_object", b"{}", "field.missing"),
    Value("null_text", b'{"text": null}', "field.missing"),
    Value("number_text", b'{"text": 7}', "field.type"),
    Value("list_text", b'{"text": ["a"]}', "field.type"),
    Value("object_text", b'{"text": {"a": "b"}}', "field.type"),
    Value("bool_text", b'{"text": false}', "field.type"),
    Value("duplicate_key", b'{"text": "a", "text": "b"}', warnings={"json.duplicate_key": 1}),
    Value("duplicate_inside", b'{"text": "a", "m": [{"k": 1, "k": 2}]}', warnings={"json.duplicate_key": 1}),
    Value("2^64", b'{"text": "a", "n": 18446744073709551616}', warnings={"json.int_range": 1}),
    Value("-2^63-1", b'{"text": "a", "n": -9223372036854775809}', warnings={"json.int_range": 1}),
    Value("2^64-1", b'{"text": "a", "n": 18446744073709551615}'),
    Value("30_digits", b'{"text": "a", "n": ' + b"9" * 30 + b"}", warnings={"json.int_range": 1}),
    Value("over_cap", _of_size(CAP + 1), "size.cap", params={"max_record_bytes": CAP}, in_array=False),
    Value("far_over_cap", _of_size(20 * CAP), "size.cap", params={"max_record_bytes": CAP}),
    Value("at_cap", _of_size(CAP), params={"max_record_bytes": CAP}, in_array=False),
    Value("id_null", b'{"text": "a", "id": null}', "id.missing", params=ID),
    Value("id_empty", b'{"text": "a", "id": ""}', "id.missing", params=ID),
    Value("id_absent", b'{"text": "a"}', "id.missing", params=ID),
    Value("id_list", b'{"text": "a", "id": [1]}', "id.invalid", params=ID),
    Value("id_float", b'{"text": "a", "id": 1.5}', "id.invalid", params=ID),
    Value("id_bool", b'{"text": "a", "id": true}', "id.invalid", params=ID),
    Value("id_over_64_bits", b'{"text": "a", "id": 18446744073709551616}', "id.invalid", {"json.int_range": 1}, ID),
    Value("time_word", b'{"text": "a", "time": "soon"}', warnings={"time.unparsed": 1}, params=REST),
    Value("url_number", b'{"text": "a", "url": 7}', warnings={"url.type": 1}, params=REST),
    Value("lang_list", b'{"text": "a", "lang": ["de"]}', warnings={"lang.type": 1}, params=REST),
    Value("license_object", b'{"text": "a", "license": {"a": 1}}', warnings={"license.type": 1}, params=REST),
]  # fmt: skip


def _good(value: Value) -> list[bytes]:
    """Give the good records, with an id each where one is asked for."""
    return GOOD if "id" not in value.params else [line[:-1] + b', "id": "g%d"}' % i for i, line in enumerate(GOOD)]


def _outcome(value: Value) -> tuple[int, Counts, Counts]:
    return len(GOOD) + (not value.code), {value.code: 1} if value.code else NONE, value.warnings


def in_lines(value: Value) -> Content:
    """Give JSON lines with the value between two good ones."""
    first, *others = _good(value)
    data = b"".join(line + b"\n" for line in (first, value.data, *others))
    return Content("jsonl", value.fault, ".jsonl", data, *_outcome(value), value.params)


def in_array(value: Value) -> Content:
    """Give an array with the value as its second element."""
    first, *others = _good(value)
    data = b"[" + b", ".join((first, value.data, *others)) + b"]\n"
    return Content("json", value.fault, ".json", data, *_outcome(value), value.params)


def contents() -> Iterator[Content]:
    """Give all of them."""
    yield from map(in_lines, VALUES)
    yield from (in_array(value) for value in VALUES if value.in_array)
    yield from _whole_lines()
    yield from _whole_files()


def _whole_lines() -> Iterator[Content]:
    """JSON lines whose fault is in the file and not in a line."""

    def lines(fault: str, data: bytes, rows: int = 3, codes: Counts = NONE, warnings: Counts = NONE) -> Content:
        return Content("jsonl", fault, ".jsonl", data, rows, codes, warnings)

    yield lines("good", LINES)
    yield lines("empty", b"", 0, warnings={"file.empty": 1})
    yield lines("only_blank_lines", b"\n\n \n", 0)
    yield lines("no_last_line_end", LINES[:-1])
    yield lines("crlf", LINES.replace(b"\n", b"\r\n"))
    yield lines("lone_cr", b"\r".join(GOOD), 0, {"json.extra": 1})
    yield lines("blank_lines_between", LINES.replace(b"\n", b"\n\n \n"))
    yield lines("bom", b"\xef\xbb\xbf" + LINES)
    yield lines("bom_in_the_middle", GOOD[0] + b"\n\xef\xbb\xbf" + GOOD[1] + b"\n", 1, {"json.syntax": 1})
    yield lines("cut_in_the_last_line", LINES[:-9], 2, {"json.syntax": 1})
    yield lines("junk_line_behind", LINES + b"junk\n", 3, {"json.syntax": 1})
    yield lines("zeros_behind", LINES + bytes(512), 3, {"json.syntax": 1})
    yield lines("zeros_for_a_line", GOOD[0] + b"\n" + bytes(64) + b"\n" + GOOD[2] + b"\n", 2, {"json.syntax": 1})
    yield lines("every_line_bad", b"no\n" * 40, 0, {"json.syntax": 40})
    for codec in ("utf-16", "utf-32"):
        yield lost("jsonl", f"{codec}_marked", ".jsonl", LINES.decode().encode(codec), "text.encoding")
    unmarked = b'{"text": "a"}\n{"text": "b"}\n'.decode().encode(
        "utf-16-le"
    )  # cut at line ends alone: 3 lines with NULs in them
    yield lines("utf-16_unmarked", unmarked, 0, {"json.syntax": 3})


def _whole_files() -> Iterator[Content]:
    """JSON files whose fault is in the file and not in a value."""

    def file(fault: str, data: bytes, rows: int = 3, codes: Counts = NONE, warnings: Counts = NONE) -> Content:
        return Content("json", fault, ".json", data, rows, codes, warnings)

    array = b"[" + b",\n".join(GOOD) + b"]"
    pretty = array.replace(b'{"', b'{\n  "')
    yield file("good", array)
    yield file("good_pretty", pretty)
    yield file("empty", b"", 0, warnings={"file.empty": 1})
    yield file("empty_array", b"[ ]\n", 0)
    yield file("one_object", GOOD[1], 1)
    yield file("one_after_the_other", b"\n".join(line.replace(b'{"text', b'{\n"text') for line in GOOD))
    yield file("bom", b"\xef\xbb\xbf" + array)
    yield file("white_space_behind", array + b"\n \r\n\t")
    yield file("two_commas", array.replace(b",\n", b",,\n", 1), 3, {"json.syntax": 1})
    yield file("comma_at_the_end", array[:-1] + b",]", 3, {"json.syntax": 1})
    cuts = {"in_a_string": array.rindex(b"mill") + 2, "after_a_comma": array.rindex(b",") + 1, "before_the_bracket": -1}
    for where, at in cuts.items():
        yield lost("json", f"cut_{where}", ".json", array[:at], "file.truncated")
    yield lost("json", "cut_object", ".json", b'{\n"text": "a", "m": {"n": 1}\n', "file.truncated")
    for fault, junk in {
        "junk": b" junk",
        "zeros": bytes(512),
        "bracket": b"]",
        "second_array": b'\n[{"text": "a"}]',
    }.items():
        yield lost("json", f"{fault}_behind", ".json", pretty_array(array) + junk, "file.trailing")
    yield lost("json", "closed_by_a_brace", ".json", array[:-1] + b"}", "json.syntax")
    for codec in ("utf-16", "utf-32"):
        yield lost("json", f"{codec}_marked", ".json", array.decode().encode(codec), "text.encoding")


def pretty_array(array: bytes) -> bytes:
    """Give an array whose first line is no whole value, so that what follows it is not taken for JSON lines."""
    return array.replace(b"[", b"[\n", 1)
