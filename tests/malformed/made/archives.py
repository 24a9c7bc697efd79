"""Zip and tar archives with faults of their own; the file `good.jsonl` in each is read where the archive can be."""

import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from tests.malformed.cases import tarred, zipped
from tests.malformed.made.outcome import NONE, Counts, Made
from tests.malformed.made.packs import CODECS

GOOD = b'{"text": "good"}\n'
TARS: dict[str, Callable[[bytes], bytes]] = {"tar": bytes, **{f"tar.{codec}": pack for codec, pack in CODECS.items()}}
METHODS = {"stored": 0, "deflate": 8, "bzip2": 12}
NAMES = ["../x.jsonl", "a/../../x.jsonl", "/etc/x.jsonl", "C:\\x.jsonl", "c:/x.jsonl", "..\\x.jsonl", "a\\..\\..\\x.jsonl", "\\x.jsonl", "//host/x.jsonl", "x" * 5000]  # fmt: skip


def made() -> Iterator[Made]:
    """Give all of them."""
    for how, pack in TARS.items():
        yield from _both(how, lambda members, pack=pack: pack(tarred(members)))
        yield from _tar_members(how, pack)
        yield from _tar_as_a_whole(how, pack)
    for method, number in METHODS.items():
        yield from _both("zip", lambda members, number=number: zipped(members, number), f"_{method}")
        yield from _zip_members(method, number)
    yield from _zip_as_a_whole()


def _of(
    fault: str, how: str, data: bytes, rows: int, codes: Counts = NONE, /, told: Counts = NONE, **params: Any
) -> Made:
    return Made(f"archive/{fault}/{how}/a.{how}", data, rows, codes, told, params, -1)


def _both(how: str, pack: Callable[[list[Any]], bytes], kind: str = "") -> Iterator[Made]:
    """Faults that zip and tar can have alike."""

    def of(
        fault: str, members: list[Any], rows: int, codes: Counts = NONE, /, told: Counts = NONE, **params: Any
    ) -> Made:
        return _of(fault + kind, how, pack(members), rows, codes, told=told, **params)

    good = ("good.jsonl", GOOD)
    for number, name in enumerate(NAMES):
        yield of(f"name_{number}_leads_out", [(name, GOOD), good], 1, {"archive.name": 1})
    yield of("good", [("./d/a.jsonl", GOOD), good], 2)
    yield of("odd_names", [("a b/ü\n.jsonl", GOOD), ("d../x..y.jsonl", GOOD), good], 3)
    yield of("no_members", [], 0, told={"file.empty": 1})
    yield of("empty_member", [("a.jsonl", b""), good], 1, told={"file.empty": 1})
    yield of("twice", [("good.jsonl", b'{"text": "first"}\n'), good, good], 1, {"archive.duplicate": 2})
    yield of("hidden", [(".a.jsonl", GOOD), ("__MACOSX/a.jsonl", GOOD), ("d/.e/a.jsonl", GOOD), good], 1, told={"archive.skipped": 3})  # fmt: skip
    yield of("not_asked_for", [("a.txt", b"words"), good], 1, told={"archive.skipped": 1}, members="*.jsonl")
    yield of("zip_inside", [("a.zip", zipped([good])), good], 1, {"archive.nested": 1})
    yield of("tar_inside", [("a.tar", tarred([good])), good], 1, {"archive.nested": 1})
    yield of("tar.gz_inside", [("a.tgz", CODECS["gz"](tarred([good]))), good], 1, {"archive.nested": 1})
    yield of("cut_gz_inside", [("a.jsonl.gz", CODECS["gz"](GOOD)[:-2]), good], 1, {"file.truncated": 1})
    yield of("flipped_zst_inside", [("a.jsonl.zst", _flipped(CODECS["zst"](GOOD), -1)), good], 1, {"file.corrupt": 1})
    yield of("junk_behind_bz2_inside", [("a.jsonl.bz2", CODECS["bz2"](GOOD) + b"junk"), good], 1, {"file.trailing": 1})
    bomb = CODECS["gz"](b" " * 100_000)
    yield of("bomb_inside", [("a.jsonl.gz", bomb), good], 0, {"size.cap": 1}, max_file_bytes=50_000)
    many = [(f"{n}.txt", b"x" * 20_000) for n in range(3)]
    yield of("over_by_members", many, 0, {"size.cap": 1}, max_file_bytes=50_000)


def _flipped(data: bytes, at: int) -> bytes:
    out = bytearray(data)
    out[at] ^= 1
    return bytes(out)


def _info(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def _tar_members(how: str, pack: Callable[[bytes], bytes]) -> Iterator[Made]:
    good = ("good.jsonl", GOOD)
    for word, kind in {"hard_link": b"1", "symbolic_link": b"2"}.items():
        for target in ("/etc/passwd", "good.jsonl", "../x"):
            data = pack(tarred([(_info("a", kind, target), b""), good]))
            yield _of(f"{word}_{target.replace('/', '_')}", how, data, 1, told={"archive.link": 1})
    for word, kind in {"character_device": b"3", "block_device": b"4", "pipe": b"6"}.items():
        yield _of(word, how, pack(tarred([(_info("a", kind), b""), good])), 1, told={"archive.special": 1})
    for word, kind in {"sparse": b"S", "volume": b"M", "unknown_type": b"Z"}.items():
        yield _of(word, how, pack(tarred([(_info("a.jsonl", kind), GOOD), good])), 1, {"file.unsupported": 1})
    yield _of("folder", how, pack(tarred([(_info("d", b"5"), b""), good])), 1)
    yield _of("empty_name", how, pack(tarred([("", GOOD), good])), 1, {"archive.name": 1})
    raw = tarfile.TarInfo("a\udcff.jsonl")
    raw.size = len(GOOD)
    block = raw.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape") + GOOD.ljust(512, b"\0")
    yield _of("name_no_utf8", how, pack(block + tarred([good])), 1, {"archive.name": 1})


def _tar_as_a_whole(how: str, pack: Callable[[bytes], bytes]) -> Iterator[Made]:
    data = tarred([("a.jsonl", GOOD * 60), ("good.jsonl", GOOD)])  # two blocks of content, one of a header before it
    second = 512 + -(-len(GOOD) * 60 // 512) * 512
    whole = {
        "cut_in_a_member": (data[:700], "file.truncated"),
        "cut_between_members": (data[:second], "file.truncated"),
        "cut_in_a_header": (data[: second + 100], "file.truncated"),
        "no_end_mark": (data[: second + 1024], "file.truncated"),
        "junk_behind": (data + b"junk".ljust(512, b"\0"), "file.trailing"),
        "flip_in_a_header": (_flipped(data, second + 3), "file.corrupt"),
        "flip_in_the_size": (_flipped(data, second + 130), "file.corrupt"),
        "junk_for_a_header": (data[:second] + b"junk" * 128 + data[second:], "file.corrupt"),
    }
    for fault, (damaged, code) in whole.items():
        yield _of(fault, how, pack(damaged), 0, {code: 1})
    yield _of("zeros_behind", how, pack(data + bytes(10_240)), 61)
    pax = tarred([(_info("a", b"x"), b"99 path=b\n"), ("good.jsonl", GOOD)])
    yield _of("bad_pax_header", how, pack(pax), 0, {"file.corrupt": 1})
    if how != "tar":
        yield _of("stream_cut", how, pack(data)[:-3], 0, {"file.truncated": 1})
        yield _of("stream_junk_behind", how, pack(data) + b"junk", 0, {"file.trailing": 1})


def _zip_members(method: str, number: int) -> Iterator[Made]:
    """Faults of one member of a zip."""

    def of(fault: str, data: bytes, codes: Counts = NONE, told: Counts = NONE, rows: int = 1) -> Made:
        return _of(f"{fault}_{method}", "zip", data, rows, codes, told=told)

    data = zipped([("a.jsonl", GOOD * 20), ("good.jsonl", GOOD)], number)
    entry = data.index(b"PK\1\2")
    local = {"encrypted": (6, 1), "strong_encryption": (6, 0x41)}
    for fault, (at, bits) in local.items():
        out = bytearray(data)
        out[at] |= bits
        out[entry + 8] |= bits
        yield of(fault, bytes(out), {"archive.encrypted": 1})
    yield of("wrong_checksum", _put(data, entry + 16, b"\1\2\3\4"), {"file.corrupt": 1})
    yield of("wrong_size", _put(data, entry + 24, struct.pack("<L", len(GOOD) * 20 + 1)), {"file.corrupt": 1})
    yield of("another_name_in_its_header", _put(data, 30, b"b"), {"file.corrupt": 1})
    yield of("another_method_in_its_header", _put(data, 8, b"\x0e"), {"file.corrupt": 1})
    yield of("unknown_method", _put(_put(data, 8, b"\x0e\0"), entry + 10, b"\x0e\0"), {"file.unsupported": 1})
    yield of("link", _of_mode(0o120777, number), told={"archive.link": 1})
    yield of("pipe", _of_mode(0o010644, number), rows=2)  # as Info-ZIP marks what it packed out of one
    yield of("device", _of_mode(0o020644, number, b""), told={"archive.special": 1})
    name = bytearray(zipped([("aß.jsonl", GOOD), ("good.jsonl", GOOD)], number))
    for start in (30, name.index(b"PK\1\2") + 46):
        name[start + 1 : start + 3] = b"\xff\xfe"
    yield of("name_no_utf8", bytes(name), {"archive.name": 1})


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _of_mode(mode: int, method: int, content: bytes = b"/etc/passwd") -> bytes:
    info = zipfile.ZipInfo("a")
    info.create_system, info.external_attr = 3, mode << 16
    return zipped([(info, content), ("good.jsonl", GOOD)], method)


def _zip_as_a_whole() -> Iterator[Made]:
    data = zipped([("a.jsonl", GOOD * 20), ("good.jsonl", GOOD)])
    entry, end = data.index(b"PK\1\2"), len(data) - 22
    second = data.index(b"PK\1\2", entry + 4)
    whole = {
        "cut_in_a_member": (data[: entry // 2], "file.truncated"),
        "cut_before_the_directory": (data[:entry], "file.truncated"),
        "cut_in_the_directory": (data[: entry + 50], "file.truncated"),
        "cut_in_the_end_record": (data[:-1], "file.truncated"),
        "header_alone": (b"PK\3\4" + bytes(60), "file.truncated"),
        "junk_behind": (data + b"junk", "file.trailing"),
        "zeros_behind": (data + bytes(512), "file.trailing"),
        "junk_before_the_directory": (data[:entry] + b"junk" + data[entry:], "file.corrupt"),
        "directory_elsewhere": (_put(data, end + 16, struct.pack("<L", entry + 4)), "file.corrupt"),
        "no_entry_in_the_directory": (_put(data, entry, b"XX"), "file.corrupt"),
        "member_outside": (_put(data, entry + 42, struct.pack("<L", 1 << 20)), "file.corrupt"),
        "members_overlap": (_put(data, second + 42, struct.pack("<L", 0)), "file.corrupt"),
        "of_several_disks": (_put(data, end + 4, b"\1\0"), "file.unsupported"),
        "word_document": (zipped([("[Content_Types].xml", b"<x/>"), ("word/a.xml", b"<x/>")]), "file.unsupported"),
        "program": (zipped([("META-INF/MANIFEST.MF", b"a: b\n"), ("a.class", b"x")]), "file.unsupported"),
    }
    for fault, (damaged, code) in whole.items():
        yield _of(fault, "zip", damaged, 0, {code: 1})
    for codec, pack in CODECS.items():
        yield _of("zip_compressed", f"zip.{codec}", pack(data), 0, {"archive.nested": 1})
    yield Made("archive/zip_named/tar/a.tar", data, 21, NONE, {"file.extension": 1}, {}, -1)
    yield Made("archive/zip_named/jsonl/a.jsonl", data, 21, NONE, {"file.extension": 1}, {}, -1)
    tar = tarred([("good.jsonl", GOOD)])
    yield Made("archive/tar_named/zip/a.zip", tar, 1, NONE, {"file.extension": 1}, {}, -1)
    yield Made("archive/tar_named/jsonl/a.jsonl", tar, 1, NONE, {"file.extension": 1}, {}, -1)
    comment = io.BytesIO(data)
    with zipfile.ZipFile(comment, "a") as archive, warnings.catch_warnings():
        archive.comment = b"a comment"
    yield _of("comment", "zip", comment.getvalue(), 21)
