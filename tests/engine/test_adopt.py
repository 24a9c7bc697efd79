"""Adoption: clean records become a snapshot past the steps, and everything after it knows them."""

import bz2
import gzip
import lzma
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.examples import some
from tests.properties.lab import Lab, flat, jsonl

from gristmill.core.errors import ConfigError, GateRefused, GristmillError
from gristmill.observe.events import Silent
from gristmill.testing import crash, laws

TEXTS = [f"Document {n} of those that somebody else has cleaned." for n in range(40)]
CONFIG = {
    "sources": [{"name": "s", "files": {"path": "in/*.jsonl", "id": "id"}, "steps": ["clean.punctuation"]}],
    "steps": ["clean.lowercase", {"filter.length": {"min_chars": 30}}, "dedup.exact"],
    "require": {"min_chars": 3},
    "exports": [{"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 10}}],
}


def clean(folder, texts=TEXTS, name="clean/part-0.parquet"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"d{n}" for n in range(len(texts))]
    pq.write_table(pa.table({"doc": ids, "body": texts, "topic": ["mills"] * len(texts)}), path)
    os.utime(path, ns=(10**18, 10**18))  # a plan holds the time


@pytest.fixture(name="lab")
def _lab(tmp_path):
    lab = Lab(tmp_path, CONFIG)
    lab.put(
        "in/a.jsonl",
        jsonl([{"id": "1", "text": TEXTS[0].lower()}, {"id": "2", "text": "A new one, long enough to stay."}]),
    )
    clean(tmp_path, [text.lower() for text in TEXTS])
    return lab


class Notes(Silent):
    """Keeps what a run notes."""

    def __init__(self):
        self.told = []

    def note(self, message):
        self.told.append(message)


def adopt(lab, path="clean", **how):
    return lab.pipeline().adopt(
        str(lab.folder / path), **({"workers": 1, "fields": {"text": "body", "id": "doc"}} | how)
    )


def test_what_is_adopted_is_published_as_it_is_in_one_snapshot(lab):
    clean(lab.folder, ["Short, and KEPT", *TEXTS])  # lowercase and filter.length would say otherwise
    report = adopt(lab)
    assert (report.status, report.snapshot) == ("published", 1)
    assert flat(report.counts) == {"read": 41, "published": 41}
    rows = lab.records()
    assert [row["text"] for row in rows] == ["Short, and KEPT", *TEXTS]
    assert (rows[1]["id"], rows[1]["source"], rows[1]["meta"]) == ("adopted/d1", "adopted", '{"topic":"mills"}')
    assert lab.broken() == []
    assert len(list((lab.folder / "out").glob("chunk_*"))) == 5


def test_the_next_increment_is_deduplicated_against_it_and_goes_through_the_steps(lab):
    adopt(lab)
    report = lab.run()
    assert flat(report.counts) == {"read": 2, "published": 1, "duplicates/dedup.exact": 1}
    told = lab.open().explain("s/1")["history"]
    assert told[0]["dup_of_id"] == "adopted/d0"
    assert lab.run().status == "nothing_new"
    assert lab.broken() == []


def test_adoption_then_a_run_keeps_what_a_run_over_clean_data_keeps(lab, tmp_path):
    """The index is the one a full run would have made: the same records go on, whichever way the first came in."""
    adopt(lab)
    lab.run()
    other = Lab(tmp_path / "other", CONFIG | {"sources": [
        {"name": "adopted", "files": {"path": "../clean/*.parquet", "text": "body", "id": "doc"}},
        {"name": "s", "files": {"path": "../in/*.jsonl", "id": "id"}, "steps": ["clean.punctuation"]},
    ]})  # fmt: skip
    other.run()
    assert [row.text for row in lab.rows()] == [row.text for row in other.rows()]


def test_a_full_refresh_lets_what_was_adopted_stand_and_deduplicates_against_it_again(lab):
    adopt(lab)
    lab.run()
    before = [(row.id, row.text) for row in lab.rows()]
    report = lab.run(mode="full-refresh")
    assert report.counts.duplicates == {"dedup.exact": 1}
    assert sorted((row.id, row.text) for row in lab.rows()) == sorted(before)
    assert lab.broken() == []


def test_duplicates_within_what_is_adopted_are_dropped_and_what_require_refuses_too(lab):
    clean(lab.folder, [TEXTS[0], "ab", TEXTS[1], TEXTS[0]])
    report = adopt(lab)
    assert flat(report.counts) == {
        "read": 4, "published": 2, "duplicates/dedup.exact": 1, "dropped/require:min_chars": 1,
    }  # fmt: skip
    assert lab.broken() == []


def test_the_lineage_says_what_was_adopted_and_the_config_counts_as_unchanged(lab):
    adopt(lab)
    manifest = lab.open().manifest()
    (entry,) = manifest.lineage
    assert (entry["adopted"], entry["fields"]) == ("adopted", {"text": "body", "id": "doc"})
    assert entry["path"][0] == "clean/**/*.parquet"
    assert lab.pipeline().plan()[1] == []
    lab.run()
    assert lab.open().manifest().lineage == []


def test_a_dataset_that_has_records_takes_more_in_as_a_new_source(lab):
    lab.run()
    report = adopt(lab, source="older")
    assert report.snapshot == 2
    assert flat(report.counts) == {"read": 40, "published": 39, "duplicates/dedup.exact": 1}
    assert set(lab.open().manifest().states) == {"s", "older"}
    assert lab.broken() == []


def test_a_source_of_the_config_that_reads_the_same_goes_on_from_it(lab):
    config = CONFIG | {"sources": [{"name": "base", "files": {"path": "clean/*.parquet", "text": "body", "id": "doc"}}]}
    lab.configure(config)
    report = adopt(lab, "clean/*.parquet", source="base")
    assert report.status == "published"
    assert lab.run().status == "nothing_new"
    clean(lab.folder, ["A Longer Document That Is New And Goes Through The Steps."], "clean/part-1.parquet")
    assert flat(lab.run().counts) == {"read": 1, "published": 1, "withdrawn": 1}  # it has the id d0
    assert lab.rows()[-1].text == "a longer document that is new and goes through the steps."


@pytest.mark.parametrize("mode", ["full-refresh", "redecide"])
def test_what_was_adopted_under_the_name_of_a_source_stands_when_all_is_decided_anew(lab, mode):
    files = {"path": "clean/*.parquet", "text": "body", "id": "doc"}
    told = CONFIG | {"sources": [{"name": "base", "files": files}], "require": {"min_chars": 1}}
    lab.configure(told)
    clean(lab.folder, ["Not Lower", "Case"])
    adopt(lab, "clean/*.parquet", source="base")
    adopted = [(row.id, row.text) for row in lab.rows()]
    newer = {"doc": ["n1", "n2"], "body": ["A Newer Document Goes Through The Steps.", "It Is Dropped"]}
    pq.write_table(pa.table(newer), lab.folder / "clean" / "part-7.parquet")
    assert lab.run().counts.published == 1
    for more in {"require": {"min_chars": 5}}, {"sources": [{"name": "base", "files": files, "license": "CC0"}]}:
        lab.configure(told | more)
        lab.run(mode=mode if "require" in more else "full-refresh")
        assert [(row.id, row.text) for row in lab.rows()][:2] == adopted
        assert lab.broken() == []
    assert lab.pipeline().choices()["full-refresh"]["records"] == 2


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"path": "nowhere"}, "there is nothing at"),
        ({"source": "s"}, "give another --source"),
        ({"source": "a/b"}, "must be letters"),
        ({"fields": {"body": "text"}}, "there is no column 'body'"),
        ({"path": "."}, "which this pipeline writes itself"),
        (
            {"fields": {"text": "nope", "id": "doc"}},
            r"field.missing \(1 times\), no column nope; found body, doc, topic",
        ),
        ({"fields": {"text": "body", "id": "nope"}}, r"id.missing \(40 times\)"),
        ({"path": "lines/*", "fields": {}}, r"field.missing \(2 times\)"),
        ({"path": "empty"}, "no Parquet and no JSON lines by name; it holds no file"),
        ({"path": "others"}, "no JSON lines by name; it holds 'README', 'a.csv', 'b.csv' and 1 more"),
        ({"path": "clean/*.jsonl"}, "there is nothing at 'clean/.*jsonl' to adopt"),
        (
            {"path": "junk"},
            r"there is no record in .*: file.corrupt \(1 times\), json.syntax \(3 times\); nothing is adopted",
        ),
        ({"path": "junk/b.parquet"}, r"there is no record in .*: file.corrupt \(1 times\)"),
        ({"path": "hollow"}, "there is no record in .*: it is empty"),
    ],
)
def test_what_cannot_be_adopted_is_refused_and_nothing_is_written(lab, how, says):
    lab.put("out/chunk_1.jsonl", b"{}\n")
    lab.put("lines/a.jsonl", jsonl([{"body": "one"}, {"body": "two"}]))
    (lab.folder / "empty").mkdir()
    lab.put("junk/a.jsonl", b"one\ntwo\nthree\n")
    lab.put("junk/b.parquet", b"PAR1 and no more of it PAR1")
    lab.put("hollow/a.jsonl", b"")
    for name in ("README", "a.csv", "b.csv", "c.csv"):
        lab.put(f"others/{name}", b"text\n")
    with pytest.raises(ConfigError, match=says):
        adopt(lab, **how)
    assert laws.head_seq(lab.dataset) is None
    assert not (lab.dataset / "runs").exists()
    assert adopt(lab).status == "published", "the name is free still"


def test_a_record_behind_much_that_cannot_be_read_is_adopted(lab):
    for n in range(12):
        lab.put(f"late/{n:02}.jsonl", b"no record\n" * 8_000)
    lab.put("late/99.jsonl", b"{}\n" * 8_000 + jsonl([{"body": "the one", "doc": "1"}]))
    report = adopt(lab, "late")
    assert flat(report.counts) == {
        "read": 104_001,
        "published": 1,
        "quarantined/json.syntax": 96_000,
        "quarantined/field.missing": 8_000,
    }


def test_of_a_folder_all_is_taken_that_can_be_read_whatever_it_is_packed_in_and_the_rest_is_named(lab):
    made = {
        ".jsonl": bytes,
        ".JSONL": bytes,
        ".ndjson.bz2": bz2.compress,
        ".jsonl.xz": lzma.compress,
        ".Jsonl.GZ": gzip.compress,
    }
    for n, (ending, packed) in enumerate(made.items()):
        lab.put(f"all/{n}/part{ending}", packed(jsonl([{"text": f"A text of file number {n}."}])))
    clean(lab.folder, ["A text in a table of capitals."], "all/x.PARQUET")
    lab.put("all/README.md", b"What this is.\n")
    lab.put("all/.hidden", b"")
    heard = Notes()
    report = adopt(lab, "all", fields={"text": "text"}, events=heard)
    assert flat(report.counts) == {"read": 6, "published": 5, "quarantined/field.missing": 1}, "the table calls it body"
    assert heard.told == [
        "left out, as no Parquet and no JSON lines by name: 'README.md'; name one by its path to adopt it"
    ]
    assert lab.broken() == []


@pytest.mark.parametrize("folder", ["clean [2]", "cl*n"])
def test_a_folder_is_taken_by_its_name_whatever_is_in_it(lab, folder):
    clean(lab.folder, ["A text of the one that is meant."], f"{folder}/a.parquet")
    clean(lab.folder, ["A text of another one, which is not."], "clean 2/a.parquet")
    assert flat(adopt(lab, folder).counts) == {"read": 1, "published": 1}
    assert [row.text for row in lab.rows()] == ["A text of the one that is meant."]


def test_the_same_name_twice_is_refused(lab):
    adopt(lab)
    with pytest.raises(ConfigError, match="has records of a source 'adopted' already"):
        adopt(lab, fields={"text": "body"})
    lab.put("in/later.jsonl", b'{"text": "a text of a later day, as long as it must be"}\n')
    lab.run()
    with pytest.raises(ConfigError, match="has records of a source 'adopted' already"):
        adopt(lab)


def test_who_has_not_heard_of_the_end_asks_again_and_nothing_is_new(lab):
    adopt(lab)
    assert adopt(lab).status == "nothing_new"
    (lab.folder / "clean" / "more.jsonl").write_bytes(b'{"body": "one more", "doc": "more"}\n')
    with pytest.raises(ConfigError, match="snapshot 1 adopted this as 'adopted', and it has changed since"):
        adopt(lab)


@pytest.mark.parametrize("mode", ["adopt", "full-refresh"])
def test_what_failed_after_its_commit_is_not_done_once_more_when_it_is_asked_for_again(lab, mode):
    def ask():
        return adopt(lab) if mode == "adopt" else lab.pipeline().run(mode="full-refresh", workers=1)

    if mode == "full-refresh":
        adopt(lab)
    seq = laws.head_seq(lab.dataset) or 0
    lab.configure(CONFIG | {"exports": [{"name": "rows", "sql": {"dsn": "sqlite:///later/rows.db", "table": "docs"}}]})
    assert ask().status == "published_export_failed"
    with pytest.raises(GristmillError, match="rows"):
        ask()
    (lab.folder / "later").mkdir()
    again = ask()
    assert (again.status, again.run, again.resumed) == ("published", seq + 1, True)
    assert laws.head_seq(lab.dataset) == seq + 1


def test_the_gate_judges_it(lab):
    lab.configure(CONFIG | {"gate": {"min_docs": 1000}})
    with pytest.raises(GateRefused):
        adopt(lab)
    assert laws.head_seq(lab.dataset) is None
    assert adopt(lab, accept_gate=["min_docs"], why="it is all there is").status == "published"


def test_json_lines_are_adopted_too_and_worker_processes_make_the_same_bytes(lab, tmp_path):
    made = []
    for workers in (1, 2):
        one = Lab(tmp_path / f"w{workers}", CONFIG | {"run": {"batch_bytes": 4000}})
        for part in range(3):
            rows = [{"doc": f"{part}-{n}", "body": f"{part} {text * 20}"} for n, text in enumerate(TEXTS * 20)]
            one.put(f"clean/{part}.jsonl", jsonl(rows))
        adopt(one, workers=workers)
        assert one.broken() == []
        made.append(one.bytes())
    assert made[0] == made[1]


# --- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.slice
@pytest.mark.parametrize(
    ("again", "points"),
    some(
        [
            ("adopt", ["plan.written=kill", "commit.after_delta=kill"]),
            ("run", ["task.journalled=kill@2", "manifest.written=kill"]),
        ],
        1,
    ),
)
def test_killed_anywhere_and_gone_on_with_it_is_the_same_adoption(command_lines, tmp_path, again, points):
    """Whether `adopt` is asked for again or the daily run comes first: the bytes are those of an adoption never killed."""
    whole = None
    for n, point in enumerate(["", *points]):
        lab = Lab(tmp_path / str(n), CONFIG | {"sources": [{"files": {"path": "in/*.jsonl", "allow_empty": True}}]})
        clean(lab.folder)
        verb = ["adopt", "clean", "--map", "text=body", "--map", "id=doc", "--workers", "1"]
        verb[1] = str(lab.folder / "clean")
        env = {"GRISTMILL_FAILPOINT": point} if point else {}
        code = command_lines.run([str(lab.folder), *verb], env)
        assert code == (crash.KILLED if point else 0)
        if point:
            follows = verb if again == "adopt" else ["run", "--workers", "1"]
            code = command_lines.run([str(lab.folder), *follows], {})
        assert code == 0, point
        assert lab.broken() == [], point
        whole = whole or lab.bytes()
        assert lab.bytes() == whole, point
