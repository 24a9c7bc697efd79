"""Additions in the total order: however they are cut into runs, tasks and batches, the same records come out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples, some
from tests.oracle import Oracle, Source
from tests.properties.lab import Lab, flat, folder, jsonl
from tests.properties.test_histories import PIPELINES, config, units

SOURCE = [Source("a", "id")]
TEXTS = ["one", "ONE", "two", "x", "three", "ß", "Два", "y" * 30]
# An addition never gives a known id another content: its text follows from its id. The same record may come twice.
NUMBERS = st.integers(0, 24)


def record(number):
    return {
        "id": str(number),
        "text": TEXTS[number % len(TEXTS)],
        "lang": [None, "de", ""][number % 3],
        "n": number % 2,
    }


@st.composite
def additions(draw):
    """Draw the files in their order, each in the parts in which it grew, and after which parts a run is made."""
    files = draw(st.lists(st.lists(st.lists(NUMBERS, max_size=5), min_size=1, max_size=3), min_size=1, max_size=4))
    parts = [(f"a/{i:02d}.jsonl", jsonl([record(n) for n in part])) for i, grown in enumerate(files) for part in grown]
    cuts = draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    return parts, cuts


def bring_in(lab, parts, cuts, run):
    """Add the parts one by one and run after those that are cut, and at the end."""
    files = {}
    for i, (name, data) in enumerate(parts):
        files[name] = files.get(name, b"") + data
        lab.put(name, files[name])
        if cuts[i] or i + 1 == len(parts):
            run()
    return files


# Within one snapshot only what came in one run is compared: by its definition it depends on the cut.
STEPS = st.sampled_from(sorted(PIPELINES.keys() - {"dedup within a snapshot"}))
HOW = st.tuples(st.sampled_from([None, 17, 50, 200]), st.sampled_from([1, 100, 8 << 20]))
EXPORT = {"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 3, "compression": "none"}}


@settings(derandomize=True, deadline=None, max_examples=examples(5))
@given(additions(), STEPS, HOW, HOW)
def test_any_cut_into_runs_gives_the_records_of_one_fresh_run(drawn, steps, how, other):
    parts, cuts = drawn
    with folder() as place:
        cut = Lab(place / "cut", config(SOURCE, PIPELINES[steps], split_bytes=how[0], batch_bytes=how[1]))
        files = bring_in(cut, parts, cuts, cut.run)
        whole = Lab(place / "whole", config(SOURCE, PIPELINES[steps], split_bytes=other[0], batch_bytes=other[1]))
        bring_in(whole, parts, [False] * len(parts), whole.run)
        assert cut.records() == whole.records()
        oracle = Oracle(SOURCE, PIPELINES[steps])
        oracle.run(units(SOURCE, files))
        assert whole.rows() == oracle.table()


@settings(derandomize=True, deadline=None, max_examples=examples(4))
@given(additions(), STEPS, st.sampled_from([None, 50, 200]), st.sampled_from([1, 60, 300]))
def test_equal_cuts_give_equal_bytes_whatever_the_batches(drawn, steps, split_bytes, batch_bytes):
    parts, cuts = drawn
    with folder() as place:
        found = []
        for name, size in (("one", 8 << 20), ("two", batch_bytes)):
            lab = Lab(
                place / name,
                config(SOURCE, PIPELINES[steps], split_bytes=split_bytes, batch_bytes=size, exports=[EXPORT]),
            )
            bring_in(lab, parts, cuts, lab.run)
            found.append(lab.bytes())
        assert found[0] == found[1]


@pytest.mark.slice
@pytest.mark.parametrize("workers", some([2, 3, 4], 1))
def test_equal_cuts_give_equal_bytes_whatever_the_workers(tmp_path, workers):
    parts = [(f"a/{i:02d}.jsonl", jsonl([record((i * 7 + n) % 25) for n in range(12)])) for i in range(6)]
    cuts = [False, True, False, False, True, False]
    steps = PIPELINES["dedup twice"]
    found = []
    for name, number in (("inline", 1), ("workers", workers)):
        lab = Lab(tmp_path / name, config(SOURCE, steps, split_bytes=200, exports=[EXPORT]))
        bring_in(lab, parts, cuts, lambda lab=lab, number=number: lab.run_in_processes(number))
        found.append(lab.bytes())
        assert lab.broken() == []
    assert found[0] == found[1]
    assert any(name.startswith("set/table/") for name in found[0])
    assert any(name.startswith("out/") for name in found[0])


def test_a_growing_last_file_gives_its_new_lines_and_no_more(tmp_path):
    lab = Lab(tmp_path, config(SOURCE, PIPELINES["dedup alone"]))
    lab.put("a/1.jsonl", jsonl([record(0), record(1)]))
    lab.run()
    lab.put("a/1.jsonl", jsonl([record(0), record(1), record(2)]))
    report = lab.run()
    assert flat(report.counts) == {"read": 3, "unchanged": 2, "published": 1}
