"""The gate: each rule refuses by name, value and limit; a refused run publishes nothing and keeps its candidate."""

import numpy as np
import pytest
from tests.properties.lab import Lab, flat, jsonl

from gristmill.config.settings import Gate, SourceGate
from gristmill.core.counts import Counts
from gristmill.core.errors import ConfigError, GateRefused, UnbalancedError
from gristmill.engine import gate
from gristmill.engine.gate import Quality

FINE = Quality(10, 10, 0, 0)
# rule: (settings, counts, quality, value)
BROKEN = {
    "min_quality_score": (Gate(min_quality_score=0.8), Counts(read=10), Quality(10, 7, 2, 1), 0.7),
    "min_kept_ratio": (Gate(min_kept_ratio=0.5), Counts(read=14, unchanged=4, published=4), FINE, 0.4),
    "max_quarantined_ratio": (
        Gate(max_quarantined_ratio=0.1),
        Counts(read=10, quarantined={"a": 1, "b": 1}),
        FINE,
        0.2,
    ),
    "min_docs": (Gate(min_docs=5), Counts(read=10, published=4), FINE, 4),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_refuses_with_its_name_value_and_limit(name):
    settings, counts, quality, value = BROKEN[name]
    verdicts = {v.rule: v for v in gate.judge(settings, counts, {}, quality, frozenset())}
    verdict = verdicts[name]
    assert (verdict.value, verdict.limit, verdict.ok) == (value, getattr(settings, name), False)
    told = gate.refusal(list(verdicts.values()))
    assert f"{name} is {value:g}, limit {verdict.limit:g}" in told
    assert f"--accept-gate {name}" in told


@pytest.mark.parametrize("name", BROKEN)
def test_a_value_at_its_limit_holds(name):
    settings, counts, quality, value = BROKEN[name]
    verdicts = gate.judge(
        type(settings)(**{"min_quality_score": None} | {name: value}), counts, {}, quality, frozenset()
    )
    assert [(v.rule, v.ok) for v in verdicts] == [(name, True)]


@pytest.mark.parametrize("name", BROKEN)
def test_an_accepted_rule_holds_and_says_so(name):
    settings, counts, quality, _ = BROKEN[name]
    verdict = next(v for v in gate.judge(settings, counts, {}, quality, frozenset({name})) if v.rule == name)
    assert (verdict.ok, verdict.accepted) == (True, True)


def test_a_source_of_which_all_is_bad_is_told_unless_all_may_be():
    sources = {"a": Counts(read=100, quarantined={"x": 100})}
    for limit, rules in ((None, ["a.max_quarantined_ratio"]), (1, [])):
        settings = Gate(min_quality_score=None, max_quarantined_ratio=limit)
        verdicts = gate.judge(settings, Counts(read=100, quarantined={"x": 100}), sources, FINE, frozenset())
        assert [v.rule for v in verdicts if not v.ok] == rules


def test_rules_of_a_source_look_at_that_source_alone():
    rules = Gate(
        min_quality_score=None, sources={"b": SourceGate(min_kept_ratio=0.5, max_quarantined_ratio=0.1, min_docs=3)}
    )
    sources = {"a": Counts(read=100, published=0), "b": Counts(read=10, published=2, quarantined={"x": 2})}
    verdicts = gate.judge(rules, Counts(read=110, published=2), sources, FINE, frozenset({"min_docs"}))
    assert [(v.rule, v.ok) for v in verdicts] == [
        ("b.min_kept_ratio", False),
        ("b.max_quarantined_ratio", False),
        ("b.min_docs", False),
    ]
    assert not list(gate.judge(rules, Counts(read=100), {"a": sources["a"]}, FINE, frozenset()))


def test_a_run_that_only_withdraws_or_repeats_is_not_judged_by_what_it_did_not_bring():
    rules = Gate(min_quality_score=0.9, min_kept_ratio=0.9, min_docs=5, sources={"a": SourceGate(min_docs=5)})
    for counts in (Counts(withdrawn=7), Counts(read=9, unchanged=9)):
        assert all(v.ok for v in gate.judge(rules, counts, {"a": counts}, Quality(0, 0, 0, 0), frozenset()))


@pytest.mark.parametrize("lost", ["run", "source"])
def test_what_does_not_balance_is_never_published(lost):
    fine, bad = Counts(read=2, published=2), Counts(read=3, published=2)
    with pytest.raises(UnbalancedError, match="1 are missing"):
        gate.check_balance(bad if lost == "run" else fine, {"s": bad if lost == "source" else fine}, 0, 2)
    with pytest.raises(UnbalancedError, match="not 5 \\+ 2 - 0"):
        gate.check_balance(fine, {"s": fine}, 5, 6)


@pytest.mark.parametrize("at_once", [1 << 24, 3])
def test_equal_texts_are_counted_over_files_in_bounded_memory(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(gate, "COUNTED_AT_ONCE", at_once)
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, (40, 2), np.uint64)
    hashes[1, 0] = hashes[0, 0]  # equal halves are no equal hashes
    hashes[2:4, 0] = 2**64 - 1, 0
    rows = hashes[rng.integers(0, 40, 100)]
    for i, part in enumerate(np.array_split(rows, 4)):
        np.save(tmp_path / f"{i}.npy", gate.as_hashes([part[:7], part[7:]]))
    np.save(tmp_path / "none.npy", gate.as_hashes([]))
    assert gate.count_equal(sorted(tmp_path.iterdir())) == 100 - len({tuple(row) for row in rows.tolist()})


def config(**rules):
    return {
        "sources": [{"name": "s", "files": {"path": "in/*", "id": "id", "allow_empty": True}}],
        "steps": ["dedup.exact"],
        "require": {"min_chars": 5},
        "gate": rules,
        "exports": [{"name": "x", "jsonl": {"path": "./out"}}],
    }


ROWS = [{"id": "1", "text": "long enough"}, {"id": "2", "text": "abc"}, {"id": "3", "text": "long enough"}]


def test_a_refused_run_publishes_nothing_and_keeps_its_candidate(tmp_path):
    lab = Lab(tmp_path, config())
    lab.put("in/0.jsonl", jsonl([{"id": "0", "text": "the first one"}]))
    lab.run()
    before = lab.bytes()
    lab.configure(config(min_quality_score=0.8))
    lab.put("in/1.jsonl", jsonl(ROWS))
    with pytest.raises(GateRefused, match=r"min_quality_score is 0\.5, limit 0\.8") as caught:
        lab.run()
    assert caught.value.exit_code == 3
    assert lab.open().seqs() == [1]
    assert {name: digest for name, digest in lab.bytes().items() if name in before} == before
    report = lab.open().report(2)
    assert (report["status"], report["snapshot"]) == ("refused", 1)
    assert report["gate"] == [{"rule": "min_quality_score", "value": 0.5, "limit": 0.8, "ok": False, "accepted": False}]
    assert [row["id"] for row in lab.open().inspect("kept", seq=2)] == ["s/1"]
    assert [row["id"] for row in lab.open().inspect("dropped", seq=2)] == ["s/2"]
    assert [row["reason"] for row in lab.open().inspect("dropped", step="require", seq=2)] == ["min_chars"]
    assert lab.open().inspect("dropped", step="dedup.exact", seq=2) == []
    assert lab.broken() == []
    with pytest.raises(GateRefused):
        lab.run()


def test_an_accepted_rule_is_written_into_the_lineage_with_its_reason(tmp_path):
    lab = Lab(tmp_path, config(min_quality_score=0.8))
    lab.put("in/1.jsonl", jsonl(ROWS))
    with pytest.raises(GateRefused):
        lab.run()
    with pytest.raises(ConfigError, match="why"):
        lab.run(accept_gate=["min_quality_score"])
    report = lab.run(accept_gate=["min_quality_score"], why="looked at it by hand")
    assert report.status == "published"
    accepted = {"accepted": "min_quality_score", "value": 0.5, "limit": 0.8, "why": "looked at it by hand"}
    assert accepted in lab.open().manifest().lineage
    assert accepted in report.lineage
    assert lab.broken() == []


def test_after_a_refusal_the_records_come_as_if_it_had_not_been(tmp_path):
    """What a refused run wrote into the index must not make its own records duplicates later."""
    lab = Lab(tmp_path, config(min_quality_score=0.8))
    lab.put("in/1.jsonl", jsonl(ROWS))
    with pytest.raises(GateRefused):
        lab.run()
    lab.configure(config(min_quality_score=0))
    report = lab.run()
    assert flat(report.counts) == {
        "read": 3,
        "published": 1,
        "duplicates/dedup.exact": 1,
        "dropped/require:min_chars": 1,
    }
    assert lab.broken() == []


def test_a_touched_file_is_not_refused_for_bringing_no_documents(tmp_path):
    lab = Lab(tmp_path, config(min_quality_score=0, min_docs=1))
    lab.put("in/1.jsonl", jsonl(ROWS))
    lab.run()
    lab.put("in/1.jsonl", jsonl(ROWS))
    assert lab.run().status == "published"


def test_quality_counts_a_text_once_and_what_require_drops_not_at_all(tmp_path):
    lab = Lab(tmp_path, config(min_quality_score=0) | {"steps": []})
    lab.put("in/1.jsonl", jsonl(ROWS))
    report = lab.run()
    assert report.quality == {"total": 3, "valid": 1, "invalid": 2, "duplicates": 1, "quality_score": 1 / 3}
    require = next(s for s in report.steps if s.name == "require")
    assert (require.rows_in, require.rows_out, require.valid, require.invalid) == (3, 2, 2, 1)


PLAIN, AGAIN = "publish it with `gristmill run --accept-gate min_kept_ratio --why TEXT`", "the same command again and"


@pytest.mark.parametrize(
    ("how", "says"),
    [({}, PLAIN), ({"source": "s"}, AGAIN), ({"mode": "full-refresh"}, AGAIN), ({"mode": "redecide"}, AGAIN)],
    ids=["run", "source", "refresh", "redecide"],
)
def test_a_refusal_names_the_command_that_publishes_what_was_refused(tmp_path, how, says):
    source = {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}]}
    lab = Lab(tmp_path, source | {"steps": [{"filter.length": {"min_chars": 1}}]})
    texts = [{"id": str(n), "text": "long " * n} for n in range(1, 9)]
    lab.put("in/a.jsonl", jsonl(texts))
    lab.run()
    lab.put("in/b.jsonl", jsonl([{"id": "x", "text": "short"}]))
    lab.configure(source | {"steps": [{"filter.length": {"min_chars": 100}}], "gate": {"min_kept_ratio": 0.5}})
    with pytest.raises(GateRefused) as told:
        lab.run(**how)
    assert says in str(told.value)
