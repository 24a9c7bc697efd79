"""`gristmill docs`: what the page says of a config, and that it shows no secret and breaks on no text."""

import json

import pytest
from tests.properties.lab import Lab, jsonl

from gristmill import cli

SECRET = "a-secret-of-the-test"
NASTY = "a <script>alert(1)</script> | pipe `tick` [link](javascript:x) \x1b[31m & **bold**\nsecond line"


@pytest.fixture(name="lab")
def _lab(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCS_DSN", f"sqlite:///{SECRET}.db")
    monkeypatch.setenv("DOCS_WHO", SECRET)
    config = {
        "description": NASTY,
        "sources": [
            {"name": "web", "files": {"path": "in/*", "id": "id"}, "license": "CC-BY-4.0", "owner": "web@example.org",
             "freshness": "36h", "on_error": "skip", "description": "Pages of ${env:DOCS_WHO}", "steps": ["clean.punctuation"]},
            {"name": "articles", "sql": {"dsn": "${env:DOCS_DSN}", "table": "articles", "text": "body", "key": "id"}, "on_error": "skip"},
        ],
        "steps": ["clean.text", {"name": "long", "filter.length": {"min_chars": 5}, "description": NASTY}],
        "exports": [{"name": "chunks", "jsonl": {"path": "./out"}, "owner": "who|ever"}],
        "tests": [{"name": "short | goes", "given": "x", "expect": {"dropped": "long"}}],
    }  # fmt: skip
    return Lab(tmp_path, config)


def docs(lab, capsys, *argv):
    assert cli.perform(["docs", *argv, "-c", str(lab.folder / "gristmill.yml")]) == 0
    return capsys.readouterr().out


def test_the_page_says_who_answers_for_what_and_with_which_parameters(lab, capsys):
    page = docs(lab, capsys)
    for told in [
        "### web", "- owner: web@example.org", "- license: CC\\-BY\\-4.0", "- new at least every: 36h", "- if it fails: the others go on",
        "Own steps, before the common ones: `clean.punctuation`.", "| `path` | `in/*` |", "### long", "| `min_chars` | `5` |",
        "| `dsn` | `${env:DOCS_DSN}` |", "### chunks", "no snapshot yet", "| `content_hash` | binary |", "- short \\| goes",
    ]:  # fmt: skip
        assert told in page
    assert "None." not in page


def test_after_a_run_it_holds_the_counts_of_the_newest_snapshot(lab, capsys):
    lab.put("in/a.jsonl", jsonl([{"id": "1", "text": "A text that stays"}, {"id": "2", "text": "no"}]))
    lab.run()
    page = docs(lab, capsys)
    assert "snapshot 1 with 1 documents" in page
    assert "In snapshot 1: read 2, published 1, dropped 1." in page
    found = json.loads(docs(lab, capsys, "--json"))
    assert (found["snapshot"], found["rows"], found["counts"]["web"]["dropped"]) == (1, 1, {"long:too_short": 1})


def test_no_secret_stands_in_it(lab, capsys):
    for argv in ([], ["--json"]):
        assert SECRET not in docs(lab, capsys, *argv)


def test_what_the_config_says_is_text_and_nothing_else(lab, capsys):
    page = docs(lab, capsys)
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "](javascript" not in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {3, 4}
    assert "- owner: who\\|ever" in page


def test_it_goes_into_a_file(lab, capsys):
    assert docs(lab, capsys, "--output", str(lab.folder / "catalogue.md")) == ""
    assert (lab.folder / "catalogue.md").read_text("utf-8").startswith("# Catalogue\n")


def test_the_page_is_the_same_wherever_the_config_lies(lab, capsys):
    for argv in ([], ["--json"]):
        page = docs(lab, capsys, *argv)
        assert "./set" in page
        assert str(lab.folder) not in page
