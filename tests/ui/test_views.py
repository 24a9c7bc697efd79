"""What the ui shows is what the dataset holds: lists are whole over their pages, differences true, texts those of the source."""

import contextlib
import re
import shutil
import sqlite3
from html import unescape
from urllib.parse import quote

import pytest
from lxml import etree
from tests.report import worlds
from tests.ui.server import serving

from gristmill.audit import difference, sample, texts
from gristmill.audit.again import Wanted, read_again
from gristmill.core.errors import GateRefused
from gristmill.ui import marks


def tree(answer):
    assert answer.status == 200, answer.text[-500:]
    text = answer.text.replace("<!DOCTYPE html>", "")
    return etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False))


def links(parsed, page):
    """Give the queries of the links to a page, as they stand."""
    return [
        link.get("href")
        for link in parsed.iter("a")
        if f"{page}?" in link.get("href") or link.get("href").endswith(page)
    ]


def follow(served, path, pick):
    """Go through all pages of a list; give what `pick` takes from each."""
    found, seen = [], set()
    while path is not None:
        assert path not in seen
        seen.add(path)
        parsed = tree(served.ask(path))
        found += pick(parsed)
        on = [
            link.get("href")
            for link in parsed.iter("a")
            if (link.text or "").endswith("→") and "after=" in link.get("href")
        ]
        path = on[0].removeprefix(served.root) if on else None
    return found


def ids(parsed):
    return [unescape("".join(link.itertext())) for link in parsed.iter("a") if "/record?id=" in link.get("href")]


def rows_of(world):
    return {row["id"]: row for row in world.open().read().to_pylist()}


def test_the_overview_and_all_lists_are_there(world, served):
    parsed = tree(served.ask("/"))
    rows = len(rows_of(world))
    assert f"holds {rows} documents from 3 sources: crawl, handbook, tickets" in " ".join(
        "".join(parsed.itertext()).split()
    )
    assert len(list(parsed.iter("polyline"))) == 3
    for name in ("/runs", "/snapshots", "/diff", "/records", "/browse", "/drift", "/snapshot?seq=1", "/run?seq=1"):
        tree(served.ask(name))
    assert len(links(tree(served.ask("/runs")), "/run")) == 2
    assert "handbook chars ks 0.22" in " ".join("".join(tree(served.ask("/drift")).itertext()).split())


def test_the_page_of_a_run_leads_to_the_records_behind_each_reason(world, served):
    parsed = tree(served.ask("/run?seq=2"))
    counts = world.open().report(2)["counts"]
    for key, n in counts["dropped"].items():
        step, _, reason = key.rpartition(":")
        path = f"/browse?run=2&kind=dropped&step={step}&reason={reason}"
        assert f"{served.root}{path}" in links(parsed, "/browse")
        assert len(follow(served, path, ids)) == n
    for code, n in counts["quarantined"].items():
        found = follow(
            served,
            f"/browse?run=2&kind=quarantined&reason={code}",
            lambda page: [
                row for table in list(page.iter("tbody"))[-1:] for row in table.findall("tr")
            ],  # maybe none so far
        )
        assert len(found) == n


@pytest.mark.parametrize("kind", ["kept", "dropped", "duplicates"])
def test_browsing_shows_every_record_of_a_run_once(world, served, kind):
    counts = world.open().report(2)["counts"]
    wanted = {
        "kept": counts["published"],
        "dropped": sum(counts["dropped"].values()),
        "duplicates": sum(counts["duplicates"].values()),
    }
    found = follow(served, f"/browse?run=2&kind={kind}", ids)
    told = {row["id"] for row in world.open().inspect(kind, n=10**6, seq=2)}
    if kind == "duplicates":
        assert set(found) >= told
    else:
        assert (len(found), set(found)) == (wanted[kind], told)


def test_a_dropped_record_is_shown_with_the_text_its_step_saw(world, served):
    records = {f"{name}/{row['id']}": row for name in worlds.SOURCES for row in worlds.records(name, 500, 2)}
    for reason in ("too_short", "cookie_banner"):
        (row, *_) = world.open().inspect("dropped", reason=reason, seq=2)
        page = unescape(served.ask(f"/record?id={quote(row['id'])}").text)
        assert f"run 2: drop by {row['step']}, {reason}" in page
        assert f'<pre class="text">{records[row["id"]]["text"]}</pre>' in page
        assert "as this step saw it" in page
        listed = unescape(served.ask(f"/browse?run=2&kind=dropped&reason={reason}&texts=yes").text)
        assert records[row["id"]]["text"][:80] in listed


def test_a_published_record_is_shown_whole_with_its_way(world, served):
    for wanted, row in list(rows_of(world).items())[:3]:
        page = unescape(served.ask(f"/record?id={quote(wanted)}").text)
        assert row["text"] in page
        for told in (row["origin"], row["url"], row["license"], "length.chars"):
            assert told in page


def test_records_are_found_by_id_url_source_and_words(world, served):
    rows = rows_of(world)
    some = next(row for row in rows.values() if len(row["text"]) > 200)
    assert ids(tree(served.ask(f"/records?by=id&q={quote(some['id'])}")))[0] == some["id"]
    assert some["id"] in ids(tree(served.ask(f"/records?by=url&q={quote(some['url'])}")))
    for by, q, holds in (
        ("id", "crawl/2-", lambda row: row["id"].startswith("crawl/2-")),
        ("source", "handbook", lambda row: row["source"] == "handbook"),
        ("url", "tickets/1/", lambda row: "tickets/1/" in row["url"]),
        ("text", "GRAIN water", lambda row: "grain water" in row["text"].lower()),
    ):
        expected = sorted(wanted for wanted, row in rows.items() if holds(row))
        assert expected
        assert sorted(follow(served, f"/records?by={by}&q={quote(q)}", ids)) == expected
    marked = tree(served.ask("/records?by=text&q=grain+water"))
    assert {mark.text.lower() for mark in marked.iter("mark")} == {"grain water"}
    assert "Nothing found" in served.ask("/records?q=nobody").text


def test_the_difference_of_two_snapshots_is_what_came_went_and_changed(world, served):
    old = {row["id"]: row for row in world.open().read(1).to_pylist()}
    new = rows_of(world)
    assert sorted(follow(served, "/diff?a=1&b=2&what=added", ids)) == sorted(new.keys() - old.keys())
    assert sorted(follow(served, "/diff?a=1&b=2&what=gone", ids)) == sorted(old.keys() - new.keys())
    assert old.keys() - new.keys()
    assert sorted(follow(served, "/diff?a=2&b=1&what=added", ids)) == sorted(old.keys() - new.keys())
    assert follow(served, "/diff?a=2&b=2&what=added", ids) == []


def test_a_revised_record_is_changed(tmp_path):
    lab = worlds.Lab(tmp_path, {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}]})
    lines = [{"id": str(i), "text": f"This is document number {i}."} for i in range(9)]
    lab.put("a/1.jsonl", worlds.jsonl(lines))
    lab.run()
    lines[3]["text"] = "This document has been revised."
    lab.put("a/1.jsonl", worlds.jsonl(lines[1:]))
    lab.run()
    opened = lab.open()
    found = difference.difference(opened.layout, opened.manifest(1), opened.manifest(2))
    assert {what: table["id"].to_pylist() for what, table in found.tables.items()} == {
        "added": [],
        "gone": ["a/0"],
        "changed": ["a/3"],
    }
    assert found.by_source() == [("a", [0, 1, 1])]


@pytest.mark.parametrize(
    "path",
    [
        "/run?seq=9",
        "/run",
        "/snapshot?seq=9",
        "/diff?a=1&b=9",
        "/records?by=x&q=y",
        "/browse?kind=x",
        "/browse?run=9",
        "/record?id=x",
        "/record",
        "/x",
    ],
)
def test_what_is_not_there_is_said(served, path):
    answer = served.ask(path)
    assert answer.status == 404
    assert re.search(r"<h1>(There is no such thing|Nothing here)</h1>", answer.text)


def test_a_dataset_without_a_snapshot_can_be_looked_at(tmp_path):
    lab = worlds.Lab(
        tmp_path, {"sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}], "gate": {"min_docs": 3}}
    )
    lab.put("a/1.jsonl", worlds.jsonl([{"id": "1", "text": "Only this one document is here."}]))
    with pytest.raises(GateRefused):
        lab.run()
    with serving(lab.folder) as served:
        assert "No snapshot yet." in served.ask("/").text
        assert "Refused by the gate" in served.ask("/run?seq=1").text
        assert "Only this one document" in served.ask("/browse?kind=kept").text
        for path in ("/runs", "/snapshots", "/records", "/browse", "/drift"):
            tree(served.ask(path))
        for path in ("/snapshot", "/diff", "/records?q=a", "/record?id=a/1"):
            assert served.ask(path).status == 404


# --- behind the pages --------------------------------------------------------------------------------------------


def test_a_search_is_bounded_and_goes_on_where_it_stopped(world, monkeypatch):
    monkeypatch.setattr(texts, "SECONDS", 0.0)  # so that each call looks at one row group
    layout, manifest = world.open().layout, world.open().manifest()
    found, after = [], 0
    while after is not None:
        hits = texts.search(layout, manifest, "text", "grain", after, 3)
        assert len(hits.rows) <= 3
        found += [row["id"] for row in hits.rows]
        after = hits.after
    assert sorted(found) == sorted(wanted for wanted, row in rows_of(world).items() if "grain" in row["text"].lower())


def test_a_sample_is_bounded_and_goes_on_where_it_stopped(world, monkeypatch):
    monkeypatch.setattr(sample, "SECONDS", 0.0)
    found, after = [], 0
    while after is not None:
        rows, after = sample.sample(world.open().layout, 2, "dropped", "", "too_short", after, 2)
        assert len(rows) <= 2
        found += [row["id"] for row in rows]
    told = [row["id"] for row in world.open().inspect("dropped", reason="too_short", n=10**6, seq=2)]
    assert found == told


def test_texts_come_from_where_they_were_read_or_not_at_all(world, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(world.folder, folder)
    lab = worlds.Lab(folder, worlds.config())
    (row, *_) = lab.open().inspect("dropped", reason="too_short", seq=2)
    wanted = [Wanted(row["ord"], row["id"], row["step"])]

    def again_(config=None):
        return read_again(config or lab.pipeline().config, lab.open().layout, wanted)[row["ord"]]

    assert len(again_().seen) < 60
    assert again_().why == ""
    source = row["id"].split("/")[0]
    file = folder / source / "day-2.jsonl"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"\n", b"\n\n", 1))
    assert "cannot be read any more" in again_().why
    file.unlink()
    assert "cannot be read any more" in again_().why
    lab.configure({**worlds.config(), "sources": worlds.config(["other"])["sources"]})
    assert again_().why == "its source is not in the config any more"
    far = {"name": source, "files": {"path": "s3://bucket/x/*", "id": "id"}}
    lab.configure({**worlds.config(), "sources": [far]})
    assert "asks no address" in again_().why


def test_landed_pages_are_where_texts_of_a_database_come_from(tmp_path):
    """A source that may give something else tomorrow is not asked: what it gave then is kept for a while."""
    base = tmp_path / "docs.db"
    with contextlib.closing(sqlite3.connect(base)) as connection, connection:
        connection.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT)")
        connection.executemany(
            "INSERT INTO docs VALUES (?, ?)", [(i, f"Row {i}" + " of the database" * (i % 2)) for i in range(9)]
        )
    part = {"dsn": f"sqlite:///{base}", "table": "docs", "key": "id", "text": "body"}
    lab = worlds.Lab(
        tmp_path, {"sources": [{"name": "db", "sql": part}], "steps": [{"filter.length": {"min_chars": 10}}]}
    )
    lab.run()
    base.unlink()
    (row, *_) = lab.open().inspect("dropped")
    asked = lab.pipeline().config, lab.open().layout, [Wanted(row["ord"], row["id"], row["step"])]
    assert read_again(*asked)[row["ord"]].seen == "Row " + row["id"].split("/")[1]
    shutil.rmtree(lab.dataset / "landing")
    assert "landing_days" in read_again(*asked)[row["ord"]].why


def test_spans_mark_what_a_verdict_points_at():
    spans = marks.spans_of('[[0, 3], [2, 5], [8, 10, "email"], [4], "x", [1.5, 2], [-1, 2], [5, 5], [90, 99]]')
    assert spans == [(0, 3, ""), (8, 10, "email"), (90, 99, "")]
    assert marks.marked("<b> and a@b.", spans, 100) == '<mark>&lt;b&gt;</mark> and <mark title="email">a@</mark>b.'
    assert marks.marked("ab\u202ec\nd", marks.spans_of("[[1, 3]]"), 100) == "a<mark>b\\u202e</mark>c\nd"
    assert marks.marked("abcdef", marks.spans_of("[[1, 2], [3, 6]]"), 4) == "a<mark>b</mark>cd…"
    assert [marks.spans_of(text) for text in (None, "", "{", '{"a": 1}', "7")] == [[]] * 5


def test_custom_steps_are_not_run_for_a_look(tmp_path):
    lab = worlds.Lab(tmp_path, {
        "sources": [{"name": "a", "files": {"path": "a/*", "id": "id"}}],
        "steps": ["clean.lowercase", {"name": "mine", "custom": {"call": "./mine.py:f"}}, {"filter.length": {"min_chars": 20}}],
    })  # fmt: skip
    (tmp_path / "mine.py").write_text("def f(record):\n    record['text'] = record['text'][:5]\n    return record\n")
    lab.put("a/1.jsonl", worlds.jsonl([{"id": "1", "text": "A text  that is   cut short by a step."}]))
    lab.run()
    (row,) = lab.open().inspect("dropped")
    read = read_again(lab.pipeline().config, lab.open().layout, [Wanted(row["ord"], "a/1", row["step"])])[row["ord"]]
    assert (read.text, read.seen) == ("A text  that is   cut short by a step.", None)
    read = read_again(lab.pipeline().config, lab.open().layout, [Wanted(row["ord"], "a/1", "mine")])[row["ord"]]
    assert read.seen == "a text  that is   cut short by a step."
    read = read_again(lab.pipeline().config, lab.open().layout, [Wanted(row["ord"], "a/2", "mine")])[row["ord"]]
    assert read.why == "another record stands in its place now"
