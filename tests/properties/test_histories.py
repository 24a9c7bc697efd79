"""Any history of arrivals, revisions, withdrawals, renames and duplicates: after each run the engine is the oracle."""

from collections import Counter
from contextlib import nullcontext
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import SOAK, examples, some
from tests.oracle import Oracle, Source
from tests.properties.lab import Lab, flat, folder, jsonl

from gristmill.store import index

IDS = st.sampled_from(["1", "2", "3", "4"])
# Equal after lower case, short enough to be dropped, equal but for what stands beside the text.
TEXTS = st.sampled_from(["one", "ONE", "two", "Two", "three", "x", "ß", ""])
LANGS = st.sampled_from([None, "", "de"])
RECORDS = st.fixed_dictionaries({"id": IDS, "text": TEXTS}, optional={"lang": LANGS, "n": st.integers(0, 1)})
FILES = st.lists(RECORDS, max_size=5)
NAMES = ["a/1.jsonl", "a/2.jsonl", "a/3.jsonl", "b/1.jsonl", "b/2.jsonl"]
CHANGES = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), FILES),
    st.tuples(st.just("append"), st.sampled_from(NAMES), FILES),
    st.tuples(st.just("prepend"), st.sampled_from(NAMES), FILES),
    st.tuples(st.just("take"), st.sampled_from(NAMES)),
    st.tuples(st.just("copy"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("move"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("reverse"), st.sampled_from(NAMES)),
)
HISTORIES = st.lists(st.lists(CHANGES, min_size=1, max_size=4), min_size=1, max_size=6)

LOWER, SHORT, EXACT = ("lower",), ("min_chars", "filter.length", 2), ("exact", "dedup.exact", "text", "dataset")
PIPELINES = {
    "no steps": [],
    "dedup alone": [EXACT],
    "clean, filter, dedup": [LOWER, SHORT, EXACT],
    "dedup before the filter": [LOWER, EXACT, SHORT],
    "dedup twice": [EXACT, LOWER, SHORT, ("exact", "again", "text", "dataset")],
    "dedup within a language": [LOWER, ("exact", "dedup.exact", "text", "language")],
    "dedup within a source": [("exact", "dedup.exact", "text", "source"), LOWER, ("exact", "again", "text", "dataset")],
    "dedup within a snapshot": [LOWER, ("exact", "dedup.exact", "text", "snapshot")],
    "two filters": [("min_chars", "first", 2), EXACT, ("min_chars", "second", 4), ("min_chars", "third", 5)],
    "dedup by language": [("exact", "dedup.exact", "lang", "dataset")],
}
SOURCES = {
    "own ids": [Source("a", "id"), Source("b", "id")],
    "ids by place": [Source("a"), Source("b")],
    "own steps": [Source("a", "id", (LOWER,)), Source("b", None, (("min_chars", "short", 4),))],
}


def written(step):
    """Give a step as the config spells it."""
    kind, *rest = step
    if kind == "lower":
        return "clean.lowercase"
    if kind == "min_chars":
        return {"name": rest[0], "filter.length": {"min_chars": rest[1]}}
    return {"name": rest[0], "dedup.exact": {"key": rest[1], "scope": rest[2]}}


def config(sources, steps, *, split_bytes=None, batch_bytes=8 << 20, exports=(), same_files=False):
    parts = []
    for source in sources:
        files = {"path": "a/*.jsonl" if same_files else f"{source.name}/*.jsonl", "lang": "lang", "allow_empty": True}
        files |= {"id": source.key} if source.key else {}
        files |= {"split_bytes": split_bytes} if split_bytes else {}
        parts.append({"name": source.name, "files": files, "steps": [written(step) for step in source.steps]})
    return {
        "sources": parts,
        "steps": [written(step) for step in steps],
        "exports": list(exports),
        "run": {"batch_bytes": batch_bytes, "merge_rows": 2 if split_bytes else 1 << 18},
    }


def change(files, change):
    """Apply one change to the files there are: name -> bytes."""
    kind, name, *rest = change
    if kind == "put":
        files[name] = jsonl(rest[0])
    elif kind == "append":
        files[name] = files.get(name, b"") + jsonl(rest[0])
    elif kind == "prepend":
        files[name] = jsonl(rest[0]) + files.get(name, b"")
    elif kind == "take":
        files.pop(name, None)
    elif kind == "reverse" and name in files:
        files[name] = b"".join(reversed(files[name].splitlines(keepends=True)))
    elif kind in {"copy", "move"} and name in files:
        files[rest[0]] = files[name]
        if kind == "move" and rest[0] != name:
            del files[name]


def bring(lab, before, after):
    """Make the folder hold `after`; only what changed is written."""
    for name in before.keys() - after.keys():
        lab.take(name)
    for name in sorted(after):
        if before.get(name) != after[name]:
            lab.put(name, after[name])


def units(sources, files, *, same_files=False):
    """Give the files as the oracle names them; all sources may read the same ones."""
    found = {}
    for number, source in enumerate(sources):
        prefix = "a/" if same_files else f"{source.name}/"
        found |= {(number, name[2:]): data for name, data in files.items() if name.startswith(prefix)}
    return found


def follow(history, sources, steps, **how):
    """Go through a history with both, and compare after each run.

    Where files are cut small, so are the row groups of the index, and its runs are compacted early.
    """
    small = {"ROW_GROUP_ROWS": 2, "COMPACT_RUNS": 2, "COMPACT_ROWS": 9} if how.get("split_bytes") else {}
    with patch.multiple(index, **small) if small else nullcontext():
        _follow(history, sources, steps, **how)


def _follow(history, sources, steps, **how):
    same_files = how.get("same_files", False)
    with folder() as place:
        lab = Lab(place, config(sources, steps, **how))
        oracle = Oracle(sources, steps)
        files = {}
        for changes in history:
            before = dict(files)
            for each in changes:
                change(files, each)
            bring(lab, before, files)
            report = lab.run()
            ran = oracle.run(units(sources, files, same_files=same_files))
            assert flat(report.counts) == +ran.counts
            if lab.dataset.joinpath("table", "_delta_log").exists():
                assert lab.rows() == oracle.table()
            if report.status == "published":
                gone = [row["id"] for row in lab.verdicts(report.run) if row["action"] == "withdraw"]
                assert Counter(gone) == Counter(ran.withdrawn)
                assert lab.broken() == []


@settings(derandomize=True, deadline=None, max_examples=examples(4))
@given(HISTORIES, st.sampled_from(sorted(SOURCES)), st.sampled_from(sorted(PIPELINES)), st.sampled_from([None, 20, 70]))
def test_every_history_gives_what_the_definition_says(history, sources, steps, split_bytes):
    follow(
        history, SOURCES[sources], PIPELINES[steps], split_bytes=split_bytes, batch_bytes=1 if split_bytes else 8 << 20
    )


A, B = "a/1.jsonl", "a/2.jsonl"


def rec(id_, text, **more):
    return {"id": id_, "text": text} | more


# Each is a history of runs; each run a list of changes as above.
STORIES = {
    "a revision takes the text of another record": [
        [("put", A, [rec("1", "one"), rec("2", "two")])],
        [("put", A, [rec("1", "one"), rec("2", "one")])],
        [("put", A, [rec("2", "one")])],
    ],
    "a revision gives up a text that a new record takes": [
        [("put", A, [rec("1", "one")])],
        [("put", A, [rec("1", "two")]), ("put", B, [rec("2", "one")])],
    ],
    "two records swap their texts": [
        [("put", A, [rec("1", "one"), rec("2", "two")])],
        [("put", A, [rec("1", "two"), rec("2", "one")])],
        [("put", A, [rec("1", "one"), rec("2", "two")])],
    ],
    "an id moves to another file in one run and in two": [
        [("put", A, [rec("1", "one"), rec("2", "two")])],
        [("put", A, [rec("2", "two")]), ("put", B, [rec("1", "one")])],
        [("put", B, [])],
        [("put", A, [rec("2", "two"), rec("1", "one")])],
    ],
    "the same file under a second name, then under that alone": [
        [("put", A, [rec("1", "one"), rec("2", "two")])],
        [("copy", A, B)],
        [("take", A)],
        [("take", B)],
    ],
    "two files hold an id with different contents and the later one goes": [
        [("put", A, [rec("1", "one")]), ("put", B, [rec("1", "two")])],
        [("take", B)],
        [("append", A, [rec("2", "two")])],
    ],
    "a file is read again with an id that another file has got too": [
        [("put", A, [rec("1", "one")])],
        [("put", B, [rec("1", "one")]), ("append", A, [rec("3", "three")])],
        [("put", A, [rec("3", "three")])],
        [("take", B)],
    ],
    "a withdrawn record comes again, elsewhere and at home": [
        [("put", A, [rec("1", "one")])],
        [("put", A, [])],
        [("put", B, [rec("1", "one")])],
        [("take", B)],
        [("put", A, [rec("1", "one")])],
    ],
    "a record too short is revised to be kept and back": [
        [("put", A, [rec("1", "x"), rec("2", "one")])],
        [("put", A, [rec("1", "one more"), rec("2", "one")])],
        [("put", A, [rec("1", "x"), rec("2", "one")])],
    ],
    "a duplicate is revised to be no duplicate": [
        [("put", A, [rec("1", "one"), rec("2", "ONE")])],
        [("put", A, [rec("1", "one"), rec("2", "two")])],
    ],
    "what beside the text changes": [
        [("put", A, [rec("1", "one", lang="de")]), ("put", B, [rec("2", "ONE", n=0)])],
        [("put", A, [rec("1", "one", lang="")]), ("put", B, [rec("2", "ONE", n=1)])],
        [("put", A, [rec("1", "one")])],
    ],
    "content goes to and fro": [
        [("put", A, [rec("1", "one")])],
        [("put", A, [rec("1", "two")])],
        [("put", A, [rec("1", "one")])],
        [("put", A, [rec("1", "two")]), ("put", B, [rec("1", "one")])],
    ],
    "one id three times in a file, in changing order": [
        [("put", A, [rec("1", "one"), rec("1", "two"), rec("1", "one")])],
        [("reverse", A)],
        [("put", A, [rec("1", "two"), rec("1", "one")])],
    ],
    "files swap their names": [
        [("put", A, [rec("1", "one")]), ("put", B, [rec("2", "two")])],
        [("put", A, [rec("2", "two")]), ("put", B, [rec("1", "one")])],
    ],
}


TOLD = [(story, sources) for sources in sorted(SOURCES) for story in STORIES]


@pytest.mark.parametrize(("story", "sources"), some(TOLD, len(TOLD) // 6))
def test_stories_that_once_were_hard_end_as_they_should(story, sources):
    usual = "two filters" if sources == "own steps" else "clean, filter, dedup"
    for steps in ["clean, filter, dedup", "dedup twice", "two filters"] if SOAK else [usual]:
        follow(STORIES[story], SOURCES[sources], PIPELINES[steps])


@settings(derandomize=True, deadline=None, max_examples=examples(4))
@given(HISTORIES, st.sampled_from(["dedup alone", "dedup within a source", "clean, filter, dedup"]))
def test_two_sources_may_read_the_same_files(history, steps):
    follow(history, SOURCES["own ids"], PIPELINES[steps], same_files=True)


EXPORTS = [
    {"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 2}},
    {"name": "f", "jsonl": {"path": "./out-full", "docs_per_chunk": 3, "mode": "full", "compression": "none"}},
    {"name": "p", "parquet": {"path": "./out-p"}},
]


@settings(derandomize=True, deadline=None, max_examples=examples(4))
@given(HISTORIES, st.sampled_from(["no steps", "clean, filter, dedup"]))
def test_exports_equal_the_table_after_every_run(history, steps):
    follow(history, SOURCES["own ids"], PIPELINES[steps], exports=EXPORTS)


def test_a_record_read_again_is_unchanged_though_a_step_dropped_it(tmp_path):
    """DESIGN section 5: the id index remembers dropped ids too. Else a file that grows sinks its kept ratio for ever."""
    lab = Lab(tmp_path, config([Source("a", "id")], [SHORT, EXACT]))
    lab.put(A, jsonl([rec("1", "x"), rec("2", "long")]))
    lab.run()
    lab.put(A, jsonl([rec("1", "x"), rec("2", "long"), rec("3", "longer")]))
    assert flat(lab.run().counts) == {"read": 3, "unchanged": 2, "published": 1}
