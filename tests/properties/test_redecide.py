"""Redeciding after any history: the thresholds of now on what lives, and no record more is touched than comes out otherwise."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.oracle import Oracle
from tests.properties.lab import Lab, folder
from tests.properties.test_histories import EXACT, EXPORTS, HISTORIES, LOWER, SOURCES, bring, change, config, units
from tests.properties.test_increments import SOURCE, additions, bring_in
from tests.properties.test_refresh import go_through, same

PIPELINES = {
    "a filter": lambda n: [("min_chars", "f", n)],
    "behind dedup": lambda n: [LOWER, EXACT, ("min_chars", "f", n)],
    "two, before and behind": lambda n: [("min_chars", "e", 1), EXACT, LOWER, ("min_chars", "f", n), ("min_chars", "g", 6 - n)],
}  # fmt: skip
LEAST = st.integers(1, 5)


@settings(derandomize=True, deadline=None, max_examples=examples(4))
@given(HISTORIES, HISTORIES, st.sampled_from(sorted(PIPELINES)), LEAST, LEAST, st.sampled_from([None, 20]))
def test_after_any_history_the_thresholds_of_now_hold_for_all_that_lives(history, later, steps, old, new, split_bytes):
    make, sources = PIPELINES[steps], SOURCES["own ids"]
    how = {"split_bytes": split_bytes, "exports": EXPORTS[:1]}
    with folder() as place:
        lab, oracle, files = Lab(place, config(sources, make(old), **how)), Oracle(sources, make(old)), {}
        go_through(lab, oracle, files, history, sources)
        lab.configure(config(sources, make(new), **how))
        before = dict(files)
        for each in later[0]:
            change(files, each)
        bring(lab, before, files)
        known = {row.id: row for row in lab.rows()} if lab.dataset.joinpath("table", "_delta_log").exists() else {}
        report = lab.run(mode="redecide")
        oracle.steps = make(new)
        oracle.run(units(sources, files))
        oracle.redecide(make(new))
        if not lab.dataset.joinpath("table", "_delta_log").exists():
            return
        same(lab, oracle, fresh=False)
        if report.status == "published":
            assert lab.broken() == []
            back = {row["id"] for row in lab.verdicts(report.run) if row["reason"] == "refreshed"}
            assert not back & {row.id for row in lab.rows()} & known.keys()  # what was in and is in was not touched
        assert lab.run().status == "nothing_new"
        go_through(lab, oracle, files, later[1:3], sources)
        same(lab, oracle, fresh=False)
        assert lab.broken() == []


@settings(derandomize=True, deadline=None, max_examples=examples(3))
@given(additions(), st.sampled_from(sorted(PIPELINES)), LEAST, LEAST)
def test_after_additions_it_leaves_what_a_full_refresh_leaves(drawn, steps, old, new):
    found = []
    for mode in ("redecide", "full-refresh"):
        with folder() as place:
            lab = Lab(place, config(SOURCE, PIPELINES[steps](old)))
            bring_in(lab, *drawn, lab.run)
            lab.configure(config(SOURCE, PIPELINES[steps](new)))
            lab.run(mode=mode)
            found.append(sorted((row.id, row.text, row.origin) for row in lab.rows()))
    assert found[0] == found[1]
