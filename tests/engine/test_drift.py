"""Drift: PSI and KS are what their definitions say; what is unlike before is told, refused if asked for, and chance is not."""

import json
import random

import msgspec
import pytest
from tests.properties.lab import Lab, folder, jsonl

from gristmill.config.settings import Drift, Gate, SourceGate
from gristmill.core.errors import ConfigError, GateRefused
from gristmill.engine import drift


@pytest.fixture
def tmp_path():
    """Give a folder in memory where there is one: a run syncs what it writes, and these are many."""
    with folder() as place:
        yield place


def config(steps=(), sources=("s",), **rules):
    return {
        "sources": [
            {
                "name": name,
                "files": {"path": f"{name}/*", "id": "id", "lang": "lang", "allow_empty": True},
                "on_error": "skip",
            }
            for name in sources
        ],
        "steps": list(steps),
        "gate": {"min_quality_score": 0} | rules,
    }


def prose(seed, n=200, lang="en", words=("the", "mill", "grinds", "corn", "and", "oats")):
    chance = random.Random(seed)
    made = [" ".join(chance.choices(words, k=chance.randint(5, 60))) for _ in range(n)]
    return jsonl([{"id": f"{seed}-{i}", "text": text, "lang": lang} for i, text in enumerate(made)])


def german(seed, n=200):
    return prose(seed, n, "de", ("die", "große", "Mühle", "zermahlt", "Körner", "für", "Brötchen"))


def levels(report, source="s"):
    """Give the distributions over a limit, by level."""
    found = {}
    for entry in report.drift:
        if entry["source"] == source and entry["level"] != "ok":
            found.setdefault(entry["level"], set()).add(f"{entry['measure']} {entry['distribution']}")
    return found


def whys(report, source="s"):
    return {each["why"]: each["distributions"] for each in report.drift_not_judged if each["source"] == source}


def test_a_first_snapshot_and_a_new_source_have_nothing_to_be_compared_with(tmp_path):
    lab = Lab(tmp_path, config())
    lab.put("s/1.jsonl", prose(1))
    report = lab.run()
    assert (report.drift, whys(report)) == ([], {"earlier snapshots have nothing of it": []})
    assert report.errors == []
    lab.configure(config(sources=("s", "t")))
    lab.put("s/2.jsonl", prose(2))
    lab.put("t/1.jsonl", german(3))
    report = lab.run()
    assert whys(report, "t") == {"earlier snapshots have nothing of it": []}
    assert {entry["source"] for entry in report.drift} == {"s"}
    assert levels(report) == {}


def test_what_is_unlike_before_is_warned_of_and_published(tmp_path):
    lab = Lab(tmp_path, config([{"filter.length": {"max_words": 50}}]))
    lab.put("s/1.jsonl", prose(1))
    lab.run()
    lab.put("s/2.jsonl", german(2))
    report = lab.run()
    assert report.status == "published"
    warned = levels(report)["warn"]
    assert {"psi read.lang", "psi published.lang", "psi read.non_ascii", "ks read.spaces"} <= warned
    assert not {one for one in warned if "reasons" in one or "words" in one}
    entry = next(e for e in report.drift if (e["distribution"], e["measure"]) == ("read.lang", "psi"))
    told = {"source": "s", "warn": 0.2, "block": None, "level": "warn", "against": "snapshot 1"}
    assert told.items() <= entry.items()
    assert (entry["records"], entry["records_against"], entry["value"] > entry["noise"]) == (200, 200, True)
    (error,) = report.errors
    assert (error["stage"], error["source"], error["code"]) == ("gate", "s", "source.drift")
    assert error["message"].startswith("drifted from snapshot 1: psi of ")
    assert error["context"] == {"level": "warn", "over": len(warned), "worst": error["context"]["worst"]}
    assert [rule["rule"] for rule in report.gate] == ["min_quality_score"]
    assert lab.broken() == []


def test_a_block_refuses_by_name_value_and_distribution_and_can_be_accepted(tmp_path):
    lab = Lab(tmp_path, config(drift={"block_psi": 0.5, "block_ks": 0.5}))
    lab.put("s/1.jsonl", prose(1))
    lab.run()
    before = lab.bytes()
    lab.put("s/2.jsonl", german(2))
    with pytest.raises(
        GateRefused, match=r"s\.drift is \d.*limit 0\.5 \(psi of \w+\.\w+ against snapshot 1, and \d+ more"
    ) as caught:
        lab.run()
    assert caught.value.exit_code == 3
    assert lab.open().seqs() == [1]
    assert {name: digest for name, digest in lab.bytes().items() if name in before} == before
    report = lab.open().report(2)
    assert report["status"] == "refused"
    (rule,) = [rule for rule in report["gate"] if rule["rule"] == "s.drift"]
    assert (rule["ok"], rule["limit"], rule["value"] > 0.5) == (False, 0.5, True)
    assert {"gate.refused", "source.drift"} == {error["code"] for error in report["errors"]}
    assert (lab.dataset / "runs/2/distributions.json").exists()
    candidate = json.loads((lab.dataset / "runs/2/candidate.json").read_bytes())
    assert [entry["seq"] for entry in candidate["summary"]["distributions"]] == [2, 1]
    with pytest.raises(ConfigError, match="why"):
        lab.run(accept_gate=["drift"])
    with pytest.raises(ConfigError, match=r"there is no rule 's\.drfit'; did you mean 's\.drift'"):
        lab.run(accept_gate=["s.drfit"], why="typo")
    report = lab.run(accept_gate=["drift"], why="we asked for German")
    assert report.status == "published"
    (accepted,) = [entry for entry in report.lineage if entry.get("accepted") == "s.drift"]
    assert (accepted["why"], accepted["limit"]) == ("we asked for German", 0.5)
    assert [entry["seq"] for entry in lab.open().manifest().summary["distributions"]] == [report.run, 1]
    assert lab.broken() == []


@pytest.mark.parametrize("name", ["drift", "s.drift", "t.drift"])
def test_accepting_one_source_does_not_accept_another(tmp_path, name):
    lab = Lab(tmp_path, config(sources=("s", "t"), drift={"block_psi": 0.5}))
    for source in "st":
        lab.put(f"{source}/1.jsonl", prose(1))
    lab.run()
    for source in "st":
        lab.put(f"{source}/2.jsonl", german(2))
    if name == "drift":
        assert lab.run(accept_gate=[name], why="both").status == "published"
    else:
        other = {"s.drift": "t.drift", "t.drift": "s.drift"}[name]
        with pytest.raises(GateRefused, match=other) as caught:
            lab.run(accept_gate=[name], why="one")
        assert f"{name} is" not in str(caught.value)


def test_a_source_may_have_limits_of_its_own_or_none(tmp_path):
    own = {"s": {"drift": {"warn_psi": None, "warn_ks": None}}, "u": {"drift": {"block_psi": 0.5}}}
    lab = Lab(tmp_path, config(sources=("s", "t", "u"), drift={"warn_psi": 0.3}))
    lab.configure({**lab.config, "gate": {"min_quality_score": 0, "drift": {"warn_psi": 0.3}, "sources": own}})
    for source in "stu":
        lab.put(f"{source}/1.jsonl", prose(1))
    lab.run()
    for source in "stu":
        lab.put(f"{source}/2.jsonl", german(2))
    with pytest.raises(GateRefused, match=r"refused: u\.drift is"):
        lab.run()
    lab.configure({**lab.config, "gate": {"min_quality_score": 0, "drift": None, "sources": own}})
    report = lab.run(accept_gate=["u.drift"], why="meant")
    assert levels(report, "s") == levels(report, "t") == {}
    assert {entry["source"] for entry in report.drift} == {"s", "u"}


def test_few_records_and_what_only_chance_could_have_done_are_not_judged(tmp_path):
    lab = Lab(tmp_path, config(drift={"min_records": 50}))
    lab.put("s/1.jsonl", prose(1))
    lab.run()
    lab.put("s/2.jsonl", german(2, 49))
    report = lab.run()
    assert report.drift == []
    assert set(whys(report)) == {"fewer than 50 records, before or now"}
    lab.put("s/3.jsonl", prose(3, 60))
    report = lab.run()
    entry = next(e for e in report.drift if (e["distribution"], e["measure"]) == ("read.chars", "psi"))
    assert entry["noise"] > 0.2
    assert entry["level"] == "ok"


def test_the_last_snapshots_are_taken_together_as_far_as_the_window_goes(tmp_path):
    lab = Lab(tmp_path, config(drift={"window": 2}))
    for day, made in enumerate([german(1), prose(2), prose(3), prose(4)], 1):
        lab.put(f"s/{day}.jsonl", made)
        report = lab.run()
    assert {entry["against"] for entry in report.drift} == {"2 snapshots, 2 to 3"}
    assert {entry["records_against"] for entry in report.drift} == {400}
    assert levels(report) == {}
    lab.configure(config(drift={"window": 3}))
    lab.put("s/5.jsonl", prose(5))
    assert {entry["against"] for entry in lab.run().drift} == {"3 snapshots, 2 to 4"}


def test_a_baseline_is_compared_with_however_old_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(drift, "KEPT", 2)
    lab = Lab(tmp_path, config())
    for day, made in enumerate([german(1), prose(2), prose(3), prose(4), prose(5)], 1):
        lab.put(f"s/{day}.jsonl", made)
        lab.run()
    named = [entry["seq"] for entry in lab.open().manifest().summary["distributions"]]
    assert named == [5, 4, 3]
    lab.configure(config(drift={"baseline": 1}))
    lab.put("s/6.jsonl", german(6))
    report = lab.run()
    assert {entry["against"] for entry in report.drift} == {"baseline 1"}
    assert levels(report) == {}
    lab.put("s/7.jsonl", prose(7))
    assert "psi read.lang" in levels(lab.run())["warn"]
    for manifest in (lab.open().manifest(6), lab.open().manifest(7)):
        assert [e["seq"] for e in manifest.summary["distributions"]] == [
            manifest.seq,
            manifest.seq - 1,
            manifest.seq - 2,
            1,
        ]
    assert lab.broken() == []


def test_a_source_that_seldom_brings_something_is_compared_with_when_it_last_did(tmp_path, monkeypatch):
    monkeypatch.setattr(drift, "KEPT", 1)
    lab = Lab(tmp_path, config(sources=("s", "t")))
    lab.put("t/1.jsonl", german(1))
    for day in (1, 2, 3):
        lab.put(f"s/{day}.jsonl", prose(day))
        lab.run()
    lab.put("t/4.jsonl", prose(4))
    report = lab.run()
    assert {entry["against"] for entry in report.drift if entry["source"] == "t"} == {"snapshot 1"}
    assert "psi read.lang" in levels(report, "t")["warn"]


def test_a_baseline_that_is_no_snapshot_stops_the_run_before_it_begins(tmp_path):
    lab = Lab(tmp_path, config(min_docs=500))
    lab.put("s/1.jsonl", prose(1))
    with pytest.raises(GateRefused):
        lab.run()
    lab.configure(config(drift={"baseline": 2}))  # still to come: in a dataset that is made anew
    lab.run()
    lab.configure(config(drift={"baseline": 1}))
    lab.put("s/2.jsonl", prose(2))
    with pytest.raises(ConfigError, match=r"gate\.drift\.baseline: 1 is no snapshot .* there are: 2"):
        lab.run()
    assert not (lab.dataset / "runs/3").exists()
    lab.configure(config(drift={"baseline": 2}))
    assert {entry["against"] for entry in lab.run().drift} == {"baseline 2"}


def test_what_other_steps_made_is_not_compared_and_what_was_read_is(tmp_path):
    lab = Lab(tmp_path, config())
    lab.put("s/1.jsonl", prose(1))
    lab.run()
    lab.configure(config([{"filter.length": {"min_words": 30}}]))
    lab.put("s/2.jsonl", prose(2))
    report = lab.run()
    assert {entry["distribution"] for entry in report.drift} == {
        "read.chars",
        "read.non_ascii",
        "read.spaces",
        "read.lang",
    }
    assert set(whys(report)) == {"other steps made it"}
    assert "read.reasons" in whys(report)["other steps made it"]
    lab.put("s/3.jsonl", prose(3))
    report = lab.run()
    against = {entry["distribution"]: entry["against"] for entry in report.drift}
    assert (against["read.chars"], against["published.chars"]) == ("2 snapshots, 1 to 2", "snapshot 2")
    assert (levels(report), whys(report)) == ({}, {})


def test_duplicates_of_earlier_snapshots_are_no_drift(tmp_path):
    """What dedup took out depends on all that came before: behind it is compared only what it left nearly whole."""
    steps = [{"filter.length": {"min_words": 10}}, "dedup.exact", {"filter.length": {"max_words": 55}}]
    lab = Lab(tmp_path, config(steps, drift={"window": 1}))
    lab.put("s/1.jsonl", prose(1))
    lab.run()
    again = [{**json.loads(line), "id": f"again {i}"} for i, line in enumerate(prose(1).splitlines()[:60])]
    lab.put("s/2.jsonl", prose(2) + jsonl(again))
    report = lab.run()
    assert report.counts.duplicates["dedup.exact"] > 50
    assert levels(report) == {}
    behind = whys(report)["duplicates took over 5% of it, before or now"]
    assert "read.filter.length#2:words" in behind
    assert "published.chars" in behind
    judged = {entry["distribution"] for entry in report.drift}
    assert {"read.chars", "read.lang", "read.reasons", "read.filter.length:words"} <= judged
    assert not judged & set(behind)
    for day in (3, 4):
        lab.put(f"s/{day}.jsonl", prose(day) + jsonl([{**one, "id": f"{day} {one['id']}"} for one in again[:8]]))
        report = lab.run()
    assert report.counts.duplicates["dedup.exact"] > 4
    assert set(behind) <= {entry["distribution"] for entry in report.drift}


def test_a_source_that_is_left_out_is_not_judged_and_goes_on_later(tmp_path):
    lab = Lab(tmp_path, config(sources=("s", "t")))
    for source in "st":
        lab.put(f"{source}/1.jsonl", prose(1))
    lab.run()
    lab.put("s/2.jsonl", prose(2))
    lost = {"name": "t", "on_error": "skip", "files": {"path": "lost/*", "id": "id"}}
    lab.configure(config() | {"sources": [*config()["sources"], lost]})
    report = lab.run()
    assert report.status == "partial"
    assert {entry["source"] for entry in report.drift} == {"s"}
    assert {each["source"] for each in report.drift_not_judged} <= {"s"}


def test_a_run_that_died_after_its_commit_is_reported_with_its_drift(tmp_path):
    lab = Lab(tmp_path, config())
    for day, made in enumerate([prose(1), german(2)], 1):
        lab.put(f"s/{day}.jsonl", made)
        lab.run()
    path = lab.dataset / "runs/2/report.json"
    told = json.loads(path.read_bytes())
    path.unlink()
    lab.run()
    late = json.loads(path.read_bytes())
    assert late["drift"] == [entry for entry in told["drift"] if entry["level"] != "ok"]
    assert [error["code"] for error in late["errors"]] == ["source.drift"]


def test_only_the_distributions_that_are_asked_for_are_judged(tmp_path):
    lab = Lab(
        tmp_path,
        config(
            [{"filter.length": {"min_words": 1}}], drift={"distributions": ["read.lang", "read.filter.length:words"]}
        ),
    )
    for day, made in enumerate([prose(1), german(2)], 1):
        lab.put(f"s/{day}.jsonl", made)
        report = lab.run()
    assert {entry["distribution"] for entry in report.drift} == {"read.lang", "read.filter.length:words"}
    lab.configure(config(drift={"distributions": ["read.langs"]}))
    told = "gate.drift.distributions: there is no 'read.langs'; did you mean 'read.lang'?"
    assert [problem for problem in lab.pipeline().problems() if problem.startswith(told)]
    with pytest.raises(ConfigError, match=r"read\.langs"):
        lab.run()


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"warn_psi 0\.3 is above block_psi 0\.2"):
        Drift(warn_psi=0.3, block_psi=0.2)
    with pytest.raises(ValueError, match="warn_ks"):
        Drift(block_ks=0.1)
    assert msgspec.convert({"drift": None}, Gate).drift is None
    assert SourceGate().drift is None


def test_distributions_that_are_gone_are_passed_over(tmp_path):
    """A run never fails for want of what it would be compared with; `verify` says that it is missing."""
    lab = Lab(tmp_path, config())
    for day in (1, 2, 3):
        lab.put(f"s/{day}.jsonl", prose(day))
        if day == 3:
            (lab.dataset / "runs/2/distributions.json").unlink()
        report = lab.run()
    assert {entry["against"] for entry in report.drift} == {"snapshot 1"}
    assert lab.open().verify() == ["runs/2/distributions.json is missing"]
