"""Contents in compression and archives, and faults of compressed streams.

The rules by which what a content must become changes: compression changes nothing (what has nothing in it is empty in it too);
in an archive, the code of a whole file costs the member, and the file beside it is read.
"""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from typing import Any

from tests.malformed.cases import tarred, zipped
from tests.malformed.made import pages, tables, texts, values
from tests.malformed.made.outcome import NONE, Content, Counts, Made

from gristmill.core.files import zstd

Packer = Callable[[bytes], bytes]
CODECS: dict[str, Packer] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "zst": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "bz2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
}
# bytes, from which end, that a checksum or a count of its stream guards, so that a flip there is never believed
GUARDED = {"gz": (-8, -3), "zst": (-1, -3), "bz2": (10, 12), "xz": (8, -10)}
ARCHIVES = {"zip": zipped, "tar": tarred, "tar.gz": lambda members: CODECS["gz"](tarred(members))}
BESIDE = {
    "html": (".html", pages.GOOD_HTML),
    "pdf": (".pdf", pages.GOOD_PDF),
    "text": (".txt", b"beside\n"),
    "parquet": (".parquet", tables.parquet(tables.pa.table({"text": ["beside"], "id": ["b"]}))),
}


def made() -> Iterator[Made]:
    """Give every content in everything, and the faults of compressed streams."""
    for module in (values, tables, texts):
        for content in module.contents():
            yield from packed(content, [*CODECS, *ARCHIVES])
    for content in pages.contents():
        yield from packed(content, ["gz", "zip"])
    for codec in CODECS:
        for content in _good():
            yield from _streams(content, codec)
        yield from _bombs(codec)


def packed(content: Content, hows: list[str]) -> Iterator[Made]:
    """Give a content as it is, and in compression and archives."""
    yield _file(content, "plain", f"a{content.suffix}", content.data)
    for how in hows:
        if how in CODECS:
            if not content.suffix.endswith((".gz", ".zst", ".bz2", ".xz", ".zip", ".tar")):
                yield _file(content, how, f"a{content.suffix}.{how}", CODECS[how](content.data))
        else:
            yield _member(content, how)


def _file(content: Content, how: str, name: str, data: bytes) -> Made:
    told = (content.rows, content.codes, content.warnings, content.params)
    return Made(
        f"{content.format}/{content.fault}/{how}/{name}", data, *told, -1 if content.is_lost else len(content.data)
    )


def _member(content: Content, how: str) -> Made:
    suffix, beside = BESIDE.get(content.params.get("format", ""), (".jsonl", b'{"text": "beside", "id": "b"}\n'))
    encoding = content.params.get("encoding", "auto")
    if encoding != "auto":
        beside = beside.decode().encode(encoding)
    data = ARCHIVES[how]([(f"d/a{content.suffix}", content.data), (f"d/b{suffix}", beside)])
    inside = -1 if content.is_lost else len(content.data) + len(beside)
    told = (content.rows + 1, content.codes, content.warnings, content.params)
    return Made(f"{content.format}/{content.fault}/{how}/a.{how}", data, *told, inside)


def _good() -> list[Content]:
    """Give a content of each kind that has no fault."""
    found = [
        content
        for module in (values, tables, texts)
        for content in module.contents()
        if content.fault in {"good", "good_snappy"}
    ]
    return [content for content in found if content.format != "tsv"]


def _streams(content: Content, codec: str) -> Iterator[Made]:
    """Give a good content in a stream with a fault."""
    stream, size = CODECS[codec](content.data), len(content.data)
    halves = CODECS[codec](content.data[: size // 2]) + CODECS[codec](content.data[size // 2 :])

    def of(fault: str, data: bytes, code: str = "", suffix: str = f".{codec}", warnings: Counts = NONE, rows: int = content.rows) -> Made:  # fmt: skip
        name = f"stream/{fault}/{content.format}/a{content.suffix}{suffix}"
        codes, rows = ({code: 1}, 0) if code else (NONE, rows)
        return Made(name, data, rows, codes, warnings, content.params, -1 if code else size)

    cuts = {"in_the_header": 6, "at_a_third": len(stream) // 3, "at_two_thirds": len(stream) * 2 // 3, "in_the_end": len(stream) - 3, "by_a_byte": len(stream) - 1}  # fmt: skip
    for where, at in cuts.items():
        yield of(f"cut_{where}", stream[:at], "file.truncated")
    yield of("cut_in_the_second_member", halves[:-5], "file.truncated")
    for number, at in enumerate(GUARDED[codec]):
        flipped = bytearray(stream)
        flipped[at] ^= 1
        yield of(f"flip_{number}_in_the_checksum", bytes(flipped), "file.corrupt")
    yield of("junk_behind", stream + b"junk", "file.trailing")
    yield of("line_end_behind", stream + b"\n", "file.trailing")
    yield of("content_behind", stream + content.data, "file.trailing")
    yield of("half_a_magic_behind", stream + stream[:3], "file.truncated")
    padding = "" if codec in {"gz", "xz"} else "file.trailing"  # of these two, zeros behind the end are no other bytes
    yield of("zeros_behind", stream + bytes(512), padding)
    yield of("two_members", halves)
    yield of("an_empty_member_between", CODECS[codec](content.data) + CODECS[codec](b""))
    yield of(f"{codec}_named_as_if_plain", stream, "", "", {"file.extension": 1})
    for other in CODECS:
        if other != codec:
            yield of(f"{codec}_named.{other}", stream, "", f".{other}", {"file.extension": 1})


def _bombs(codec: str) -> Iterator[Made]:
    """Give streams that come out as more than is allowed, by both caps."""

    def of(fault: str, data: bytes, params: dict[str, Any]) -> Made:
        return Made(f"bomb/{fault}/{codec}/a.jsonl.{codec}", data, 0, {"size.cap": 1}, NONE, params, -1)

    yield of("over_max_file_bytes", CODECS[codec](b" " * 100_000), {"max_file_bytes": 50_000})
    yield of("over_by_members", CODECS[codec](b"\n" * 20_000) * 3, {"max_file_bytes": 50_000})
    yield of("over_the_ratio", CODECS[codec](bytes(11 << 20)), {"max_ratio": 2})
