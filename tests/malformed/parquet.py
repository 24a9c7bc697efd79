"""Parquet files that become far more in memory than their footer tells, each of so many mebibytes."""

import io

import pyarrow as pa
import pyarrow.parquet as pq


def written(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, use_dictionary=False, compression="zstd", write_statistics=False, **options)
    return out.getvalue()


def varint(value):
    out = []
    while value > 127:
        out, value = [*out, value & 127 | 128], value >> 7
    return bytes([*out, value])


def lying(mib):
    """Give a file whose footer tells of 2,000 bytes; what it tells instead is as long as the truth was."""
    data = written(pa.table({"text": ["x" * (1 << 20)] * mib}))
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = data[at:]
    for truth in {group.total_byte_size, group.column(0).total_uncompressed_size}:
        told = varint(2 * truth)
        lie = [4000 >> 7 * i & 127 | 128 for i in range(len(told))]
        footer = footer.replace(told, bytes([*lie[:-1], lie[-1] & 127]))
    return data[:at] + footer


def sharing(mib):
    """Give texts that share all with the one before: none of their bytes is in the file twice."""
    return written(pa.table({"text": ["x" * (1 << 20)] * mib}), column_encoding={"text": "DELTA_BYTE_ARRAY"})


def sharing_in_lists(mib):
    """Give such texts in lists, in pages of the second kind."""
    lists = [["x" * (1 << 20)] * 2] * (mib // 2)
    table = pa.table({"text": ["a"] * len(lists), "n": lists})
    return written(table, data_page_version="2.0", column_encoding={"n.list.element": "DELTA_BYTE_ARRAY"})


BOMBS = {
    "a footer that lies": lying,
    "texts that share all with the one before": sharing,
    "such texts in lists": sharing_in_lists,
}
