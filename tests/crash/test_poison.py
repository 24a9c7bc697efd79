"""Records and functions that hurt the run: they kill the worker, raise once, raise too often, meet a signal."""

import json
import signal

import pyarrow.parquet as pq
import pytest
from tests.soak import scenes

from gristmill.testing import corpora, laws

PLAIN = "def mine(record):\n    return record\n"
DIES = """\
import os, signal

def mine(record):
    if record["id"] == "web/doc-000007":
        {how}
    return record
"""


def make(tree, custom, n=60):
    tree.mkdir()
    scenes.write_config(tree, split=4000, docs=15, custom=custom)
    scenes.day_1(tree, n)


def quarantined(tree, seq=1):
    rows = []
    for path in sorted((tree / "corpus" / "runs" / str(seq) / "quarantine").glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return {row["id"]: row for row in rows if row["id"]}


def texts(tree):
    rows = laws.head_rows(tree / "corpus", ["id", "text"])
    return dict(zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True))


@pytest.fixture(scope="session")
def peaceful(tmp_path_factory, server):
    """Give what the same pipeline publishes when its function does nothing."""
    tree = tmp_path_factory.mktemp("peaceful") / "tree"
    make(tree, PLAIN)
    assert server.run([str(tree), "1"], {}) == 0
    return texts(tree)


@pytest.mark.parametrize("how", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_a_record_that_kills_its_worker_is_set_aside(how, peaceful, server, tmp_path):
    tree = tmp_path / "tree"
    make(tree, DIES.replace("{how}", how))
    assert server.run([str(tree), "2"], {}) == 0
    laws.assert_laws(tree / "corpus", [tree / export for export in scenes.EXPORTS])
    found = quarantined(tree)
    assert {(id_, row["code"], row["step"]) for id_, row in found.items()} == {
        ("web/doc-000007", "crash.worker", "custom")
    }
    assert texts(tree) == {id_: text for id_, text in peaceful.items() if id_ != "web/doc-000007"}


def test_deaths_that_no_record_explains_cost_no_record(peaceful, server, tmp_path):
    """A worker that is shot four times in the same task (as by an OOM killer) must not cost an innocent record."""
    tree = tmp_path / "tree"
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    custom = f"""\
import os

def mine(record):
    if record["id"] == "web/doc-000007" and len(os.listdir({str(deaths)!r})) < 4:
        open({str(deaths)!r} + "/" + str(os.getpid()), "w").close()
        os._exit(9)
    return record
"""
    make(tree, custom)
    assert server.run([str(tree), "2"], {}) == 0
    assert len(list(deaths.iterdir())) == 4
    assert texts(tree) == peaceful


def test_a_step_that_raises_on_one_record_costs_that_record(peaceful, server, tmp_path):
    tree = tmp_path / "tree"
    make(tree, DIES.replace("{how}", "raise KeyError('secret words')"))
    assert server.run([str(tree), "1"], {}) == 0
    laws.assert_laws(tree / "corpus")
    row = quarantined(tree)["web/doc-000007"]
    assert (row["code"], row["step"]) == ("step.error", "custom")
    assert "KeyError" in row["detail"]
    assert "secret" not in row["detail"]
    assert texts(tree) == {id_: text for id_, text in peaceful.items() if id_ != "web/doc-000007"}


def test_a_step_that_raises_too_often_publishes_nothing(server, tmp_path):
    """Over one in a hundred: exit 1; with the file mended the next run starts afresh, under a new number."""
    tree = tmp_path / "tree"
    make(tree, "def mine(record):\n    return record if 'a' in record['nothing'] else None\n")
    assert server.run([str(tree), "1"], {}) == 1
    assert laws.head_seq(tree / "corpus") is None
    report = json.loads((tree / "corpus/runs/1/report.json").read_bytes())
    assert (report["status"], report["errors"][0]["code"]) == ("failed", "TooManyErrors")
    (tree / "mine.py").write_text(PLAIN, "utf-8")
    assert server.run([str(tree), "1"], {}) == 0
    laws.assert_laws(tree / "corpus", [tree / export for export in scenes.EXPORTS])
    assert laws.head_seq(tree / "corpus") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_inside_a_users_function_is_no_error_of_its_record(number, peaceful, server, tmp_path):
    tree = tmp_path / "tree"
    once = tmp_path / "once"
    custom = f"""\
import os

def mine(record):
    if record["id"] == "web/doc-000007" and not os.path.exists({str(once)!r}):
        open({str(once)!r}, "w").close()
        os.kill(os.getpid(), {int(number)})
    return record
"""
    make(tree, custom)
    assert server.run([str(tree), "1"], {}) == 128 + number
    assert laws.head_seq(tree / "corpus") is None
    assert server.run([str(tree), "1"], {}) == 0
    laws.assert_laws(tree / "corpus", [tree / export for export in scenes.EXPORTS])
    assert (laws.head_seq(tree / "corpus"), quarantined(tree)) == (1, {})
    assert texts(tree) == peaceful


def test_a_file_that_grows_while_it_is_read_is_read_again(server, tmp_path):
    """Appended to by the user's own step, which is as inside the run as it gets: nothing of it is lost."""
    tree = tmp_path / "tree"
    late = corpora.jsonl([{"id": "late", "text": "A line that came while the file was being read."}])
    flag, file = tmp_path / "once", tree / "data" / "web" / "a.jsonl"
    custom = f"""\
import os

def mine(record):
    if record["id"] == "web/doc-000003" and not os.path.exists({str(flag)!r}):
        open({str(flag)!r}, "w").close()
        with open({str(file)!r}, "ab") as out:
            out.write({late!r})
    return record
"""
    make(tree, custom)
    assert server.run([str(tree), "1"], {}) == 0
    laws.assert_laws(tree / "corpus")
    assert server.run([str(tree), "1"], {}) == 0
    laws.assert_laws(tree / "corpus", [tree / export for export in scenes.EXPORTS])
    assert "web/late" in texts(tree)
    assert flag.exists()
