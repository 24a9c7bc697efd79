"""Over 4,000 made files become what the rules say: each fault by its code, in every format, compression and archive."""

import os
from collections import Counter

import pytest
from tests.malformed.made import table

STRIDE = 15  # a test run reads one in so many; `python -m tests.malformed` reads all


@pytest.fixture(name="cases", scope="module")
def _cases():
    return list(table.every())


def test_the_table_is_what_the_rules_make(cases):
    assert table.written() == [case.line for case in cases]
    names = Counter(case.name for case in cases)
    assert len(names) == len(cases) >= 500


def test_made_files_become_what_the_table_says(cases):
    """A slice by seed."""
    first = int(os.environ.get("GRISTMILL_SEED", "1"))
    assert dict(table.differences(cases[first % STRIDE :: STRIDE])) == {}


def test_a_file_that_does_not_become_what_it_must_is_seen(cases):
    case = next(case for case in cases if case.name == "jsonl/nan/plain/a.jsonl")
    for wrong in ({"rows": 4}, {"codes": {}}, {"codes": {"json.syntax": 1}}, {"warnings": {"text.nul": 1}}):
        assert "must be" in dict(table.differences([case._replace(**wrong)]))[case.name]
    assert "bytes are accounted for" in dict(table.differences([case._replace(inside=case.inside + 1)]))[case.name]


def test_a_name_in_a_zip_that_says_it_is_utf_8_and_is_not_is_refused(cases):
    case = next(case for case in cases if case.name == "archive/name_no_utf8_stored/zip/a.zip")
    assert dict(table.differences([case])) == {}


def test_zeros_behind_xz_are_padding_and_other_bytes_are_not(cases):
    chosen = [
        case for case in cases if case.name.startswith(("stream/zeros_behind/jsonl/", "stream/junk_behind/jsonl/"))
    ]
    assert [case.rows for case in chosen if case.name.endswith("xz")] == [0, 3]
    assert dict(table.differences(chosen)) == {}


def test_a_whole_header_without_type_or_length_costs_its_record_wherever_it_stands(cases):
    chosen = [case for case in cases if case.name.startswith(("warc/no_type", "warc/no_length"))]
    assert {case.codes["warc.header"] for case in chosen} == {1}
    assert dict(table.differences(chosen)) == {}
