"""Hashes are MurmurHash3 x64 128 to the bit, and chains of columns tell columns apart. They are a storage format."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.kernels import plain

from gristmill.core.batch import utf8_buffers
from gristmill.kernels.hashing import hash128, hash128_columns

# Published values of MurmurHash3_x64_128 with seed 0 (Guava, Cassandra and mmh3 give the same).
GOLDEN = {
    "": "00000000000000000000000000000000",
    "hello": "cbd8a7b341bd9b025b1e906a48ae1d19",
    "hello, world": "342fac623a5ebc8e4cdcbc079642414d",
    "The quick brown fox jumps over the lazy dog": "e34bbc7bbc071b6c7a433ca9c49a9347",
}
# Values of this project's chain of columns; they must never change.
GOLDEN_COLUMNS = {
    ("ab", "c"): "9c1ac473d91696c9665fbe01d0a2f524",
    ("a", "bc"): "eae07b7b1c398b8ce70c9d3ac5c5d0ba",
    ("ab", None): "a0abcd6336dcc23a57ae8b0f169b4e7f",
    (None, None): "c81993e7f54e47c2f715161a80281a76",
}


def column(values):
    array = pa.array(values, pa.string())
    return *utf8_buffers(array), array.is_null().to_numpy(zero_copy_only=False)


def hexes(hashes):
    return [f"{int(a):016x}{int(b):016x}" for a, b in hashes]


def test_golden_values():
    """The published values come out, for every text of the list."""
    assert hexes(hash128(*utf8_buffers(pa.array(list(GOLDEN))))) == list(GOLDEN.values())


def test_golden_columns():
    """The chain of two columns gives the values that are stored in datasets."""
    columns = [column([key[at] for key in GOLDEN_COLUMNS]) for at in (0, 1)]
    assert hexes(hash128_columns(columns)) == list(GOLDEN_COLUMNS.values())


@settings(max_examples=examples(120), deadline=None, derandomize=True, database=None)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_equals_plain_python(rows):
    """Any text hashes as the plain Python does, in a column of its own or in a slice."""
    want = [plain.murmur3(t.encode()) for t in rows]
    for array in (pa.array(rows, pa.string()), pa.array(["a b", *rows, "c"], pa.string()).slice(1, len(rows))):
        assert [tuple(map(int, h)) for h in hash128(*utf8_buffers(array))] == want


def test_every_length():
    """Texts of 0 to 70 bytes, of bytes with and without the high bit, hash as the plain Python does."""
    rows = ["é" * (n // 2) + "x" * (n % 2 + n % 5) for n in range(70)]
    want = [plain.murmur3(t.encode()) for t in rows]
    assert [tuple(map(int, h)) for h in hash128(*utf8_buffers(pa.array(rows)))] == want


@settings(max_examples=examples(80), deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(*[st.none() | st.text("ab", max_size=3)] * 3), min_size=1, max_size=20))
def test_columns_tell_rows_apart(rows):
    """Rows of three columns, nulls among them, have equal hashes only if they are equal; and equal plain Python."""
    hashes = hash128_columns([column([row[at] for row in rows]) for at in range(3)])
    assert [tuple(map(int, h)) for h in hashes] == [plain.murmur3_columns(row) for row in rows]
    assert len({h.tobytes() for h in hashes}) == len(set(rows))


def test_one_column_is_the_plain_hash():
    """A chain of one column without nulls is MurmurHash3 itself."""
    array = pa.array(["a", "", "long " * 40])
    assert np.array_equal(hash128_columns([column(array)]), hash128(*utf8_buffers(array)))


def test_nothing_hashes_to_nothing():
    """No rows give no hashes."""
    assert hash128(*utf8_buffers(pa.array([], pa.string()))).shape == (0, 2)
