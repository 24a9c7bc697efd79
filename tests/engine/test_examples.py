"""The config's own tests: what an example may say, what is held against it, and how a failure reads."""

import json

import pytest

from gristmill import cli
from gristmill.config.load import fingerprint, load
from gristmill.core.errors import ConfigError
from gristmill.pipeline import Pipeline

CONFIG = """version: 1
dataset: ./corpus
sources:
  - name: web
    files: {path: "in/*"}
    license: CC0
    steps: [clean.punctuation]
  - name: notes
    files: {path: "notes/*"}
steps:
  - clean.lowercase
  - filter.length: {min_chars: 8}
  - custom: {call: "./mine.py:mine", mode: record}
  - dedup.exact
require: {min_chars: 9}
"""
MINE = """
from gristmill import Drop

def mine(record):
    if "drop" in record["text"]:
        return Drop("said_so")
    if "fail" in record["text"]:
        raise ValueError
    return {**record, "lang": "en"}
"""


@pytest.fixture(name="write")
def _write(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)

    def write(tests, name="gristmill.yml"):
        path = tmp_path / name
        path.write_text(CONFIG + "tests: " + json.dumps(tests) + "\n", "utf-8")
        return path

    return write


def ended(write, *tests):
    named = [{"name": str(n)} | test for n, test in enumerate(tests)]
    return [tested.differences for tested in Pipeline.from_file(write(named)).test()]


@pytest.mark.parametrize(
    ("given", "expect"),
    [
        ("SHOUTED text", {"text": "shouted text"}),
        ("shouted text", {"kept": True}),
        ("tiny", {"dropped": True}),
        ("tiny", {"dropped": "filter.length"}),
        ("tiny", {"dropped": "too_short"}),
        ("tiny", {"dropped": "filter.length:too_short"}),
        ("eight ch", {"dropped": "require:min_chars"}),
        ("to be dropped", {"dropped": "custom:said_so"}),
        ("this will fail", {"quarantined": "step.error"}),
        ("this will fail", {"quarantined": "custom"}),
        ({"text": "some more text", "topic": "mills", "url": "https://a.example/"}, {"lang": "en", "url": "https://a.example/", "meta": {"topic": "mills"}}),
        ({"text": "some more text", "time": "2026-01-01"}, {"time": "2026-01-01T00:00:00Z"}),
        (["the same text", "The same TEXT"], [{"kept": True}, {"duplicate": "dedup.exact"}]),
        (["the same text", "tiny", "the same text"], [{"text": "the same text"}, {"dropped": True}, {"duplicate": True}]),
    ],
)  # fmt: skip
def test_what_is_as_expected_passes(write, given, expect):
    assert ended(write, {"given": given, "expect": expect}) == [[]]


def test_own_steps_of_a_named_source_come_first_and_a_subset_may_be_asked_for(write):
    assert ended(
        write,
        {"given": "What a text?!!!", "source": "web", "expect": {"text": "what a text?", "license": "CC0"}},
        {"given": "What a text?!!!", "expect": {"text": "what a text?!!!", "license": None}},
        {"given": "TINY", "steps": ["clean.lowercase"], "expect": {"text": "tiny"}},
    ) == [[], [], []]


@pytest.mark.parametrize(
    ("given", "expect", "says"),
    [
        ("A long enough text", {"text": "a long enough Text"}, "text differs from character 15 on:\n  expected \"a long enough Text\"\n  got      \"a long enough text\""),
        ("A long enough text", {"dropped": True}, "expected dropped, got kept"),
        ("tiny", {"kept": True}, "expected kept, got dropped by filter.length (too_short)"),
        ("tiny", {"text": "tiny"}, "expected kept, got dropped by filter.length (too_short)"),
        ("tiny", {"dropped": "require"}, "expected dropped (require), got dropped by filter.length (too_short)"),
        ("tiny", {"dropped": True, "lang": "en"}, "lang: expected of a record that was dropped by filter.length (too_short)"),
        ("A long enough text", {"lang": "de"}, 'lang differs from character 1 on:\n  expected "de"\n  got      "en"'),
        ({"text": "A long enough text", "a": 1}, {"meta": {"a": 2}}, "meta.a: expected 2, got 1"),
        (["A long enough text", "another long text"], [{"kept": True}, {"duplicate": True}], "record 2: expected duplicate, got kept"),
    ],
)  # fmt: skip
def test_what_is_not_is_told_side_by_side(write, given, expect, says):
    assert ended(write, {"given": given, "expect": expect}) == [[says]]


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ({"given": "x", "expect": {"droped": True}}, "'droped' cannot be expected; did you mean 'dropped'?"),
        ({"given": "x", "expect": {"kept": True, "dropped": True}}, "a record ends in one way"),
        ({"given": "x", "expect": {}}, "what is expected is a mapping"),
        ({"given": "x", "expect": {"kept": False}}, "kept: write true"),
        ({"given": {"txt": "x"}, "expect": {"kept": True}}, "a record has a `text`"),
        ({"given": {"text": "x", "ord": 1}, "expect": {"kept": True}}, "'ord' is set by gristmill"),
        ({"given": [], "expect": []}, "given holds no record"),
        ({"given": {"text": "x", "lang": 5}, "expect": {"kept": True}}, "lang is a text"),
        ({"given": {"text": "x", "url": ["a"]}, "expect": {"kept": True}}, "url is a text"),
        ({"given": {"text": "x", "lang_score": "high"}, "expect": {"kept": True}}, "lang_score is a number"),
        ({"given": {"text": "x", "meta": [1]}, "expect": {"kept": True}}, "meta is a mapping"),
        ({"given": ["x"], "expect": []}, "1 records are given, and 0 are expected"),
        ({"given": "x", "expect": {"kept": True}, "source": "wb"}, "there is no source 'wb'; did you mean 'web'?"),
        ({"given": "x", "expect": {"kept": True}, "steps": ["filter.lenght"]}, "did you mean 'filter.length'?"),
    ],
)
def test_an_example_that_makes_no_sense_is_refused_with_its_place(write, test, says):
    path = write([{"name": "one"} | test])
    with pytest.raises(ConfigError) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert says in problem
    assert "gristmill.yml:16:" in problem


def test_two_of_one_name_are_refused_and_one_that_is_not_there_is_told(write):
    with pytest.raises(ConfigError, match="a second test is called 'a'"):
        load(write([{"name": "a", "given": "x", "expect": {"kept": True}}] * 2))
    pipeline = Pipeline.from_file(write([{"name": "short", "given": "x", "expect": {"dropped": True}}]))
    with pytest.raises(ConfigError, match="there is no test 'shrt'; did you mean 'short'"):
        pipeline.test(["shrt"])


def test_tests_are_no_part_of_the_fingerprint(write):
    one = load(write([]))
    other = load(write([{"name": "a", "given": "a text to hold", "expect": {"kept": True}}]))
    assert fingerprint(one) == fingerprint(other)


def test_the_command_says_which_failed_and_ends_with_1(write, capsys):
    good = {"name": "good", "given": "a good long text", "expect": {"kept": True}}
    path = write([good, {"name": "bad", "given": "tiny", "expect": {"kept": True}}])
    assert cli.perform(["test", "-c", str(path)]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "ok      good",
        "FAILED  bad",
        "        expected kept, got dropped by filter.length (too_short)",
    ]
    assert "1 test of 2 failed" in told.err
    assert cli.perform(["test", "good", "--json", "-c", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] == 1
    assert cli.perform(["test", "-c", str(write([]))]) == 0


def test_what_a_reference_stood_for_is_not_shown(write, capsys, monkeypatch):
    monkeypatch.setenv("EXAMPLE_TOKEN", "a-secret-of-the-test")
    path = write([{"name": "a", "given": "the word ${env:EXAMPLE_TOKEN} is long", "expect": {"text": "another"}}])
    for more in ([], ["--json"]):
        assert cli.perform(["test", "-c", str(path), *more]) == 1
        told = capsys.readouterr()
        assert "a-secret-of-the-test" not in told.out + told.err
        assert "${env:EXAMPLE_TOKEN}" in told.out


def test_what_init_writes_passes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.perform(["init"]) == 0
    assert cli.perform(["test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["passed"] == 1
