"""SQL cells: texts that are no UTF-8, times that are none, tombstones of any kind."""

import contextlib

import numpy as np
import pyarrow as pa

from gristmill.database import cells

SEEDS = [
    b"\x00ab",
    b"\x01\xff\xfe\x00\x80x",
    b"\x022024-01-01 00:00:00\0x",
    b"\x03\x7f\xff\xff\xff\xff\xff\xff\xff" * 2,
    b"\x041\0true\0\0no",
]


def _text(parts: list[bytes]) -> pa.Array:
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(pa.string(), len(parts), buffers)


def one(data: bytes) -> None:
    """Make a column of it by its first byte, and ask everything of it."""
    kind, data = (data[0] % 5 if data else 0), data[1:]
    if kind == 3:
        numbers = np.frombuffer(data[: len(data) // 8 * 8], np.int64)
        columns = [
            pa.array(numbers),
            pa.array(numbers).view(pa.timestamp("us")),
            pa.array(numbers.astype(np.int32)).view(pa.date32()),
        ]
    else:
        columns = [_text(data.split(b"\0"))]
    for column in columns:
        wrong = cells.not_utf8(column)
        with contextlib.suppress(ValueError, OverflowError):  # infinity: who asks for a time expects them
            cells.values(column)
        sound = cells.without(column, wrong) if wrong else column
        sound.validate(full=True)
        assert len(sound) == len(column)
        moments, left = cells.times(sound)
        assert len(moments) == len(column)
        assert all(0 <= at < len(column) for at in left)
        told, neither = cells.gone(sound)
        assert len(told) == len(column)
        assert all(0 <= at < len(column) for at in neither)
        if pa.types.is_string(sound.type):
            cells.is_plain(sound)
            cells.has_nul(sound)
