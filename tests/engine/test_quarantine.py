"""The quarantine over all runs: what of it is open, and what a retry makes of it."""

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from tests.faults.api import STYLES, Api
from tests.faults.server import FaultServer
from tests.properties.lab import Lab, flat, jsonl
from tests.web.crawls import FAST
from tests.web.site import Site, plain

from gristmill import cli
from gristmill.core.errors import ConfigError
from gristmill.core.source import Window
from gristmill.testing import crash, laws

MINE = """
from pathlib import Path

def judge(record):
    if "poison" in record["text"] and not Path(__file__).with_name("mended").exists():
        raise ValueError("no")
    return record
"""


def config(**parameters):
    files = {"path": "in/*", "id": "id", "max_record_bytes": 200} | parameters
    return {
        "sources": [{"name": "s", "files": files}],
        "steps": [{"custom": {"call": "./mine.py:judge", "mode": "record"}}, "dedup.exact"],
        "run": {"max_error_ratio": 1.0},
        "exports": [{"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 2}}],
    }


@pytest.fixture(name="lab")
def _lab(tmp_path):
    lab = Lab(tmp_path, config())
    (tmp_path / "mine.py").write_text(MINE)
    lab.put("in/a.jsonl", jsonl([{"id": "a1", "text": "a poison pill"}, {"id": "a2", "text": "fine"}]) + b'{"id": oh\n')
    lab.put("in/b.jsonl", jsonl([{"id": "b1", "text": "long " * 50}, {"id": "b2", "text": "fine as well"}]))
    lab.put("in/c.jsonl", jsonl([{"id": "c1", "text": "first"}, {"id": "c1", "text": "second"}]))
    lab.put("in/d.txt.gz", b"\x1f\x8b\x08\x00 not gzip for long")
    lab.run()
    return lab


def mend(lab):
    (lab.folder / "mended").touch()


def counts(lab, **which):
    told = lab.open().quarantine_counts(**which)
    return {line["code"]: (line["count"], line["open"]) for line in told}


def test_all_that_was_quarantined_is_counted_and_open(lab):
    told = counts(lab)
    bad_file = next(code for code in told if code.startswith("file."))
    assert told == {
        "json.syntax": (1, 1),
        "size.cap": (1, 1),
        "step.error": (1, 1),
        "id.conflict": (1, 1),
        bad_file: (1, 1),
    }
    entries = {entry.code: entry for entry in lab.open().quarantine()}
    assert (entries["step.error"].id, entries["step.error"].unit) == ("s/a1", "a.jsonl")
    assert (entries["json.syntax"].id, entries["json.syntax"].origin.partition("#")[0]) == (None, "a.jsonl")
    assert counts(lab, code="size.cap", source="s", unit="b.jsonl", run=1) == {"size.cap": (1, 1)}
    assert counts(lab, source="other") == {}


def test_a_run_alone_does_not_read_what_has_not_changed(lab):
    mend(lab)
    lab.configure(config(max_record_bytes=1000))
    assert lab.run().status == "nothing_new"


def test_what_a_mended_step_lets_through_is_published_and_the_rest_of_the_file_stands(lab):
    mend(lab)
    report = lab.pipeline().retry(code="step.error", workers=1)
    assert flat(report.counts) == {"read": 3, "published": 1, "unchanged": 1, "quarantined/json.syntax": 1}
    assert "s/a1" in [row.id for row in lab.rows()]
    assert counts(lab)["step.error"] == (1, 0)
    assert counts(lab)["json.syntax"] == (2, 1)  # told again by the run that read it last
    assert lab.open().manifest().lineage[-1] == {"retried": {"s": ["a.jsonl"]}}
    assert lab.broken() == []
    again = lab.pipeline().retry(code="step.error", workers=1)
    assert (again.status, again.run) == ("nothing_new", None)
    with pytest.raises(ConfigError, match=r"quarantined as 'step.eror'; do you mean|quarantined as 'step.eror'"):
        lab.pipeline().retry(code="step.eror", workers=1)


def test_explain_shows_both(lab):
    mend(lab)
    lab.pipeline().retry(code="step.error", workers=1)
    told = lab.open().explain("s/a1")
    assert [(entry["run"], entry["action"], entry["reason"]) for entry in told["history"]] == [
        (1, "quarantine", "step.error")
    ]
    assert [row["seq"] for row in told["published"]] == [2]


def test_what_a_larger_cap_lets_through_is_published(lab):
    lab.configure(config(max_record_bytes=1000))
    report = lab.pipeline().retry(unit="b.jsonl", workers=1)
    assert flat(report.counts) == {"read": 2, "published": 1, "unchanged": 1}
    assert counts(lab)["size.cap"] == (1, 0)
    assert lab.broken() == []


def test_a_retry_that_changes_nothing_publishes_nothing(lab):
    report = lab.pipeline().retry(workers=1)
    assert report.status == "nothing_new"
    assert laws.head_seq(lab.dataset) == 1
    assert {told[1] for told in counts(lab).values()} == {1}  # all as open as before
    assert lab.broken() == []


def test_all_at_once_and_again_nothing_is_doubled(lab):
    mend(lab)
    lab.configure(config(max_record_bytes=1000))
    lab.pipeline().retry(workers=1)
    ids = [row.id for row in lab.rows()]
    assert sorted(ids) == ["s/a1", "s/a2", "s/b1", "s/b2", "s/c1"]
    assert lab.pipeline().retry(workers=1).status == "nothing_new"
    assert lab.run().status == "nothing_new"
    assert lab.broken() == []


def test_a_record_that_was_quarantined_keeps_out_no_twin_once_it_is_tried_again(lab):
    """It is judged anew: what came with the same text in between was there first."""
    lab.put("in/e.jsonl", jsonl([{"id": "e1", "text": "b poison pill"}]))
    lab.run()
    mend(lab)
    lab.put("in/f.jsonl", jsonl([{"id": "f1", "text": "b poison pill"}]))
    lab.run()
    report = lab.pipeline().retry(unit="e.jsonl", workers=1)
    assert flat(report.counts) == {"read": 1, "duplicates/dedup.exact": 1}
    assert lab.open().explain("s/e1")["history"][-1]["dup_of_id"] == "s/f1"
    assert lab.broken() == []


def test_what_leaves_or_changes_is_no_longer_open(lab):
    lab.put("in/a.jsonl", jsonl([{"id": "a1", "text": "no pill"}, {"id": "a2", "text": "fine"}]))
    lab.take("in/c.jsonl")
    lab.run()
    told = counts(lab)
    assert (told["step.error"], told["json.syntax"], told["size.cap"]) == ((1, 0), (1, 0), (1, 1))


def test_nothing_is_open_of_files_that_are_all_gone(tmp_path):
    """The table of a source of files that are all gone is as empty as a cursor's, which tells nothing."""
    files = {"path": "in/*", "id": "id", "allow_empty": True}
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": files}]})
    lab.put("in/c.jsonl", jsonl([{"id": "c1", "text": "first"}, {"id": "c1", "text": "second"}]))
    lab.run()
    assert counts(lab) == {"id.conflict": (1, 1)}
    lab.take("in/c.jsonl")
    assert lab.run().counts.withdrawn == 1
    assert counts(lab) == {"id.conflict": (1, 0)}
    lab.put("in/c.jsonl", jsonl([{"id": "c1", "text": "third"}]))
    assert lab.pipeline().retry(workers=1).status == "nothing_new"
    assert lab.run().status == "published"


@pytest.fixture(name="two")
def _two(tmp_path):
    sources = [
        {"name": name, "files": {"path": f"{name}/*", "id": "id", "allow_empty": True}} for name in ("these", "others")
    ]
    lab = Lab(tmp_path, {"sources": sources, "gate": {"min_quality_score": 0, "drift": None}})
    lab.put("these/known.jsonl", jsonl([{"id": "1", "text": "first"}]))
    lab.put("others/1.jsonl", jsonl([{"id": "2", "text": "another"}]))
    lab.run()
    return lab


@pytest.mark.parametrize("name", ["known", "new"])
def test_a_file_that_cannot_be_read_stays_open_until_its_source_is_asked_again(two, name):
    """Whether a version of it was read before or not, and whatever other sources bring meanwhile."""
    if name == "known":
        two.take("these/known.jsonl")
    (two.folder / "these" / f"{name}.jsonl").symlink_to("nowhere")
    two.put("others/2.jsonl", jsonl([{"id": "3", "text": "one more"}]))
    two.run()
    assert counts(two) == {"file.unreadable": (1, 1)}
    two.put("others/3.jsonl", jsonl([{"id": "4", "text": "and one more"}]))
    assert two.pipeline().run(source="others", workers=1).status == "published"
    assert counts(two) == {"file.unreadable": (1, 1)}
    two.put("others/4.jsonl", jsonl([{"id": "5", "text": "the last one"}]))
    two.run()
    assert counts(two) == {"file.unreadable": (2, 1)}  # told anew
    two.take(f"these/{name}.jsonl")
    two.put(f"these/{name}.jsonl", jsonl([{"id": f"at {name}", "text": "at last"}]))
    report = two.pipeline().retry(workers=1)
    assert (report.status, report.counts.published) == ("published", 1)
    assert counts(two) == {"file.unreadable": (2, 0)}
    assert two.broken() == []


def test_a_file_that_never_could_be_read_and_is_gone_is_open_no_more(two):
    """Its source has no file then, so no table of it says that it was there."""
    two.take("these/known.jsonl")
    (two.folder / "these" / "new.jsonl").symlink_to("nowhere")
    two.run()
    two.take("these/new.jsonl")
    assert counts(two) == {"file.unreadable": (1, 1)}  # no run has looked since
    two.put("others/2.jsonl", jsonl([{"id": "3", "text": "one more"}]))
    two.run()
    assert counts(two) == {"file.unreadable": (1, 0)}


def test_what_a_rollback_took_back_is_not_open_and_what_it_brought_back_is(lab):
    lab.put("in/a.jsonl", jsonl([{"id": "a1", "text": "poison, another one"}, {"id": "a2", "text": "fine"}]))
    lab.run()
    assert counts(lab)["step.error"] == (2, 1)
    assert counts(lab)["json.syntax"] == (1, 0)
    lab.open().rollback(1)
    assert counts(lab)["json.syntax"] == (1, 1)
    assert [(entry.run, entry.open) for entry in lab.open().quarantine(code="step.error")] == [(2, False), (1, True)]


def test_a_full_refresh_tells_everything_anew_and_once(lab):
    before = {code: told[1] for code, told in counts(lab).items()}
    lab.run(mode="full-refresh")
    assert {code: told[1] for code, told in counts(lab).items()} == before
    mend(lab)
    lab.pipeline().retry(code="step.error", workers=1)
    assert counts(lab)["step.error"][1] == 0
    assert lab.broken() == []


def test_a_code_that_is_not_there_is_told(lab):
    with pytest.raises(ConfigError, match=r"'step.eror'; did you mean 'step.error'\?"):
        lab.pipeline().retry(code="step.eror", workers=1)


def test_killed_anywhere_and_gone_on_with_it_is_the_same_retry(lab, command_lines, tmp_path_factory):
    """The next run goes on with it, although it was not asked to retry."""
    mend(lab)
    verb = ["quarantine", "retry", "--code", "step.error", "--workers", "1"]
    whole = None
    for point in ("", "plan.written=kill", "manifest.written=kill"):
        tree = tmp_path_factory.mktemp("retry") / "tree"
        shutil.copytree(lab.folder, tree)
        assert command_lines.run([str(tree), *verb], {"GRISTMILL_FAILPOINT": point} if point else {}) == (
            crash.KILLED if point else 0
        )
        if point:
            assert command_lines.run([str(tree), "run", "--workers", "1"], {}) == 0
        copy = Lab(tree, lab.config)
        assert copy.broken() == [], point
        whole = whole or copy.bytes()
        assert copy.bytes() == whole, point
        assert "s/a1" in [row.id for row in copy.rows()]


def test_the_command_counts_and_lists_and_tries_again(lab, capsys):
    mend(lab)
    where = ["-c", str(lab.folder / "gristmill.yml")]
    assert cli.perform(["quarantine", "ls", "--json", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["open"]) == 5
    assert {"source": "s", "code": "step.error", "count": 1, "open": 1, "open_units": 1} in told["counts"]
    assert cli.perform(["quarantine", "retry", "--code", "step.error", "--workers", "1", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["counts"]["published"] == 1
    assert cli.perform(["quarantine", "ls", "--code", "step.error", *where]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["s", "step.error", "1", "0", "0"]


# --- other sources ---------------------------------------------------------------------------------------------------

STEPS = {"steps": [{"custom": {"call": "./mine.py:judge", "mode": "record"}}], "run": {"max_error_ratio": 1.0}}


def other(tmp_path, source):
    lab = Lab(tmp_path, STEPS | {"sources": [{"name": "s"} | source]})
    (tmp_path / "mine.py").write_text(MINE)
    return lab


def test_a_web_page_is_fetched_again_in_full(tmp_path):
    pages = {"/a": plain("a poison pill on a page", etag='"1"'), "/b": plain("a fine page", etag='"2"')}
    with Site(pages) as site:
        web = {"urls": [site.url("/a"), site.url("/b")], "recheck": "30d"} | FAST
        lab = other(tmp_path, {"web": web})
        lab.run()
        site.asked()
        mend(lab)
        assert lab.run().status == "nothing_new"
        assert site.asked() == []
        report = lab.pipeline().retry(workers=1)
        assert site.asked() == ["/a"]
        assert flat(report.counts) == {"read": 1, "published": 1}
        assert {entry.open for entry in lab.open().quarantine()} == {False}
        assert lab.broken() == []


def test_a_listing_that_is_read_whole_lets_the_record_go_on(tmp_path):
    api = Api([{"id": n, "text": text} for n, text in enumerate(["fine", "a poison pill", "fine too"])])
    with FaultServer(api) as server:
        rest = {"endpoint": f"{server.url}/plain", "id": "id", "allow_hosts": ["127.0.0.1"], **STYLES["plain"]}
        lab = other(tmp_path, {"rest": rest})
        lab.run()
        mend(lab)
        assert lab.run().status == "nothing_new"  # it is what it was
        report = lab.pipeline().retry(workers=1)
        assert flat(report.counts) == {"read": 3, "published": 1, "unchanged": 2}
        assert lab.broken() == []


def test_a_cursor_that_has_passed_a_record_needs_a_window(tmp_path):
    told = [
        {"id": n, "text": text, "updated": f"2026-01-01T00:0{n}:00Z"}
        for n, text in enumerate(["fine", "poison", "fine too"])
    ]
    since = {"param": "updated_since", "cursor": "updated", "lag": 0, "until_param": "updated_until"}
    with FaultServer(Api(told)) as server:
        rest = {
            "endpoint": f"{server.url}/next",
            "id": "id",
            "since": since,
            "allow_hosts": ["127.0.0.1"],
            **STYLES["next"],
        }
        lab = other(tmp_path, {"rest": rest})
        lab.run()
        mend(lab)
        lab.run()
        with pytest.raises(ConfigError, match=r"--source s --window SINCE\.\.UNTIL"):
            lab.pipeline().retry(workers=1)
        part = Window("2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z")
        report = lab.pipeline().retry(source="s", window=part, workers=1)
        assert flat(report.counts) == {"read": 2, "published": 1, "unchanged": 1}
        assert {entry.open for entry in lab.open().quarantine()} == {False}
        assert lab.broken() == []


def test_what_is_tried_again_outside_of_the_window_stays_open(tmp_path):
    told = [{"id": n, "text": "poison", "updated": f"2026-01-01T00:0{n}:00Z"} for n in range(3)]
    since = {"param": "updated_since", "cursor": "updated", "lag": 0, "until_param": "updated_until"}
    with FaultServer(Api(told)) as server:
        rest = {
            "endpoint": f"{server.url}/next",
            "id": "id",
            "since": since,
            "allow_hosts": ["127.0.0.1"],
            **STYLES["next"],
        }
        lab = other(tmp_path, {"rest": rest})
        lab.run()
        mend(lab)
        part = Window("2026-01-01T00:00:00Z", "2026-01-01T00:02:00Z")
        lab.pipeline().retry(source="s", window=part, workers=1)
        assert sorted((entry.id, entry.open) for entry in lab.open().quarantine()) == [
            ("s/0", False), ("s/1", False), ("s/2", True),
        ]  # fmt: skip


def test_a_table_with_a_cursor_keeps_what_it_passed_open_until_that_part_is_asked_for(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body, at TEXT NOT NULL)")
        db.execute(
            "INSERT INTO t VALUES (1, 'a poison pill', '2025-01-01'), (2, 'fine', '2026-01-03'), (3, x'ff00fe', '2025-01-02')"
        )
        db.commit()
        sql = {"dsn": f"sqlite:///{tmp_path}/a.db", "table": "t", "text": "body", "key": "id", "cursor": "at"}
        lab = other(tmp_path / "lab", {"sql": sql})
        lab.run()
        assert sorted(told[1] for told in counts(lab).values()) == [1, 1]
        db.execute("INSERT INTO t VALUES (4, 'fine and new', '2026-02-01')")
        db.execute("UPDATE t SET body = 'no longer bytes' WHERE id = 3")
        db.commit()
        lab.run()
        assert sorted(told[1] for told in counts(lab).values()) == [1, 1]  # the cursor has passed them
        mend(lab)
        with pytest.raises(ConfigError, match=r"--source s --window SINCE\.\.UNTIL"):
            lab.pipeline().retry(workers=1)
        report = lab.pipeline().retry(source="s", window=Window("2025-01-01", "2025-01-31"), workers=1)
        assert flat(report.counts) == {"read": 2, "published": 2}
        assert [told[1] for told in counts(lab).values()] == [0, 0]
        assert lab.broken() == []
