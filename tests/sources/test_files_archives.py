"""Zip and tar archives: members are read as files, what is hostile or odd in them has a code, nothing is laid down on disk."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections import Counter

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from tests.examples import examples
from tests.properties.lab import Lab, flat, jsonl
from tests.sources.conftest import read_everything

from gristmill.core.errors import UnitFailed
from gristmill.core.files import Stream, zstd
from gristmill.core.tararchive import members as tar_members
from gristmill.net.objects import Objects

LINE = b'{"text": "t"}\n'
FILES = {
    "a.jsonl": LINE * 2,
    "d/b.json": b'[{"text": "x"}, {"text": "y"}]',
    "c.txt": "grüße".encode(),
    "deep/" * 30 + "long.jsonl": LINE,
    "packed.jsonl.gz": gzip.compress(LINE, mtime=0),
    "rows.csv": b"text,n\none,1\n",
}
EXPECTED = [
    ("a.jsonl#0", "t"),
    ("a.jsonl#14", "t"),
    ("d/b.json#1", "x"),
    ("d/b.json#16", "y"),
    ("c.txt#0", "grüße"),
    ("deep/" * 30 + "long.jsonl#0", "t"),
    ("packed.jsonl.gz#0", "t"),
    ("rows.csv#7", "one"),
]


def zipped(files, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as pack:
        for name, data in files.items() if isinstance(files, dict) else files:
            pack.writestr(name, data)
    return out.getvalue()


def tarred(files, form=tarfile.PAX_FORMAT):
    """Make a tar of names and contents; a TarInfo in a content's place stands for itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as pack:
        for name, data in files.items() if isinstance(files, dict) else files:
            if isinstance(data, tarfile.TarInfo):
                data.name = name
                pack.addfile(data)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                pack.addfile(info, io.BytesIO(data))
    return out.getvalue()


def odd(kind, link="", size=0):
    info = tarfile.TarInfo("x")
    info.type, info.linkname, info.size = kind, link, size
    return info


ARCHIVES = {
    "x.zip": zipped(FILES),
    "stored.zip": zipped(FILES, zipfile.ZIP_STORED),
    "bzip2.zip": zipped(FILES, zipfile.ZIP_BZIP2),
    "pax.tar": tarred(FILES),
    "gnu.tar": tarred(FILES, tarfile.GNU_FORMAT),
    "a.tar.gz": gzip.compress(tarred(FILES)),
    "a.tgz": gzip.compress(tarred(FILES)),
    "a.tar.zst": zstd.compress(tarred(FILES)),
    "a.tar.bz2": bz2.compress(tarred(FILES)),
    "a.tar.xz": lzma.compress(tarred(FILES)),
}


@pytest.mark.parametrize(("name", "data"), ARCHIVES.items(), ids=ARCHIVES)
def test_members_are_read_as_files_in_their_order(read, name, data):
    out = read({name: data})
    assert [(row["origin"], row["text"]) for row in out.rows] == [(f"{name}!/{at}", text) for at, text in EXPECTED]
    assert (out.rejects, out.failed, out.warnings) == ([], {}, {})
    inside = sum(map(len, FILES.values())) - len(FILES["packed.jsonl.gz"]) + len(LINE)
    assert out.bytes_in[name] == inside


def test_pages_do_not_change_what_is_read(tmp_path):
    (tmp_path / "a.zip").write_bytes(ARCHIVES["x.zip"])
    (tmp_path / "b.tar").write_bytes(ARCHIVES["pax.tar"])
    whole, paged = read_everything(tmp_path), read_everything(tmp_path, batch_bytes=1, split_bytes=1)
    assert whole[:4] == paged[:4]


def test_parquet_and_pages_in_archives_are_read(read):
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["p", "q"]}), out)
    page = b"<!doctype html><html><body><article><p>" + b"Words of a page that say something. " * 20 + b"</p></article>"
    files = {"a.parquet": out.getvalue(), "b.html": page}
    found = read({"a.zip": zipped(files), "b.tar": tarred(files)})
    assert [row["origin"] for row in found.rows] == [
        f"{unit}!/{at}" for unit in ("a.zip", "b.tar") for at in ("a.parquet#0", "a.parquet#1", "b.html#0")
    ]
    assert not found.failed


def test_parquet_inside_of_a_file_that_is_more_than_memory_is_to_hold_is_not_read(read, monkeypatch):
    """A footer lies at the end, and what is compressed as a whole cannot be read from there."""
    monkeypatch.setattr("gristmill.sources.files._MOST_IN_MEMORY", 600)
    few, many = io.BytesIO(), io.BytesIO()
    pq.write_table(pa.table({"text": ["t"]}), few, compression="none", store_schema=False, write_statistics=False)
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(500)]}), many)
    assert len(few.getvalue()) < 600
    out = read(
        {
            "a.zip": zipped({"few.parquet": few.getvalue(), "many.parquet": many.getvalue()}),
            "b.parquet.gz": gzip.compress(many.getvalue()),
        }
    )
    assert [row["origin"] for row in out.rows] == ["a.zip!/few.parquet#0"]
    assert out.rejects == [("file.unsupported", "a.zip!/many.parquet")]
    assert out.failed == {"b.parquet.gz": ("file.unsupported", True)}


def test_what_is_asked_for_is_read_and_the_rest_is_counted(read):
    files = {"a.jsonl": LINE, "d/b.jsonl": LINE, "README": b"no data", ".hidden": b"x", "__MACOSX/._a.jsonl": b"x"}
    assert read({"a.zip": zipped(files)}).warnings == {"archive.skipped": 2}
    out = read({"a.zip": zipped(files)}, members="**/*.jsonl")
    assert [row["origin"] for row in out.rows] == ["a.zip!/a.jsonl#0", "a.zip!/d/b.jsonl#0"]
    assert out.warnings == {"archive.skipped": 3}


NAMES = [
    "/etc/passwd",
    "../../x.jsonl",
    "a/../../x.jsonl",
    "C:/x.jsonl",
    "C:\\x.jsonl",
    "..\\x.jsonl",
    "\\\\host\\x",
    "d/..",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_name_that_leads_out_is_refused_and_its_neighbour_is_read(read, tmp_path, name, pack):
    before = sorted(tmp_path.parent.iterdir())
    out = read({"a": pack([(name, LINE), ("good.jsonl", LINE)])})
    assert out.rejects == [("archive.name", f"a!/{name}")]
    assert [row["origin"] for row in out.rows] == ["a!/good.jsonl#0"]
    assert sorted(tmp_path.parent.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_links_devices_and_folders_of_a_tar_are_told_and_never_followed(read):
    files = [
        ("folder", odd(tarfile.DIRTYPE)),
        ("out.jsonl", odd(tarfile.SYMTYPE, "/etc/passwd")),
        ("again.jsonl", odd(tarfile.LNKTYPE, "good.jsonl", size=14)),
        ("null", odd(tarfile.CHRTYPE)),
        ("disk", odd(tarfile.BLKTYPE)),
        ("pipe", odd(tarfile.FIFOTYPE)),
        ("good.jsonl", LINE),
        ("good.jsonl", b"another of that name"),
        ("./dotted.jsonl", LINE),
    ]
    out = read({"a.tar": tarred(files)})
    assert [row["origin"] for row in out.rows] == ["a.tar!/good.jsonl#0", "a.tar!/dotted.jsonl#0"]
    assert out.warnings == {"archive.link": 2, "archive.special": 3}
    assert out.rejects == [("archive.duplicate", "a.tar!/good.jsonl")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_links_and_second_names_of_a_zip_are_told(read):
    link = zipfile.ZipInfo("link.jsonl")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    out = read({"a.zip": zipped([(link, "/etc/passwd"), ("d/", b""), ("a.jsonl", LINE), ("a.jsonl", LINE * 2)])})
    assert [row["origin"] for row in out.rows] == ["a.zip!/a.jsonl#0"]
    assert out.warnings == {"archive.link": 1}
    assert out.rejects == [("archive.duplicate", "a.zip!/a.jsonl")]


def test_what_is_called_a_folder_and_has_content_is_read(read):
    out = read({"a.zip": zipped([("d/", b""), ("notes/", LINE), ("a.jsonl", LINE)])})
    assert [row["origin"] for row in out.rows] == ["a.zip!/notes/#0", "a.zip!/a.jsonl#0"]
    assert (out.rejects, out.warnings) == ([], {})


def test_what_was_packed_from_a_pipe_is_read_as_it_has_content(read):
    """Info-ZIP stores it with the mode of the pipe."""
    pipe, empty = zipfile.ZipInfo("-"), zipfile.ZipInfo("empty")
    for each in (pipe, empty):
        each.create_system, each.external_attr = 3, 0o010600 << 16
    out = read({"a.zip": zipped([(pipe, LINE * 2), (empty, b"")])})
    assert [row["origin"] for row in out.rows] == ["a.zip!/-#0", "a.zip!/-#14"]
    assert out.warnings == {"archive.special": 1}


def test_a_wide_record_is_read_though_all_numbers_fit_the_narrow_one(read, monkeypatch):
    """As Python writes it from 2 GiB on, and Info-ZIP for a zip that goes to a pipe."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 60)
    packed = zipped([("a.jsonl", LINE), ("b.jsonl", LINE)])
    assert b"PK\6\6" in packed
    assert struct.unpack_from("<L", packed, len(packed) - 6)[0] < 1000, "the narrow record has the number too"
    out = read({"a.zip": packed})
    assert [row["origin"] for row in out.rows] == ["a.zip!/a.jsonl#0", "a.zip!/b.jsonl#0"]
    assert out.warnings == {}


@pytest.mark.parametrize("beside", [b"", b"UT\5\0" + bytes(5)], ids=["alone", "behind another field"])
def test_numbers_of_a_member_that_stand_in_the_wide_field_are_read_there(read, monkeypatch, beside):
    """As Python writes them of members from 2 GiB on: size, packed size and place."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for name in ("a.jsonl", "b.jsonl"):
            info = zipfile.ZipInfo(name)
            info.extra, info.compress_type = beside, zipfile.ZIP_DEFLATED
            pack.writestr(info, LINE * 3)
    packed = out.getvalue()
    for name, told in ((b"a.jsonl", (1, 1, 0)), (b"b.jsonl", (1, 1, 1))):  # the first lies at byte 0, which fits
        entry = packed.rindex(name) - 46
        assert [n == 0xFFFFFFFF for n in struct.unpack_from("<LL14xL", packed, entry + 20)] == [*map(bool, told)]
    found = read({"a.zip": packed})
    assert [row["origin"] for row in found.rows] == [f"a.zip!/{name}.jsonl#{at}" for name in "ab" for at in (0, 14, 28)]
    assert (found.rejects, found.failed, found.warnings) == ([], {}, {})


def test_a_wide_field_that_is_cut_leaves_the_member_outside_of_its_archive(read, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1)
    packed = zipped([("a.jsonl", LINE * 3)])
    field = packed.rindex(b"a.jsonl") + len("a.jsonl")
    assert struct.unpack_from("<2H", packed, field) == (1, 16)
    out = read({"a.zip": patched(packed, field + 2, b"\7\0")})
    assert (out.rows, out.failed) == ([], {"a.zip": ("file.corrupt", True)})


@pytest.mark.parametrize(("name", "pack"), [("a.zip", zipped), ("a.tar", tarred)])
def test_an_archive_of_too_many_members_is_not_read(read, monkeypatch, name, pack):
    monkeypatch.setattr("gristmill.sources.formats.archive.MAX_MEMBERS", 3)
    files = {f"{n}.jsonl": LINE for n in range(4)}
    assert read({name: pack(files)}).failed == {name: ("size.cap", True)}
    assert len(read({name: pack([*files.items()][:3])}).rows) == 3


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def entry_of(data, name):
    """Give where the directory's entry and the local header of a member begin."""
    entry = data.rindex(name) - 46
    return entry, struct.unpack_from("<L", data, entry + 42)[0]


TWO = zipped([("a.jsonl", LINE * 50), ("good.jsonl", LINE)])
AT, LOCAL = entry_of(TWO, b"a.jsonl")


def both(offset_in_entry, offset_in_local, value):
    return patched(patched(TWO, AT + offset_in_entry, value), LOCAL + offset_in_local, value)


def headless():
    """Make an archive whose second member, `a.jsonl`, has lost its header; the first begins with an archive's mark."""
    data = zipped([(".first", b""), ("a.jsonl", LINE), ("good.jsonl", LINE)])
    return patched(data, entry_of(data, b"a.jsonl")[1], b"??")


def followed():
    """Make an archive with other bytes behind the stream of `a.jsonl`, within what is told to be its own."""
    data = zipped([("a.jsonl", zlib.compress(LINE, wbits=-15) + b"more"), ("good.jsonl", LINE)], zipfile.ZIP_STORED)
    entry, local = entry_of(data, b"a.jsonl")
    data = patched(patched(data, entry + 10, b"\x08"), local + 8, b"\x08")
    return patched(
        patched(data, entry + 16, struct.pack("<L", zlib.crc32(LINE))), entry + 24, struct.pack("<L", len(LINE))
    )


NOISE = random.Random(1).randbytes(100_000)  # beside it a small bomb does not make a bomb of the archive
BAD_MEMBERS = {
    "encrypted": (both(8, 6, b"\1\0"), "archive.encrypted"),
    "unknown method": (both(10, 8, b"\x0e\0"), "file.unsupported"),
    "other name in its own header": (patched(TWO, LOCAL + 30, b"b"), "file.corrupt"),
    "other method in its own header": (patched(TWO, LOCAL + 8, b"\0\0"), "file.corrupt"),
    "no header of its own": (headless(), "file.corrupt"),
    "other bytes behind its stream": (followed(), "file.trailing"),
    "wrong checksum": (patched(TWO, AT + 16, b"\0\0\0\0"), "file.corrupt"),
    "shorter than told": (patched(TWO, AT + 24, struct.pack("<L", 10_000)), "file.corrupt"),
    "longer than told": (patched(TWO, AT + 24, struct.pack("<L", 5)), "file.corrupt"),
    "damaged stream": (patched(TWO, LOCAL + 40, b"\xff\xff\xff"), "file.corrupt"),
    "cut stream": (patched(TWO, AT + 20, struct.pack("<L", 8)), "file.truncated"),
    "an archive": (zipped([("a.jsonl", zipped({"x": b"y"})), ("good.jsonl", LINE)]), "archive.nested"),
    "a packed archive": (
        zipped([("a.jsonl", gzip.compress(tarred({"x": b"y"}))), ("good.jsonl", LINE)]),
        "archive.nested",
    ),
    "half an array": (zipped([("a.jsonl", b'[{"text": "x"},\n'), ("good.jsonl", LINE)]), "file.truncated"),
    "a bomb": (zipped([("a.jsonl", bytes(11 << 20)), ("good.jsonl", LINE), (".large", NOISE)]), "size.cap"),
    "a packed bomb": (
        zipped([("a.jsonl", gzip.compress(bytes(11 << 20))), ("good.jsonl", LINE), (".large", NOISE)]),
        "size.cap",
    ),
}


@pytest.mark.parametrize(("data", "code"), BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_a_bad_member_costs_itself_and_its_neighbour_is_read(read, data, code):
    out = read({"a.zip": data})
    assert out.failed == {}
    assert out.rejects == [(code, "a.zip!/a.jsonl")]
    assert [row["origin"] for row in out.rows] == ["a.zip!/good.jsonl#0"]


def test_a_bad_member_that_is_told_from_the_folder_it_lies_in_costs_itself_too(read):
    data = zipped([("./a.jsonl", LINE * 50), ("./good.jsonl", LINE)])
    out = read({"a.zip": patched(data, entry_of(data, b"./a.jsonl")[0] + 16, b"\0\0\0\0")})
    assert (out.failed, out.rejects) == ({}, [("file.corrupt", "a.zip!/a.jsonl")])
    assert [row["origin"] for row in out.rows] == ["a.zip!/good.jsonl#0"]


def test_names_that_are_no_text_are_refused(read):
    data = tarred([("aaaaa", LINE), ("good.jsonl", LINE)], tarfile.USTAR_FORMAT)
    raw = data[:512].replace(b"aaaaa", b"a\xffa\xffa")
    total = sum(raw) - sum(raw[148:156]) + 8 * 32
    out = read({"a.tar": patched(raw, 148, b"%06o\0 " % total) + data[512:]})
    assert out.rejects == [("archive.name", "a.tar!/a\\xffa\\xffa")]
    assert len(out.rows) == 1


def sparse(extents, size=1024):
    """Give a sparse member as GNU tar writes it in its own formats: four extents in the header, 21 in each block behind it."""
    info = tarfile.TarInfo("sparse.jsonl")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, size
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    told = [b"%011o\0%011o\0" % (4096 * n, size // extents) for n in range(extents)]
    head[386 : 386 + 24 * len(told[:4])] = b"".join(told[:4])
    head[482] = extents > 4
    head[148:156] = b"%06o\0 " % (sum(head) - sum(head[148:156]) + 8 * 32)
    blocks = [told[at : at + 21] for at in range(4, extents, 21)]
    maps = [b"".join(some).ljust(504, b"\0") + bytes([some is not blocks[-1]]) + bytes(7) for some in blocks]
    return bytes(head) + b"".join(maps) + bytes(range(256)) * (size // 256)


@pytest.mark.parametrize("extents", [1, 4, 5, 25, 26, 60])
def test_a_sparse_member_costs_itself_and_its_neighbours_are_read(read, extents):
    data = tarred({"a.jsonl": LINE})[:1024] + sparse(extents) + tarred({"b.jsonl": LINE})
    out = read({"a.tar": data, "b.tar.gz": gzip.compress(data)})
    assert [row["origin"] for row in out.rows] == [
        f"{unit}!/{name}.jsonl#0" for unit in ("a.tar", "b.tar.gz") for name in "ab"
    ]
    assert out.rejects == [("file.unsupported", f"{unit}!/sparse.jsonl") for unit in ("a.tar", "b.tar.gz")]
    assert out.failed == {}


def test_an_archive_cut_within_the_map_of_a_sparse_member_is_cut(read):
    assert read({"a.tar": sparse(60)[:700]}).failed == {"a.tar": ("file.truncated", True)}


OF_LINE = b"%011o\0" % len(LINE)


def headed(kind=b"0", size=OF_LINE, name="a.jsonl"):
    """Give the header of a member with that type and that field of the size, its sum in order."""
    head = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    head[124:136], head[156:157] = size, kind
    head[148:156] = b"%06o\0 " % (sum(head) - sum(head[148:156]) + 8 * 32)
    return bytes(head)


def wide(at, value, form="<Q"):
    """Give a zip with a wide record whose locator has another value at that byte: 8 is the record's place, 16 how many files there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 60)
        packed = zipped([("a.jsonl", LINE), ("b.jsonl", LINE)])
    return patched(packed, packed.rindex(b"PK\6\7") + at, struct.pack(form, value))


def test_a_member_whose_name_ends_as_that_of_a_folder_is_one_and_a_sparse_one_of_pax_costs_itself(read):
    """Old tars have no type for folders (star(5)); pax writes the map of a sparse member in front of its content."""
    gaps = tarfile.TarInfo("x")
    gaps.size, gaps.pax_headers = len(LINE), {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    data = headed(size=b"0".ljust(12), name="d/") + tarred([("gaps.jsonl", gaps), ("b.jsonl", LINE)])
    begin = data.index(b"gaps.jsonl", 512)
    data = data[: begin + 512] + LINE.ljust(512, b"\0") + data[begin + 512 :]
    out = read({"a.tar": data})
    assert [row["origin"] for row in out.rows] == ["a.tar!/b.jsonl#0"]
    assert (out.rejects, out.failed) == ([("file.unsupported", "a.tar!/gaps.jsonl")], {})
    assert out.warnings == {}


TAR = tarred({"a.jsonl": LINE * 100, "b.jsonl": LINE * 100}, tarfile.USTAR_FORMAT)
END = 2 * (512 + 1536)
SECOND = 2048
BAD_ARCHIVES = {
    "tar cut within a member": ("a.tar", TAR[:700], "file.truncated"),
    "tar cut between members": ("a.tar", TAR[:SECOND], "file.truncated"),
    "tar without an end mark": ("a.tar", TAR[:END], "file.truncated"),
    "tar cut in its first header": ("a.tar", TAR[:300], "file.truncated"),
    "tar with a damaged second header": ("a.tar", patched(TAR, SECOND + 5, b"?"), "file.corrupt"),
    "tar with a damaged first header": ("a.tar", patched(TAR, 5, b"?"), "file.corrupt"),
    "tar with other bytes behind its end": ("a.tar", TAR + b"more", "file.trailing"),
    "two tars in one": ("a.tar", TAR + TAR, "file.trailing"),
    "tar with a member of no size": ("a.tar", headed(size=b"-1".ljust(12)) + LINE, "file.corrupt"),
    "tar with a member of a negative size": ("a.tar", headed(size=b"\xff" * 12) + LINE, "file.corrupt"),
    "tar with a name of megabytes": ("a.tar", headed(kind=b"L", size=b"%011o\0" % (2 << 20)) + LINE, "file.corrupt"),
    "tar.gz cut": ("a.tar.gz", gzip.compress(TAR)[:-9], "file.truncated"),
    "zip cut": ("a.zip", TWO[:-10], "file.truncated"),
    "zip without its directory": ("a.zip", TWO[:LOCAL + 60], "file.truncated"),
    "zip with other bytes behind its end": ("a.zip", TWO + b"more", "file.trailing"),
    "zip with a damaged directory": ("a.zip", patched(TWO, AT, b"??"), "file.corrupt"),
    "zip with other bytes before it": ("a.zip", b"PK\3\4" + TWO, "file.corrupt"),
    "zip whose wide record is elsewhere": ("a.zip", wide(8, 1 << 40), "file.corrupt"),
    "zip whose wide record is none": ("a.zip", wide(8, 5), "file.corrupt"),
    "zip whose wide record tells of several files": ("a.zip", wide(16, 2, "<L"), "file.corrupt"),
    "zip in several files": ("a.zip", patched(TWO, len(TWO) - 18, b"\1\0"), "file.unsupported"),
    "zip whose members overlap": ("a.zip", patched(TWO, entry_of(TWO, b"good.jsonl")[0] + 42, struct.pack("<L", LOCAL)), "file.corrupt"),
    "zip with a member outside of it": ("a.zip", patched(TWO, AT + 42, struct.pack("<L", len(TWO))), "file.corrupt"),
    "zip whose directory has too few entries": ("a.zip", patched(TWO, len(TWO) - 14, b"\1\0\1\0"), "file.corrupt"),
    "zip whose directory has too many entries": ("a.zip", patched(TWO, len(TWO) - 14, b"\3\0\3\0"), "file.corrupt"),
    "zip whose directory ends within an entry": ("a.zip", patched(TWO, entry_of(TWO, b"good.jsonl")[0] + 30, b"\xff\0"), "file.corrupt"),
    "zip inside gzip": ("a.zip.gz", gzip.compress(TWO), "archive.nested"),
    "a word processor's document": ("a.docx", zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), "file.unsupported"),
    "a bomb of many members": ("a.zip", zipped({f"{n}.jsonl": bytes(4 << 20) for n in range(4)}), "size.cap"),
    "a bomb around a tar": ("a.tar.gz", gzip.compress(tarred({"a.txt": bytes(12 << 20)})), "size.cap"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "code"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_damaged_archive_fails_as_a_whole(read, name, data, code):
    out = read({name: data, "z.jsonl": LINE})
    assert out.failed == {name: (code, True)}
    assert "z.jsonl#0" in {row["origin"] for row in out.rows}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 30])
def test_a_zip_of_a_few_bytes_is_cut_and_no_text(tmp_path, size):
    (tmp_path / "x.zip").write_bytes(ARCHIVES["x.zip"][:size])
    out = read_everything(tmp_path, path="x.zip")
    assert [code for code, _ in out.failed.values()] == ["file.truncated"]
    assert not out.rows


@settings(max_examples=examples(60), deadline=None)
@given(st.data(), st.sampled_from(["x.zip", "pax.tar", "gnu.tar", "bzip2.zip"]))
def test_any_damage_to_an_archive_is_told_and_what_is_read_is_what_was_put_in(tmp_path_factory, data, kind):
    """Cut, or some bytes overwritten: each record that comes out is one that went in, or its archive or member has a code."""
    packed = bytearray(ARCHIVES[kind])
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at : at + 4] = data.draw(st.binary(min_size=4, max_size=4))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / kind).write_bytes(packed)
    out = read_everything(folder, path=kind)
    if kind.endswith(".zip") and packed[:2] == b"PK":  # a tar has no checksum of what is in it
        known = Counter(text for _, text in EXPECTED)
        assert not Counter(row["text"] for row in out.rows) - known
    assert out.rows or out.rejects or out.failed or out.warnings or not packed


def test_pax_headers_that_cannot_be_taken_apart_take_no_time():
    header = tarfile.TarInfo("x")
    header.type, header.size = b"x", 1 << 20
    block = header.tobuf(tarfile.USTAR_FORMAT)
    for body in (b"6 a=b\n" * (1 << 18), b"9" * (1 << 20), b"3 =\n" * (1 << 18), bytes(1 << 20)):
        data = block + body[: 1 << 20]
        with pytest.raises(UnitFailed):
            list(tar_members(Stream(iter([data])), "u"))


def test_an_archive_is_replaced_as_a_whole_and_unchanged_records_stay(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*", "id": None}}]})
    one, two = {"text": "one"}, {"text": "two"}
    lab.put("in/a.zip", zipped({"1.jsonl": jsonl([one]), "2.jsonl": jsonl([two])}))
    lab.put("in/b.tar", tarred({"1.jsonl": jsonl([one]), "bad.json": b'[{"text": "half"}'}))
    report = lab.run()
    assert flat(report.counts) == {"read": 4, "published": 3, "quarantined/file.truncated": 1}
    assert [row.id for row in lab.rows()] == ["s/a.zip!/1.jsonl#0", "s/a.zip!/2.jsonl#0", "s/b.tar!/1.jsonl#0"]
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"
    [told] = lab.open().quarantine_counts(unit="b.tar")
    assert (told["code"], told["count"], told["open"]) == ("file.truncated", 1, 1)
    lab.put("in/a.zip", zipped({"2.jsonl": jsonl([two]), "3.jsonl": jsonl([one])}))
    assert flat(lab.run().counts) == {"read": 2, "unchanged": 1, "published": 1, "withdrawn": 1}
    assert lab.broken() == []
    lab.put("in/a.zip", zipped({"3.jsonl": jsonl([one])})[:-5])
    assert flat(lab.run().counts) == {"read": 1, "quarantined/file.truncated": 1}
    assert len(lab.rows()) == 3
    assert lab.broken() == []


def test_a_member_that_turns_out_bad_late_costs_its_archive(read, monkeypatch):
    monkeypatch.setattr("gristmill.sources.formats.archive._HELD_BYTES", 2000)
    bad = b"[" + b'{"text": "a record of some length"},\n' * 500
    out = read({"a.zip": zipped([("good.jsonl", LINE), ("bad.json", bad)])}, 500)
    assert out.failed == {"a.zip": ("file.truncated", True)}
    assert out.rows == []


def test_archives_in_a_store_are_read_by_ranges_and_a_zip_only_where_it_is_asked_for(tmp_path, monkeypatch):
    """A real store of obstore's, in memory: what is fetched of a zip of large members is its directory and the one member."""
    store = MemoryStore()
    large = random.Random(3).randbytes(5 << 20)
    obstore.put(
        store, "in/a.zip", zipped([("large.bin", large), ("good.jsonl", LINE), ("more.bin", large)], zipfile.ZIP_STORED)
    )
    obstore.put(store, "in/b.tar.gz", gzip.compress(tarred({"x.jsonl": LINE * 3})))
    fetched = []

    def ranges(place, path, etag, start, end):
        fetched.append(end - start)
        return original(place, path, etag, start, end)

    original = Objects._range
    monkeypatch.setattr(Objects, "_range", ranges)
    monkeypatch.setattr(
        "gristmill.sources.files.place_for", lambda globs, folder, options: Objects(store, "s3://bucket/")
    )
    out = read_everything(tmp_path, path="s3://bucket/in/*", members="*.jsonl")
    assert [row["origin"] for row in out.rows] == [
        "a.zip!/good.jsonl#0", *(f"b.tar.gz!/x.jsonl#{at}" for at in (0, 14, 28))
    ]  # fmt: skip
    assert (out.warnings, out.failed, out.rejects) == ({"archive.skipped": 2}, {}, [])
    assert sum(fetched) < 3 << 20
