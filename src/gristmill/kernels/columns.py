"""Hashing Arrow columns: one 128-bit hash a row over several columns.

Not here: the hash itself (`hashing.py`), what the hashes are for (`engine`, `steps/dedup`). Invariant: it is a storage
format: columns that are no strings are hashed as Arrow's text form of their values; a null differs from an empty value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.bool_]]


def hash_columns(columns: Sequence[pa.Array]) -> npt.NDArray[np.uint64]:
    """Hash each row of several columns of equal length, in their order.

    Returns:
        uint64 (n, 2).
    """
    from gristmill.kernels.hashing import hash128_columns  # loads Numba, which a process that only plans does not need

    return hash128_columns([_arrays(column) for column in columns])


def _arrays(column: pa.Array) -> Arrays:
    n = len(column)
    if n in (0, column.null_count):
        return np.zeros(0, np.uint8), np.zeros(n + 1, np.int32), np.ones(n, np.bool_)
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        column = column.cast(pa.string())
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + n + 1]
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    return (np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)), ends, nulls
