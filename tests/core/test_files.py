"""The reading side of files: lines and ranges conserve bytes, members are read to their end, globs follow the shell."""

import bz2
import gzip
import io
import lzma
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.errors import ConfigError, UnitFailed
from gristmill.core.files import (
    BLOCK_BYTES,
    Expansion,
    Local,
    codec_of,
    expand,
    line_range,
    lines,
    plain,
    zstd,
)
from gristmill.core.places import local_path

PACKERS = {"gzip": gzip.compress, "zstd": zstd.compress, "bzip2": bz2.compress, "xz": lzma.compress}
LAX = Expansion(1 << 40, 1 << 40)


@given(
    st.lists(st.sampled_from([b"", b"a", b"\n", b"bb\n", b"\n\n", b"cccc", b"dd\nee"]), max_size=20), st.integers(1, 8)
)
def test_lines_cover_every_byte_once_however_it_is_cut(blocks, max_bytes):
    data = b"".join(blocks)
    at, kept = 5, []
    for group in lines(blocks, 5, max_bytes):
        assert group.start == at
        if group.lines:
            length = sum(map(len, group.lines)) + len(group.lines)
            assert group.end - group.start in {length, length - 1}
            kept += [line for line in group.lines if len(line) <= max_bytes]
        at = group.end
    assert at == 5 + len(data)
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert kept == [line for line in expected if len(line) <= max_bytes]


@given(st.binary(max_size=40) | st.text("a\n", max_size=40).map(str.encode), st.lists(st.integers(0, 40), max_size=6))
def test_line_ranges_cover_every_byte_once(data, cuts):
    size = len(data)
    borders = sorted({0, size, *(cut for cut in cuts if cut < size)})
    raw = io.BytesIO(data)
    pieces = []
    for start, end in pairwise(borders):
        first, last = line_range(raw, start, end, size)
        pieces.append(b"".join(plain(raw, first, last)))
        assert first == last or first == 0 or data[first - 1 : first] == b"\n"
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") or data.endswith(piece) for piece in pieces)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.sampled_from(list(PACKERS)))
def test_members_come_out_as_they_went_in(members, codec):
    packed = b"".join(PACKERS[codec](member) for member in members)
    assert codec_of(packed) == codec
    assert b"".join(expand(io.BytesIO(packed), codec, "u", LAX)) == b"".join(members)


@pytest.mark.parametrize("codec", PACKERS)
def test_every_cut_is_noticed(codec):
    packed = PACKERS[codec](os.urandom(500) + bytes(500))
    for end in range(4, len(packed)):
        with pytest.raises(UnitFailed) as caught:
            b"".join(expand(io.BytesIO(packed[:end]), codec, "u", LAX))
        assert caught.value.code == "file.truncated", end
    with pytest.raises(UnitFailed, match=r"file\.trailing"):
        b"".join(expand(io.BytesIO(packed + b"more"), codec, "u", LAX))


@settings(max_examples=examples(120), deadline=None)
@given(st.sampled_from(["gzip", "zstd"]), st.integers(0), st.integers(0, 7))
def test_a_flipped_bit_never_gives_other_bytes(codec, where, bit):
    data = b"the same text again and again, " * 40
    checked = zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})
    packed = bytearray(checked if codec == "zstd" else gzip.compress(data, mtime=0))
    packed[where % len(packed)] ^= 1 << bit
    if codec_of(packed) == codec:
        try:
            assert b"".join(expand(io.BytesIO(packed), codec, "u", LAX)) == data
        except UnitFailed as error:
            told = {
                "file.corrupt",
                "file.truncated",
                "file.trailing",
                "file.unsupported",
            }  # the last: of a window too large
            assert error.code in told  # noqa: PT017


@pytest.mark.parametrize("codec", PACKERS)
def test_blocks_stay_small_whatever_the_ratio(codec):
    packed = PACKERS[codec](bytes(20_000_000))
    sizes = [len(block) for block in expand(io.BytesIO(packed), codec, "u", LAX)]
    assert sum(sizes) == 20_000_000
    assert max(sizes) <= BLOCK_BYTES
    with pytest.raises(UnitFailed, match=r"size\.cap"):
        list(expand(io.BytesIO(packed), codec, "u", Expansion(5_000_000, 100)))


def test_many_tiny_members_take_linear_time():
    packed = gzip.compress(b"x\n", mtime=0) * 100_000
    began = time.process_time()
    assert sum(map(len, expand(io.BytesIO(packed), "gzip", "u", LAX))) == 200_000
    assert time.process_time() - began < 10


GLOBS = {
    "*.txt": ["a.txt", "b.txt"],
    "**/*.txt": ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"],
    "**": ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt", "sub/e"],
    "sub/*": ["c.txt", "e"],
    "sub/**": ["c.txt", "deep/d.txt", "e"],
    "*/deep/d.txt": ["sub/deep/d.txt"],
    "[ab].txt": ["a.txt", "b.txt"],
    "?.txt": ["a.txt", "b.txt"],
    "a.txt": ["a.txt"],
    ".hidden.txt": [".hidden.txt"],
    ".*": [".hidden.txt"],
    "none/**": [],
}


@pytest.fixture
def tree(tmp_path):
    for name in ["a.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt", "sub/e", ".hidden.txt", ".git/x.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize(("glob", "units"), GLOBS.items())
def test_globs(tree, glob, units):
    listing = Local(tree).list([glob])
    assert [found.unit for found in listing.found] == units
    assert listing.failed == []
    for found in Local(tree).list([f"{tree}/{glob}", "a.txt"]).found:
        assert (tree / found.path).read_bytes() == b"x"


def test_links_to_folders_are_followed_and_loops_are_not(tree):
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "other").symlink_to(tree / "sub" / "deep")
    units = [found.unit for found in Local(tree).list(["**/d.txt"]).found]
    assert units == ["other/d.txt", "sub/deep/d.txt"]


def test_paths_stay_relative_when_the_config_is(tree):
    [found] = Local(tree / "sub").list(["deep/*.txt"]).found
    assert (found.unit, found.path) == ("d.txt", "deep/d.txt")
    [found] = Local(tree / "sub").list(["../a.txt"]).found
    assert (found.unit, found.path) == ("a.txt", "../a.txt")


def test_only_local_paths_are_taken():
    assert local_path("file:///a%20b/*.txt") == "/a b/*.txt"
    assert local_path("~nobody-here/x") == "~nobody-here/x"
    for address in ("s3://bucket/key", "https://host/x", "file://host/x"):
        with pytest.raises(ConfigError):
            local_path(address)


def test_what_became_a_pipe_or_a_folder_since_it_was_listed_is_not_read_and_nothing_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    before = len([*Path("/proc/self/fd").iterdir()])
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="not a regular file"):
            Local(tmp_path).open(name)
    assert len([*Path("/proc/self/fd").iterdir()]) == before
