"""Parquet: the fields of a file, odd types and damaged pages."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from tests.fuzz.reading import read

from gristmill.core.files import codec_of
from gristmill.sources.files import Files
from gristmill.sources.formats.detect import HEAD_BYTES, container_of

SOURCE = Files(path="*", format="parquet", id="id")


def _made(table: pa.Table, **how: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **how)
    return buffer.getvalue()


SEEDS = [
    _made(pa.table({"id": [1, 2], "text": ["a", "b"]}), compression="none"),
    _made(pa.table({"id": ["x"], "text": ["a"], "m": [{"k": [1, 2]}]}), write_page_checksum=True, compression="zstd"),
    _made(
        pa.table({"text": pa.array(["a", "a"]).dictionary_encode(), "at": pa.array([1, 2], pa.timestamp("ns", "UTC"))})
    ),
    _made(
        pa.table({"text": ["share", "shared", None, "sharing"], "n": [["a", "ab"], [], None, ["abc"]]}),
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY", "n.list.element": "DELTA_BYTE_ARRAY"},
        compression="none",
    ),
]


def _size(data: bytes) -> int | None:
    """Give its size; what begins as something compressed or as an archive comes out as something else."""
    packed = codec_of(data) or container_of(data[:HEAD_BYTES], "f.parquet")
    return None if packed else len(data)


def one(data: bytes) -> None:
    """Read it."""
    read(SOURCE, "f.parquet", data, size=_size(data))
