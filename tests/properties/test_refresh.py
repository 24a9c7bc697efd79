"""A full refresh after any history: what is there then is what the history would have left under the config of now."""

from collections import Counter
from contextlib import nullcontext
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples, some
from tests.oracle import Oracle
from tests.properties.lab import Lab, flat, folder
from tests.properties.test_histories import (
    EXPORTS,
    HISTORIES,
    PIPELINES,
    SOURCES,
    STORIES,
    bring,
    change,
    config,
    units,
)
from tests.properties.test_increments import SOURCE, additions, bring_in

from gristmill.store import index


def decided(counts):
    """Give what became of what lives; what else the files hold is unchanged, superseded, or in conflict and perhaps dropped."""
    return Counter({name: n for name, n in counts.items() if name == "published" or name.startswith("duplicates")})


def same(lab, oracle, *, fresh=True):
    """The table holds what the oracle does; after a refresh each record says that it lies in a file that holds it now."""
    rows, wanted = lab.rows(), oracle.table()
    assert sorted((row.id, row.text) for row in rows) == sorted((row.id, row.text) for row in wanted)
    for row in rows if fresh else []:
        assert row.origin in oracle.places(row.id)


def go_through(lab, oracle, files, history, sources):
    """Follow a history with both."""
    for changes in history:
        before = dict(files)
        for each in changes:
            change(files, each)
        bring(lab, before, files)
        report = lab.run()
        ran = oracle.run(units(sources, files))
        assert flat(report.counts) == +ran.counts


def follow(history, sources, old, new, later=(), **how):
    """Go through a history under one config, refresh under another, twice, and go on; with files that changed since, too."""
    small = {"ROW_GROUP_ROWS": 2, "COMPACT_RUNS": 2, "COMPACT_ROWS": 9} if how.get("split_bytes") else {}
    with patch.multiple(index, **small) if small else nullcontext(), folder() as place:
        lab, oracle, files = Lab(place, config(sources, old, **how)), Oracle(sources, old), {}
        go_through(lab, oracle, files, history[:-1], sources)
        lab.configure(config(sources, new, **how))
        before = dict(files)
        for each in history[-1]:
            change(files, each)
        bring(lab, before, files)
        report = lab.run(mode="full-refresh")
        oracle.run(units(sources, files))
        told = oracle.refresh(new)
        if not lab.dataset.joinpath("table", "_delta_log").exists():
            return
        if report.status == "published":
            same(lab, oracle)
            assert decided(flat(report.counts)) == decided(told.counts)
            assert lab.broken() == []
        again = lab.run(mode="full-refresh")
        assert again.status == "published"
        assert decided(flat(again.counts)) == decided(told.counts)
        same(lab, oracle)
        assert lab.broken() == []
        assert lab.run().status == "nothing_new"
        go_through(lab, oracle, files, later, sources)
        same(lab, oracle, fresh=False)
        assert lab.broken() == []


CHANGED = sorted(PIPELINES.keys() - {"dedup within a snapshot"})


@settings(derandomize=True, deadline=None, max_examples=examples(5))
@given(
    HISTORIES,
    HISTORIES,
    st.sampled_from(sorted(SOURCES)),
    st.sampled_from(CHANGED),
    st.sampled_from(CHANGED),
    st.sampled_from([None, 20, 70]),
)
def test_a_refresh_after_any_history_decides_about_what_lives_in_the_order_it_came(
    history, later, sources, old, new, split_bytes
):
    how = {"split_bytes": split_bytes, "batch_bytes": 1 if split_bytes else 8 << 20}
    follow(history, SOURCES[sources], PIPELINES[old], PIPELINES[new], later[:2], exports=EXPORTS[:1], **how)


@settings(derandomize=True, deadline=None, max_examples=examples(3))
@given(additions(), st.sampled_from(CHANGED), st.sampled_from(CHANGED))
def test_after_additions_it_leaves_what_a_fresh_dataset_holds(drawn, old, new):
    parts, cuts = drawn
    with folder() as place:
        lab = Lab(place / "grown", config(SOURCE, PIPELINES[old]))
        bring_in(lab, parts, cuts, lab.run)
        lab.configure(config(SOURCE, PIPELINES[new]))
        lab.run(mode="full-refresh")
        fresh = Lab(place / "fresh", config(SOURCE, PIPELINES[new]))
        bring_in(fresh, parts, [False] * len(parts), fresh.run)
        assert lab.records() == fresh.records()


@pytest.mark.parametrize("story", some(list(STORIES), len(STORIES) // 3))
def test_stories_that_once_were_hard_are_told_again_by_a_refresh(story):
    follow(STORIES[story], SOURCES["own ids"], PIPELINES["two filters"], PIPELINES["clean, filter, dedup"])
