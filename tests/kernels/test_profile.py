"""The profile of a text: code points, those beyond ASCII and ASCII white space equal the plain Python."""

import itertools

import orjson
import pyarrow as pa
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.batch import utf8_buffers
from gristmill.kernels.profile import profile

CHARACTERS = "aZ09 \t\n\x0b\x0c\r\x08\x0e\x1f\x21\x7f\x80\xa0éß漢\u2028\u3000🙂\U0010ffff"


def plain(text):
    return len(text), sum(c > "\x7f" for c in text), sum(c in "\t\n\x0b\x0c\r " for c in text)


def assert_equal(rows):
    for column in (pa.array(rows, pa.string()), pa.array(["a é", *rows, "c"], pa.string()).slice(1, len(rows))):
        counted = profile(*utf8_buffers(column))
        assert [tuple(int(part[i]) for part in counted) for i in range(len(rows))] == [plain(text) for text in rows]


@settings(max_examples=examples(200), deadline=None, derandomize=True, database=None)
@given(st.lists(st.text() | st.text(st.sampled_from(CHARACTERS), max_size=100), max_size=6))
def test_equal_plain_python(rows):
    """Any text, in a column of its own or in a slice, is made of what Python says."""
    assert_equal(rows)


def test_each_character_at_every_place_of_a_block_equals_plain_python():
    """Every ASCII character and longer ones count the same wherever in a block, or across its border, they stand."""
    characters = {*map(chr, range(128)), *CHARACTERS}
    assert_equal(["x" * at + c + "y" * (40 - at) for c in sorted(characters) for at in range(28, 36)])


def test_real_text(shared):
    """A real corpus in many languages counts the same."""
    with zstd.open(shared / "corpus" / "part-0002.jsonl.zst") as lines:
        assert_equal([orjson.loads(line)["text"] for line in itertools.islice(lines, 0, None, 4)])
