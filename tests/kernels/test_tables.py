"""The tables leave nothing out of the running Python's Unicode."""

import re
import sys
import time
import unicodedata

import numpy as np

from gristmill.kernels import tables

# Each character stands at its number.
ALL = np.arange(sys.maxunicode + 1, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")


def test_white_space_ends_where_the_table_does():
    """No code point after U+3000 is white space, and all before are as `str.isspace` says."""
    assert not any(map(str.isspace, ALL[tables.SPACES_END :]))
    assert tables.space_table().tolist() == list(map(str.isspace, ALL[: tables.SPACES_END]))


def test_words_are_what_re_says():
    """A sample over all planes agrees with `re` one by one."""
    table = tables.word_table()
    assert all(bool(table[c]) == bool(re.match(r"\w", ALL[c])) for c in range(0, len(ALL), 7))


def test_nothing_beyond_the_tables_moves():
    """From U+30000 on nothing has case, a decomposition or a combining class."""
    beyond = ALL[tables.LETTERS_END :]
    assert "".join(beyond).lower() == "".join(beyond)
    assert not any(map(unicodedata.decomposition, beyond))
    assert not any(map(unicodedata.combining, beyond))


def test_lower_case_of_each_code_point():
    """The table gives `str.lower` for all but the two letters that Python does itself."""
    table = tables.lower_table()
    odd = {c for c in range(len(table)) if len(ALL[c].lower()) != 1} | {tables.SIGMA}
    assert odd == {tables.SIGMA, tables.DOTTED_I}
    assert np.flatnonzero(table < 0).tolist() == sorted(odd)
    assert all(ALL[table[c]] == ALL[c].lower() for c in range(len(table)) if c not in odd)


def test_tables_are_built_in_a_moment():
    """All tables that a process may need cost a moment together (half a second on a quiet machine)."""
    started = time.process_time()
    for build in (tables.space_table, tables.word_table, tables.lower_table):
        build.__wrapped__()
    for form in ("NFC", "NFKC"):
        tables.order_table.__wrapped__(form)
    assert time.process_time() - started < 10
