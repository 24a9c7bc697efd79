"""Flow: what a step says of a record is written down with value and limit, whatever the batches; poison costs itself."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.properties.lab import Lab, flat, folder, jsonl
from tests.steps.test_exact import batch_of

from gristmill.core.batch import Batch
from gristmill.core.errors import StepError
from gristmill.core.step import BoundStep
from gristmill.engine.flow import Crash, Flow, Sides, text_bytes
from gristmill.engine.sides import SideWriter
from gristmill.steps.clean.lowercase import Lowercase
from gristmill.steps.custom import Custom, Drop
from gristmill.steps.filter.length import Length
from gristmill.steps.require import Require


def go(place, steps, texts, *, cuts=(), retries=0):
    """Run steps over texts cut into batches; give the texts left, the flow, and the rows of the side files."""
    sides = Sides(*(SideWriter(place / f"{kind}.parquet", kind) for kind in Sides.__struct_fields__))
    flow = Flow([BoundStep(name=n, part=n, step=s) for n, s in steps], place, sides, Crash(), retries)
    whole = batch_of([{"text": text} for text in texts]).rows
    left, start = [], 0
    for end in [*sorted(cuts), len(texts)]:
        if end > start or end == len(texts):
            left += flow.run(Batch(whole.slice(start, end - start))).text.to_pylist()
            start = end
    found = {}
    for kind in Sides.__struct_fields__:
        writer = getattr(sides, kind)
        writer.close()
        found[kind] = pq.read_table(writer.path).to_pylist() if writer.rows else []
    return left, flow, found


def test_a_drop_carries_the_value_measured_and_the_limit(tmp_path):
    _, flow, found = go(tmp_path, [("short", Length(min_chars=4, max_words=2))], ["abcd", "abc", "a b c d"])
    rows = [(r["ord"], r["step"], r["action"], r["reason"], r["value"], r["threshold"]) for r in found["verdicts"]]
    assert rows == [(1, "short", "drop", "too_short", 3.0, 4.0), (2, "short", "drop", "too_many_words", 4.0, 2.0)]
    assert flow.dropped == {"short:too_short": 1, "short:too_many_words": 1}


def test_signals_are_kept_of_the_dropped_too(tmp_path):
    *_, found = go(tmp_path, [("short", Length(min_chars=4))], ["abcd", "abc"])
    assert [(r["ord"], r["signal"], r["value"]) for r in found["signals"] if r["signal"] == "chars"] == [
        (0, "chars", 4.0),
        (1, "chars", 3.0),
    ]


def test_a_filter_after_a_cleaning_measures_the_cleaned_text(tmp_path):
    steps = [("first", Length(max_chars=2)), ("lower", Lowercase()), ("second", Length(max_chars=1))]
    left, _, found = go(tmp_path, steps, ["İ"])
    assert left == []
    assert [(r["step"], r["value"]) for r in found["verdicts"]] == [("second", 2.0)]


def poison(kind, word="poison"):
    def in_record(record):
        if record["text"] == word:
            raise ValueError("the secret text")
        return record

    def in_list(records):
        return [in_record(record) for record in records]

    def in_batch(rows):
        if word in rows.column("text").to_pylist():
            raise ValueError("the secret text")
        return rows

    return {"record": in_record, "list": in_list, "batch": in_batch}[kind]


@pytest.mark.parametrize("mode", ["record", "list", "batch"])
@pytest.mark.parametrize("at", [0, 7, 20])
def test_poison_costs_itself_wherever_it_stands(tmp_path, mode, at):
    texts = [f"text {i}" for i in range(20)]
    texts.insert(at, "poison")
    left, flow, found = go(tmp_path, [("mine", Custom(call=poison(mode), mode=mode))], texts)
    assert left == [text for text in texts if text != "poison"]
    (row,) = found["quarantine"]
    assert (row["ord"], row["code"], row["step"]) == (at, "step.error", "mine")
    assert "ValueError" in row["detail"]
    assert "secret" not in str(found)
    assert (flow.quarantined, flow.step_errors) == ({"step.error": 1}, 1)


def test_a_failure_that_passes_is_retried_and_costs_nothing(tmp_path):
    tries = []

    def shaky(rows):
        tries.append(rows.num_rows)
        if len(tries) < 3:
            raise OSError("not yet")
        return rows

    left, _, found = go(tmp_path, [("mine", Custom(call=shaky, mode="batch"))], ["a", "b"], retries=2)
    assert (left, tries, found["quarantine"]) == (["a", "b"], [2, 2, 2], [])


def test_a_batch_for_which_there_is_no_memory_is_tried_in_parts_and_a_row_for_which_there_is_none_stops_the_run(
    tmp_path,
):
    def hungry(rows, most=2):
        if rows.num_rows > most:
            raise MemoryError
        return rows

    texts = [f"text {i}" for i in range(9)]
    left, flow, found = go(tmp_path / "two", [("mine", Custom(call=hungry, mode="batch"))], texts)
    assert (left, flow.quarantined, found["quarantine"]) == (texts, {}, [])
    with pytest.raises(MemoryError):
        go(tmp_path / "none", [("mine", Custom(call=lambda rows: hungry(rows, 0), mode="batch"))], texts)


def test_an_answer_that_breaks_the_contract_stops_the_run(tmp_path):
    with pytest.raises(StepError, match="1 rows"):
        go(tmp_path, [("mine", Custom(call=lambda rows: rows.slice(0, 1), mode="batch"))], ["a", "b"])


def test_reasons_of_a_custom_step_are_counted_by_word(tmp_path):
    def pick(record):
        return {"drop": Drop("dull"), "none": None}.get(record["text"], record)

    left, flow, found = go(tmp_path, [("mine", Custom(call=pick))], ["drop", "keep", "none", "drop"])
    assert left == ["keep"]
    assert flow.dropped == {"mine:dull": 2, "mine:none": 1}
    assert [r["reason"] for r in found["verdicts"]] == ["dull", "none", "dull"]


def test_what_comes_after_poison_in_halves_keeps_its_reasons(tmp_path):
    def pick(records):
        if any(record["text"] == "poison" for record in records):
            raise ValueError
        return [
            Drop("dull") if record["text"] == "drop" else record | {"text": record["text"].upper()}
            for record in records
        ]

    left, flow, found = go(tmp_path, [("mine", Custom(call=pick, mode="list"))], ["a", "drop", "poison", "b", "drop"])
    assert left == ["A", "B"]
    assert (flow.dropped, flow.quarantined) == ({"mine:dull": 2}, {"step.error": 1})
    assert [(r["ord"], r["action"]) for r in found["verdicts"]] == [(1, "drop"), (2, "quarantine"), (4, "drop")]


STEPS = [
    ("one", Length(min_chars=2)),
    ("lower", Lowercase()),
    ("mine", Custom(call=poison("list", "bad"), mode="list")),
    ("two", Length(max_chars=4, min_words=1)),
    ("require", Require(min_chars=3)),
]


@settings(derandomize=True, deadline=None, max_examples=examples(50))
@given(
    st.lists(st.sampled_from(["", "a", "ab", "abc", "BAD", "abcde", "  ", "ÄÖ"]), max_size=12),
    st.sets(st.integers(1, 11)),
)
def test_side_files_do_not_depend_on_where_batches_end(texts, cuts):
    with folder() as place:
        whole = go(place, STEPS, texts)
        cut = go(place, STEPS, texts, cuts=[c for c in cuts if c < len(texts)])
    assert whole[0] == cut[0]
    assert whole[2] == cut[2]
    assert (whole[1].dropped, whole[1].quarantined) == (cut[1].dropped, cut[1].quarantined)
    counts = [[(c.name, c.rows_in, c.rows_out, c.invalid, c.bytes) for c in flow.counts] for flow in (whole[1], cut[1])]
    assert counts[0] == counts[1]


def test_bytes_of_a_slice_are_those_of_its_rows():
    rows = batch_of([{"text": "ab"}, {"text": "ß"}, {"text": "c"}])
    assert [text_bytes(rows.slice(i, 2)) for i in (0, 1)] == [4, 3]
    assert text_bytes(rows.slice(0, 0)) == 0


def test_steps_report_in_out_valid_and_invalid(tmp_path):
    steps = [{"filter.length": {"min_chars": 2}}, "dedup.exact", {"name": "words", "require": {"min_words": 1}}]
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}], "steps": steps})
    lab.put("in/a.jsonl", jsonl([{"id": str(i), "text": t} for i, t in enumerate(["a", "two", "two", "  ", "five"])]))
    report = lab.run()
    rows = [(s.name, s.rows_in, s.rows_out, s.valid, s.invalid) for s in report.steps]
    assert rows == [
        ("filter.length", 5, 4, 4, 1),
        ("dedup.exact", 4, 3, 3, 1),
        ("words", 3, 2, 2, 1),
        ("require", 2, 2, 2, 0),
    ]
    assert flat(report.counts) == {
        "read": 5,
        "published": 2,
        "dropped/filter.length:too_short": 1,
        "dropped/words:min_words": 1,
        "duplicates/dedup.exact": 1,
    }


def test_a_batch_is_compacted_after_each_filter(tmp_path):
    seen = []

    def look(rows):
        seen.append(rows.num_rows)
        assert isinstance(rows, pa.RecordBatch)
        assert np.diff(rows.column("ord").to_numpy()).tolist() == [2]
        return rows

    go(tmp_path, [("short", Length(min_chars=2)), ("mine", Custom(call=look, mode="batch"))], ["aa", "b", "cc"])
    assert seen == [2]
