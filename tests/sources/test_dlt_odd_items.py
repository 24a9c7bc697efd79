"""What Python lets a dlt resource yield, and no JSON or Arrow column can hold: it costs its record, or is counted."""

import orjson
import pytest

pytest.importorskip("dlt", reason="the extra dlt is not installed")

from tests.sources.test_dlt import pages, source

from gristmill.core.errors import SourceError

ARROW = "import pyarrow as pa\n"


def read(folder, item, head=""):
    """Give rows, rejects and warnings of a resource that yields one item."""
    code = f"{head}@dlt.resource\ndef items():\n    yield {item}\n"
    found = pages(source(folder, code), folder)
    rows = [row for page in found for row in page.rows.select(["key", "text", "meta"]).to_pylist()]
    rejects = [(reject.code, reject.origin) for page in found for reject in page.rejects]
    return rows, rejects, {code: n for page in found for code, n in page.warnings.items()}


def test_half_a_surrogate_pair_costs_its_record(tmp_path):
    """As from an API's JSON, which requests decodes with the standard library."""
    item = (
        "[{'id': 1, 'text': 'cut \\ud83d'}, {'id': '2\\ud800', 'text': 't'}, {'id': 3, 'text': 't', 'a': [{'\\udc00': 1}]}, "
        "{'id': 4, 'text': 'fine'}]"
    )
    rows, rejects, _ = read(tmp_path, item)
    assert [row["key"] for row in rows] == ["4"]
    assert rejects == [("text.surrogate", f"items#{at}") for at in range(3)]


def test_numbers_and_keys_that_json_has_no_word_for_are_kept_as_near_as_it_has_and_counted(tmp_path):
    item = "[{'id': 1, 'text': 't', 'nan': float('nan'), 'deep': [{'inf': float('inf')}], 'big': 2**70, 'huge': 10**400, 'keys': {1: (2, 3)}}]"
    rows, rejects, warnings = read(tmp_path, item)
    assert rejects == []
    assert warnings == {"field.not_finite": 3, "json.int_range": 2}
    assert orjson.loads(rows[0]["meta"]) == {
        "nan": None,
        "deep": [{"inf": None}],
        "big": float(2**70),
        "huge": None,
        "keys": {"1": [2, 3]},
    }


@pytest.mark.parametrize(
    "make", ["x = []; x.append(x)", "x = []\nfor _ in range(5000): x = [x]"], ids=["in itself", "deep"]
)
def test_what_is_nested_too_deeply_costs_its_record(tmp_path, make):
    rows, rejects, _ = read(tmp_path, "[{'id': 1, 'text': 't', 'x': x}, {'id': 2, 'text': 'fine'}]", f"{make}\n")
    assert [row["key"] for row in rows] == ["2"]
    assert rejects == [("json.depth", "items#0")]


def test_a_record_over_the_cap_costs_itself_and_what_was_there_of_it_stands(tmp_path):
    item = "[{'id': 1, 'text': 't' * 200}, {'id': 2, 'text': 'fine'}, {'id': 3, 'text': 't', 'deep': [['x' * 200]]}]"
    code = f"@dlt.resource\ndef items():\n    yield {item}\n"
    found = pages(source(tmp_path, code, max_record_bytes=200), tmp_path)
    assert [row["key"] for page in found for row in page.rows.select(["key"]).to_pylist()] == ["2"]
    assert [(each.code, each.origin, each.bytes > 200) for page in found for each in page.rejects] == [
        ("size.cap", "items#0", True),
        ("size.cap", "items#2", True),
    ]
    assert [key for page in found for key in page.present] == ["1", "3"]


def test_the_depth_that_is_allowed_can_be_set(tmp_path):
    code = "@dlt.resource\ndef items():\n    yield [{'id': 1, 'text': 'a', 'x': [[1]]}, {'id': 2, 'text': 'b', 'x': [[[1]]]}]\n"
    found = pages(source(tmp_path, code, max_depth=3), tmp_path)
    assert [row["key"] for page in found for row in page.rows.to_pylist()] == ["1"]
    assert [each.code for page in found for each in page.rejects] == ["json.depth"]


def test_columns_of_arrow_that_are_not_what_they_say_cost_their_rows(tmp_path):
    item = "pa.table({'id': ['1', '2'], 'text': pa.array([b'\\xff', b'ok']).view(pa.string()), 't': pa.array([2**62, 0], pa.timestamp('us'))})"
    rows, rejects, _ = read(tmp_path, item, ARROW)
    assert [(row["key"], row["text"]) for row in rows] == [("2", "ok")]
    assert rejects == [("text.encoding", "items#0")]


def test_two_columns_of_one_name_are_an_error_as_one_would_hide_the_other(tmp_path):
    item = "pa.table([pa.array(['1']), pa.array(['a']), pa.array(['b'])], names=['id', 'text', 'text'])"
    with pytest.raises(SourceError, match="cannot be read"):
        read(tmp_path, item, ARROW)
