"""`gristmill init`: what it finds in data, what it writes, and that it runs."""

import csv
import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Project, write
from tests.examples import some

from gristmill.console import scaffold

LONG = "A text of some length, as documents have it, so that the text field is told from the others. "
ROWS = [
    {"doc_id": f"n{i}", "body": f"{LONG} {i}", "link": f"https://example.org/{i}", "published": "2024-05-01", "n": i}
    for i in range(6)
]


def works(folder):
    """The config is short, passes `check`, and runs; gives the report."""
    project = Project(folder)
    lines = (folder / "gristmill.yml").read_text("utf-8").splitlines()
    assert lines[:2] == ["# yaml-language-server: $schema=./gristmill.schema.json", "version: 1"]
    assert len(lines) <= 15
    assert json.loads((folder / "gristmill.schema.json").read_text("utf-8"))["title"] == "gristmill.yml"
    assert project("check").code == 0
    done = project("run", "--json", "-q")
    assert done.code == 0, done.err
    again = project("run", "--json", "-q")
    assert again.json["status"] == "nothing_new"  # its own output is not its input
    return done.json


def test_the_command_that_comes_next_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    answer = Project(tmp_path)("init", "my dir")
    assert answer.code == 0, answer.err
    assert answer.err.splitlines()[-1].endswith("my dir' && gristmill run")


def test_here_with_a_sample(tmp_path):
    answer = Project(tmp_path)("init", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["fields"] == {"text": "text", "id": "id", "lang": "lang"}
    report = works(tmp_path)
    counts = report["counts"]
    assert counts["published"] > 40
    assert counts["quarantined"] == {"json.syntax": 1}
    assert counts["dropped"] == {"filter.length:too_short": 1}
    assert counts["duplicates"]["dedup.exact"] > 0
    langs = {
        json.loads(line)["lang"] for line in (tmp_path / "data" / "sample.jsonl").read_text("utf-8").splitlines()[:-1]
    }
    assert len(langs) >= 12


def test_a_new_folder(tmp_path):
    answer = Project(tmp_path)("init", "corpora/first")
    assert answer.code == 0, answer.err
    assert "next: cd " in answer.err
    works(tmp_path / "corpora" / "first")


def jsonl(path):
    return write(path / "news.jsonl", ROWS)


def packed(path):
    (path / "news.jsonl.gz").write_bytes(gzip.compress(write(path / "raw", ROWS).read_bytes(), mtime=0))
    (path / "raw").unlink()
    return path / "news.jsonl.gz"


def array(path):
    (path / "news.json").write_text(json.dumps(ROWS, indent=1))
    return path / "news.json"


def parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path / "news.parquet")
    return path / "news.parquet"


def table(path):
    with (path / "news.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    return path / "news.csv"


@pytest.mark.parametrize("make", [jsonl, packed, array, parquet, table])
def test_a_file_of_records(tmp_path, make):
    file = make(tmp_path)
    answer = Project(tmp_path)("init", file.name, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["fields"] == {"text": "body", "id": "doc_id", "url": "link", "time": "published"}
    assert works(tmp_path)["counts"]["published"] == len(ROWS)


def test_a_folder_of_texts(tmp_path):
    for i in range(3):
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{i}.txt").write_text(f"{LONG} {i}")
    (tmp_path / "notes" / "odd.jsonl").write_text("{}\n")
    answer = Project(tmp_path)("init", "notes")
    assert answer.code == 0, answer.err
    assert "not taken in: 1 .jsonl files" in answer.err
    assert works(tmp_path)["counts"]["published"] == 3


def test_a_glob_and_data_elsewhere(tmp_path):
    for part in ("a", "b"):
        write(
            tmp_path / "far" / part / "x.jsonl",
            [{"id": f"{part}{row['n']}", "text": f"{part} {row['body']}"} for row in ROWS],
        )
    (tmp_path / "here" / "below").mkdir(parents=True)
    answer = Project(tmp_path / "here" / "below")("init", "../../far/*/x.jsonl")
    assert answer.code == 0, answer.err
    assert works(tmp_path / "here" / "below")["counts"]["published"] == 2 * len(ROWS)


@pytest.mark.parametrize("place", ["", "data", "deep/er"])
def test_a_folder_with_data_in_it_and_the_config_too(tmp_path, place):
    write(tmp_path / place / "x.jsonl", ROWS)
    assert Project(tmp_path)("init", ".").code == 0
    assert works(tmp_path)["counts"]["published"] == len(ROWS)


def test_never_overwrites(tmp_path):
    (tmp_path / "gristmill.yml").write_text("mine")
    before = sorted(tmp_path.iterdir())
    write(tmp_path / "x.jsonl", ROWS)
    for target in (".", "x.jsonl"):
        answer = Project(tmp_path)("init", target)
        assert answer.code == 2
        assert "left as it is" in answer.err
    assert (tmp_path / "gristmill.yml").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [*before, tmp_path / "x.jsonl"]


@pytest.mark.parametrize(
    ("target", "content", "told"),
    [
        ("none.jsonl", None, "there is no file"),
        ("*.jsonl", None, "no file matches"),
        ("x.jsonl", b"", "no record could be read"),
        ("x.jsonl", b'{"a": 1}\n', "holds text; its fields are: a"),
        ("x.parquet", b"PAR1 not really", "no record could be read"),
        ("x.bin", b"\x00\x01\x02", "no record could be read"),
    ],
)
def test_nothing_to_read(tmp_path, target, content, told):
    if content is not None:
        (tmp_path / target).write_bytes(content)
    answer = Project(tmp_path)("init", target)
    assert answer.code == 2
    assert told in answer.err
    assert not (tmp_path / "gristmill.yml").exists()


@pytest.mark.parametrize("verb", ["init", "try"])
def test_a_name_that_is_not_utf8_is_told(tmp_path, verb):
    odd = os.fsdecode(b"x\xfe.jsonl")
    write(tmp_path / odd, [{"text": LONG}])
    answer = Project(tmp_path)(verb, odd)
    assert answer.code == 2
    assert "x\\udcfe.jsonl': the name is not valid UTF-8; rename the file" in answer.err
    assert not (tmp_path / "gristmill.yml").exists()


@pytest.mark.slice
@pytest.mark.parametrize(
    "name", some(["yes", "a b", "x:y", "naïve", "#tag", "0", 'quo"te', "back\\slash", "dotted.name"], 4)
)
def test_odd_field_names(tmp_path, name):
    write(tmp_path / "x.jsonl", [{name: f"{LONG} {i}"} for i in range(3)])
    assert Project(tmp_path)("init", "x.jsonl").code == 0
    assert works(tmp_path)["counts"]["published"] == 3


@pytest.mark.parametrize(
    ("records", "fields"),
    [
        ([{"text": "short", "body": LONG}], {"text": "text"}),
        ([{"title": "short", "prose": LONG}], {"text": "prose"}),
        ([{"data": {"content": LONG, "id": 1}}], {"text": "data.content"}),
        ([{"id": 1, "text": LONG}, {"id": 1, "text": LONG}], {"text": "text"}),  # an id is one's own
        ([{"id": 1, "text": LONG}, {"text": LONG}], {"text": "text"}),
        ([{"id": "", "url": 3, "time": None, "text": LONG}], {"text": "text"}),
        ([{"text": LONG, "{x}": LONG * 2, "date": 1700000000}], {"text": "text", "time": "date"}),
    ],
)
def test_guesses(tmp_path, records, fields):
    file = write(tmp_path / "x.jsonl", records)
    found = scaffold.look(file, tmp_path)
    assert scaffold.sniff(found).fields == fields


def test_outputs_are_never_input(tmp_path):
    write(tmp_path / "out" / "old.jsonl", ROWS)
    write(tmp_path / "corpus" / "old.jsonl", ROWS)
    assert scaffold.look(Path(tmp_path), tmp_path) is None


def test_a_config_by_another_name_is_not_asked_for(tmp_path):
    answer = Project(tmp_path)("init", "-c", "other.yml")
    assert (answer.code, list(tmp_path.iterdir())) == (2, [])
    assert "init writes gristmill.yml" in answer.err


def test_a_column_of_what_is_adopted_comes_from_one_field(tmp_path):
    answer = Project(tmp_path)("adopt", "x", "--map", "text=text", "--map", "text=id")
    assert answer.code == 2
    assert "text is given twice" in answer.err
