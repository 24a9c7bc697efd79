"""Records and functions that hurt the run: they kill the worker, raise once, raise too often, meet a signal."""

import json
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from tests.examples import some
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


@pytest.mark.slice
@pytest.mark.parametrize("how", some(["os._exit(3)", "os.kill(os.getpid(), signal.SIGSEGV)"], 1))
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


HANGS = {
    "catches": """
        while True:
            try:
                time.sleep(60)
            except Exception:
                pass""",
    "compiled": "re.match('(a+)+$', 'a' * 60 + 'b')",
}


@pytest.mark.slice
@pytest.mark.parametrize(("how", "workers"), some([("catches", 1), ("compiled", 2)], 1))
def test_a_record_on_which_a_step_does_not_end_is_set_aside(how, workers, peaceful, server, tmp_path):
    tree = tmp_path / "tree"
    make(tree, DIES.replace("{how}", HANGS[how]).replace("import os", "import os, re, time"))
    told = (tree / "gristmill.yml").read_text()
    (tree / "gristmill.yml").write_text(told.replace("run: {", "run: {step_timeout_s: 1, "))
    assert server.run([str(tree), str(workers)], {}) == 0
    laws.assert_laws(tree / "corpus", [tree / export for export in scenes.EXPORTS])
    found = quarantined(tree)
    assert {(id_, row["code"], row["step"]) for id_, row in found.items()} == {
        ("web/doc-000007", "timeout.step", "custom")
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


@pytest.mark.slice
@pytest.mark.parametrize("number", some([signal.SIGTERM, signal.SIGINT], 1))
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


FRAGILE = """\
import os, signal

from gristmill.sources.files import Files


class Fragile(Files, frozen=True, kw_only=True):
    \"\"\"Files, one of which ends the process of whoever reads it, in its middle.\"\"\"

    def read(self, split, context):
        for page in super().read(split, context):
            yield page
            if page.unit.endswith("bad.jsonl"):
                os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_file_that_kills_who_reads_it_is_set_aside_and_read_again_when_asked(tmp_path):
    (tmp_path / "fragile.py").write_text(FRAGILE)
    for name in ("a", "bad", "c"):
        corpora.write(
            tmp_path / "data/frail" / f"{name}.jsonl", [{"id": f"{name}{i}", "text": f"{name} {i}"} for i in range(3)]
        )
    config = {
        "version": 1,
        "dataset": "corpus",
        "sources": [{"name": "s", "./fragile.py": {"path": "data/frail/*", "id": "id"}}],
        "gate": {"min_quality_score": 0},
    }
    (tmp_path / "gristmill.yml").write_text(json.dumps(config))
    command = [sys.executable, "-m", "gristmill"]
    run = [*command, "run", "--workers", "2"]
    done = subprocess.run(run, cwd=tmp_path, check=False, timeout=300, capture_output=True)
    assert done.returncode == -signal.SIGSEGV, "so little is read in the run's own process"
    subprocess.run(run, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    laws.assert_laws(tmp_path / "corpus")
    assert sorted(texts(tmp_path)) == [f"s/{name}{i}" for name in "ac" for i in range(3)]
    report = json.loads((tmp_path / "corpus/runs/1/report.json").read_bytes())
    assert report["counts"]["quarantined"] == {"crash.worker": 1}
    (tmp_path / "fragile.py").write_text(FRAGILE.replace("bad.jsonl", "mended"))
    again = [*command, "quarantine", "retry", "--code", "crash.worker"]
    subprocess.run(again, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    assert len(texts(tmp_path)) == 9
