"""What comes out of one file counts against one allowance, in however many members and layers it lies."""

import bz2
import gzip
import io
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.sources.test_files_archives import tarred, zipped

from gristmill.core.files import zstd

LINE = b'{"text": "t"}\n'
MEMBERS = 6
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}
ARCHIVES = {"a.zip": zipped, "a.tar": tarred, "a.tar.gz": lambda files: gzip.compress(tarred(files))}


def parquet(text, rows):
    """Give a Parquet file in which a text that many rows have stands once."""
    out = io.BytesIO()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))
    pq.write_table(pa.table({"text": column}), out, compression="none", write_statistics=False)
    return out.getvalue()


def member(kind, size):
    """Give the name's end and the bytes of a member that expands to about `size`."""
    if kind == "parquet":
        return "parquet", parquet("x" * (size // 100), 100)
    return f"jsonl.{kind}", PACKERS[kind](LINE * (size // len(LINE)))


KINDS = [*PACKERS, "parquet"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("archive", ARCHIVES)
def test_members_that_each_keep_within_the_cap_share_it(read, archive, kind):
    ending, data = member(kind, 20_000)
    files = {f"{n}.{ending}": data for n in range(MEMBERS)}
    packed = ARCHIVES[archive](files)
    cap = len(packed) * 2 + 40_000 if archive == "a.tar" else 60_000  # a bare tar gives at least what it is
    assert read({archive: packed}, max_file_bytes=cap).failed == {archive: ("size.cap", True)}
    out = read({archive: ARCHIVES[archive]({f"0.{ending}": data})}, max_file_bytes=cap)
    assert (out.failed, out.rejects) == ({}, [])
    assert out.rows
    assert read({archive: packed}).failed == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("archive", ARCHIVES)
def test_many_small_bombs_are_one(read, monkeypatch, archive, kind):
    """Each is less than what anything may expand to, and together they are more than the ratio allows."""
    monkeypatch.setattr("gristmill.core.files.RATIO_FREE_BYTES", 400_000)
    ending, data = member(kind, 300_000)
    packed = ARCHIVES[archive]({f"{n}.{ending}": data for n in range(MEMBERS)})
    assert read({archive: packed}, max_ratio=20).failed == {archive: ("size.cap", True)}


def test_what_members_that_were_refused_had_given_counts_too(read):
    cut = {f"{n}.jsonl.gz": gzip.compress(LINE * 300)[:-4] for n in range(MEMBERS)}
    assert {code for code, _ in read({"a.zip": zipped(cut)}).rejects} == {"file.truncated"}
    assert read({"a.zip": zipped(cut)}, max_file_bytes=10_000).failed == {"a.zip": ("size.cap", True)}


def test_parquet_inside_a_compressed_file_is_measured_by_what_is_stored(read):
    """130 to one by itself, and over 10,000 to one by the file there is."""
    inner = parquet("x" * 100_000, 130)
    assert read({"a.parquet": inner}).failed == {}
    packed = gzip.compress(inner)
    assert len(packed) < 1300
    assert read({"a.parquet.gz": packed}, path="*.gz").failed == {"a.parquet.gz": ("size.cap", True)}


def test_an_honest_archive_of_compressed_members_is_read(read):
    files = {f"{n}.{ending}": data for kind in KINDS for n, (ending, data) in enumerate([member(kind, 2000)] * 2)}
    out = read({name: pack(files) for name, pack in ARCHIVES.items()})
    assert (out.failed, out.rejects) == ({}, [])
    assert len(out.rows) == 3 * 2 * (100 + 4 * (2000 // len(LINE)))
