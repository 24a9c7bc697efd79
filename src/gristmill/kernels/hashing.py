"""128-bit hashes of texts: MurmurHash3 x64 128, and a chain of it over several columns.

A storage format: the id index, deduplication keys and content hashes hold these numbers. A change of one bit means a
new format version and a migration, so golden values stand in the tests.

A row's hash is two uint64 (h1, h2), both 0 before the first column. Each column hashes its bytes by the reference
algorithm with the hash so far as the seed (h1 and h2 apart; the reference has one seed for both). For a null, h1 is
complemented first and no bytes follow. Each step mixes in the number of its bytes, so ("ab", "c") is not ("a", "bc"),
and a null is not an empty text.

Source: Austin Appleby, MurmurHash3.cpp (public domain), function MurmurHash3_x64_128; for one column of no nulls this
is it, with seed 0. Not here: what is hashed (`steps.dedup`, `engine`). Invariant: the bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gristmill.kernels.utf8 import (
    PAIRS,
    READ_8,
    READ_32,
    READ_BOOL,
    READ_PAIRS,
    Bytes,
    Int,
    Int32s,
    Mask,
    UInt64s,
    helper,
    kernel,
    load64,
)

C1, C2 = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
N1, N2 = np.uint64(0x52DCE729), np.uint64(0x38495AB5)
M1, M2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
FIVE, EIGHT, BITS = np.uint64(5), np.uint64(8), np.uint64(64)
R27, R31, R33 = np.uint64(27), np.uint64(31), np.uint64(33)


def hash128(data: Bytes, offsets: Int32s) -> UInt64s:
    """Hash each row of one column without nulls.

    Args:
        data: uint8, any bytes, borrowed.
        offsets: int32, n + 1 for n rows, borrowed.

    Returns:
        uint64 (n, 2). GIL released.
    """
    n = len(offsets) - 1
    hashes: UInt64s = _hash(data, offsets, np.zeros(n, np.bool_), np.zeros((n, 2), np.uint64))
    return hashes


def hash128_columns(columns: Sequence[tuple[Bytes, Int32s, Mask]]) -> UInt64s:
    """Hash each row of several columns, in their order.

    Args:
        columns: at least one of (data uint8, offsets int32 n + 1, nulls bool n: true where the value is null), borrowed.

    Returns:
        uint64 (n, 2). GIL released.
    """
    hashes: UInt64s = np.zeros((len(columns[0][1]) - 1, 2), np.uint64)
    for data, offsets, nulls in columns:
        hashes = _hash(data, offsets, nulls, hashes)
    return hashes


@helper
def _rotated(x: Int, r: Int) -> Int:
    return x << r | x >> (BITS - r)


@helper
def _mixed1(k: Int) -> Int:
    return _rotated(k * C1, R31) * C2


@helper
def _mixed2(k: Int) -> Int:
    return _rotated(k * C2, R33) * C1


@helper
def _final(x: Int) -> Int:
    x = (x ^ x >> R33) * M1
    x = (x ^ x >> R33) * M2
    return x ^ x >> R33


@kernel(PAIRS, READ_8, READ_32, READ_BOOL, READ_PAIRS)
def _hash(data: Bytes, offsets: Int32s, nulls: Mask, seeds: UInt64s) -> UInt64s:
    n = len(offsets) - 1
    hashes = np.empty((n, 2), np.uint64)
    for row in range(n):
        i, end = np.int64(offsets[row]), np.int64(offsets[row + 1])
        h1, h2 = seeds[row, 0], seeds[row, 1]
        if nulls[row]:
            h1 = ~h1
            i = end
        length = np.uint64(end - i)
        while i + 16 <= end:
            h1 = (_rotated(h1 ^ _mixed1(load64(data, i)), R27) + h2) * FIVE + N1
            h2 = (_rotated(h2 ^ _mixed2(load64(data, i + 8)), R31) + h1) * FIVE + N2
            i += 16
        k1 = k2 = np.uint64(0)
        for at in range(end - 1, i - 1, -1):
            if at - i >= 8:
                k2 = k2 << EIGHT | np.uint64(data[at])
            else:
                k1 = k1 << EIGHT | np.uint64(data[at])
        h1 ^= _mixed1(k1)
        h2 ^= _mixed2(k2)
        h1 ^= length
        h2 ^= length
        h1 += h2
        h2 += h1
        h1 = _final(h1)
        h2 = _final(h2)
        h1 += h2
        hashes[row, 0] = h1
        hashes[row, 1] = h2 + h1
    return hashes
