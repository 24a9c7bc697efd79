"""Explain tells one record's whole path; inspect gives samples of what was kept and what was not."""

import pytest
from tests.properties.lab import Lab, jsonl

from gristmill.console import terminal
from gristmill.core.errors import ConfigError, GateRefused
from gristmill.core.visible import visible

ROWS = [
    {"id": "kept", "text": "A text that stays", "url": "https://a.example/1"},
    {"id": "twin", "text": "a text that STAYS"},
    {"id": "short", "text": "ab"},
    {"id": "same", "text": "first content"},
    {"id": "same", "text": "second content"},
]


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory):
    config = {
        "sources": [{"name": "s", "files": {"path": "in/*", "id": "id", "url": "url"}}],
        "steps": ["clean.lowercase", {"filter.length": {"min_chars": 3}}, "dedup.exact"],
        "require": {"min_chars": 4},
        "exports": [{"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 1}}],
    }
    lab = Lab(tmp_path_factory.mktemp("explain"), config)
    lab.put("in/a.jsonl", jsonl(ROWS) + b"not json\n")
    lab.run()
    lab.put(
        "in/b.jsonl", jsonl([{"id": "same", "text": "a third content"}, {"id": "late", "text": "a text that stays"}])
    )
    lab.run()
    return lab


@pytest.mark.parametrize("key", ["a\nb\tc", "turn\u202eed \x1b[31m", "tag\U000e0041", "plain \\x41 \\n"])
def test_a_record_is_found_by_its_id_as_it_is_shown(tmp_path, key):
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}]})
    lab.put("in/a.jsonl", jsonl([{"id": key, "text": "A text that stays"}, {"id": "other", "text": "Another"}]))
    lab.put("in/b\nc.jsonl", b"not json\n")
    lab.run()
    for wanted in (f"s/{key}", visible(f"s/{key}")):
        assert [row["id"] for row in explain(lab, wanted)["published"]] == [f"s/{key}"]
    (bad,) = lab.open().inspect("quarantined")
    assert explain(lab, visible(bad["origin"]))["history"][0]["code"] == "json.syntax"
    assert lab.open().quarantine_counts(unit=visible("b\nc.jsonl"))[0]["open"] == 1
    with pytest.raises(ConfigError, match="no record with the id"):
        explain(lab, "s/none\\n")


def explain(lab, wanted):
    return lab.open().explain(wanted)


def steps(told):
    return [(entry["run"], entry["action"], entry.get("reason") or entry.get("code")) for entry in told["history"]]


def test_a_published_record_has_its_place_signals_and_chunk(lab):
    told = explain(lab, "s/kept")
    (row,) = told["published"]
    assert (row["origin"], row["seq"], told["snapshot"]) == ("a.jsonl#0", 1, 2)
    assert row["signals"]["filter.length.chars"] == 17.0
    assert (lab.folder / "out" / row["exports"]["x"]).exists()
    assert (lab.dataset / row["shard"]).exists()
    assert "text" not in row


def test_a_record_is_found_by_its_address_too(lab):
    assert explain(lab, "https://a.example/1")["published"] == explain(lab, "s/kept")["published"]


@pytest.mark.parametrize("id_", ["s/twin", "s/late"])
def test_a_duplicate_names_what_it_repeats(lab, id_):
    told = explain(lab, id_)
    assert told["published"] == []
    assert told["history"][0]["dup_of_id"] == "s/kept"


def test_a_dropped_record_has_value_and_limit(lab):
    (entry,) = explain(lab, "s/short")["history"]
    assert (entry["step"], entry["reason"], entry["value"], entry["threshold"]) == (
        "filter.length",
        "too_short",
        2.0,
        3.0,
    )


def test_a_conflict_and_a_revision_are_told_in_their_order(lab):
    told = explain(lab, "s/same")
    assert steps(told) == [(1, "quarantine", "id.conflict"), (2, "withdraw", "revised")]
    assert [row["seq"] for row in told["published"]] == [2]


def test_what_took_the_place_of_a_record_is_named_with_its_run(lab):
    told = explain(lab, "s/same")
    (newer,) = told["published"]
    entry = told["history"][-1]
    assert entry["replaced_by"] == {"run": 2, "ord": newer["ord"], "outcome": "published", "shard": newer["shard"]}
    assert "; the newer content: published in run 2" in " ".join(terminal.explained(told, None))


def test_what_became_of_newer_contents_is_told_for_each_of_them(tmp_path):
    config = {
        "sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}],
        "steps": [{"filter.length": {"min_chars": 3}}],
    }
    lab = Lab(tmp_path, config)
    lab.put("in/a.jsonl", jsonl([{"id": "x", "text": "first"}]))
    lab.run()
    lab.put("in/b.jsonl", jsonl([{"id": "x", "text": "second"}]))
    lab.put("in/c.jsonl", jsonl([{"id": "x", "text": "third"}]))
    lab.run()
    lab.put("in/d.jsonl", jsonl([{"id": "x", "text": "no"}]))
    lab.run()
    told = explain(lab, "s/x")
    seen = [
        (entry["run"], entry["action"], (entry.get("replaced_by") or {}).get("outcome"), entry.get("dup_of_id"))
        for entry in sorted(told["history"], key=lambda entry: (entry["run"], entry["ord"]))
    ]
    assert seen == [
        (2, "withdraw", "published", None),  # the first, by the third
        (2, "supersede", "published", None),  # the second, by the third too
        (3, "withdraw", "drop", None),  # the third, by one that a filter dropped
        (3, "drop", None, None),
    ]
    assert {entry["replaced_by"]["run"] for entry in told["history"] if "replaced_by" in entry} == {2, 3}


@pytest.mark.parametrize("wanted", ["origin", "with source"])
def test_what_never_became_a_record_is_found_by_its_place(lab, wanted):
    origin = f"a.jsonl#{len(jsonl(ROWS))}"
    told = explain(lab, origin if wanted == "origin" else f"s/{origin}")
    assert steps(told) == [(1, "quarantine", "json.syntax")]
    assert told["history"][0]["bytes"] == len("not json")


def test_the_unknown_is_a_clear_word(lab):
    with pytest.raises(ConfigError, match="'s/nobody'"):
        explain(lab, "s/nobody")


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("kept", ["s/kept", "s/same"]),
        ("dropped", ["s/short"]),
        ("duplicates", ["s/twin"]),
        ("quarantined", [None, "s/same"]),
    ],
)
def test_inspect_gives_each_kind(lab, kind, ids):
    rows = lab.open().inspect(kind, seq=1)
    assert sorted((row["id"] for row in rows), key=str) == sorted(ids, key=str)
    assert len(lab.open().inspect(kind, seq=1, n=1)) == 1
    assert all("text" not in row for row in rows)


def test_inspect_picks_by_step_and_reason(lab):
    assert [r["code"] for r in lab.open().inspect("quarantined", reason="id.conflict", seq=1)] == ["id.conflict"]
    assert lab.open().inspect("dropped", step="require", seq=1) == []


def test_inspect_shows_the_newest_run_unless_told(lab):
    assert [row["id"] for row in lab.open().inspect("duplicates")] == ["s/late"]
    with pytest.raises(ConfigError, match="no run 9"):
        lab.open().inspect("kept", seq=9)


def test_what_only_a_refused_run_knows_of_is_told_with_that_run(tmp_path):
    config = {
        "sources": [{"name": "s", "files": {"path": "in/*", "id": "id", "allow_empty": True}}],
        "steps": [{"filter.length": {"min_chars": 30}}],
        "gate": {"min_kept_ratio": 0.5},
    }
    lab = Lab(tmp_path, config)
    lab.put("in/a.jsonl", jsonl([{"id": "a", "text": "short"}]) + b"not json\n")
    with pytest.raises(GateRefused):
        lab.run()
    (bad,) = lab.open().inspect("quarantined")
    for wanted in ("s/a", bad["origin"]):
        with pytest.raises(ConfigError, match="came in run 1 alone, of which nothing was published") as told:
            explain(lab, wanted)
        assert ("filter.length: too_short" if wanted == "s/a" else "json.syntax") in str(told.value)
    with pytest.raises(ConfigError, match="holds no snapshot yet"):
        explain(lab, "s/b")
    lab.put(
        "in/b.jsonl", jsonl([{"id": f"b{n}", "text": "A text that is long enough " * 3 + str(n)} for n in range(9)])
    )
    lab.run()
    assert explain(lab, "s/a")["history"][0]["run"] == 2
