"""Counts of code points and words equal len(text) and len(text.split())."""

import orjson
import pyarrow as pa
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.batch import utf8_buffers
from gristmill.kernels.counts import sizes

SPACES = "ab é漢🙂\t\n\x0b\x1b\x1c\x1f\x20\x21\x08\x0e\x85\xa0\u1680\u2003\u200b\u2028\u3000"


@settings(max_examples=examples(200), deadline=None, derandomize=True, database=None)
@given(st.lists(st.text() | st.text(st.sampled_from(SPACES), max_size=60), max_size=6))
def test_equal_plain_python(rows):
    """Any text, in a column of its own or in a slice, has as many characters and words as Python says."""
    for column in (pa.array(rows, pa.string()), pa.array(["a b", *rows, "c"], pa.string()).slice(1, len(rows))):
        chars, words = sizes(*utf8_buffers(column))
        assert chars.tolist() == [len(t) for t in rows]
        assert words.tolist() == [len(t.split()) for t in rows]


def test_each_ascii_character_between_letters():
    """Every ASCII character at every place of a block splits or joins words as in Python."""
    rows = ["x" * at + chr(c) + "y" * (40 - at) for c in range(128) for at in range(40)]
    assert sizes(*utf8_buffers(pa.array(rows)))[1].tolist() == [len(t.split()) for t in rows]


def test_pairs_at_every_place_of_a_block_equal_plain_python():
    """White space and letters of one to four bytes, two of them at every place of a block, count as in Python."""
    rows = ["x" * at + a + b + "y " * 20 for a in SPACES for b in SPACES for at in range(28, 36)]
    chars, words = sizes(*utf8_buffers(pa.array(rows)))
    assert chars.tolist() == [len(t) for t in rows]
    assert words.tolist() == [len(t.split()) for t in rows]


def test_real_text(shared):
    """A real corpus in many languages counts the same."""
    with zstd.open(shared / "corpus" / "part-0003.jsonl.zst") as lines:
        rows = [orjson.loads(line)["text"] for line in lines]
    chars, words = sizes(*utf8_buffers(pa.array(rows)))
    assert chars.tolist() == [len(t) for t in rows]
    assert words.tolist() == [len(t.split()) for t in rows]
