"""Ray: on a real cluster a run leaves the same bytes as on this machine alone, whatever dies, and nothing is left running."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

import psutil
import pytest
from tests.examples import SOAK
from tests.ray.cluster import ROOT, Cluster, belonging, environment
from tests.soak import scenes

from gristmill.testing import corpora, crash, laws

pytest.importorskip("ray", reason='Ray is not installed: pip install "gristmill[ray]"')

# What the step of the scenes does when the file of that name is there: die once, or tell which worker has which record when.
CUSTOM = """\
import os, time

def mine(record):
    if record["id"] == "web/doc-000007" and os.path.exists("HERE/die"):
        os.remove("HERE/die")
        os._exit(9)
    if os.path.exists("HERE/tell"):
        with open("HERE/tell", "a") as out:
            out.write(f"{time.monotonic()} {os.getpid()} {record['origin'].partition('#')[0]}\\n")
        time.sleep(0.005)
    return record
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Give a frozen copy of `src`: driver and workers must be of one build, and somebody may be editing."""
    folder = tmp_path_factory.mktemp("frozen") / "src"
    shutil.copytree(ROOT / "src", folder)
    return folder


@pytest.fixture(scope="module")
def small(here, source, cluster):
    """Give a scene: day 2 of a small pipeline, and how it ends on this machine alone."""
    env = environment(source, "", here)

    def run(tree, _):
        command = driving(tree, "run.workers=1")
        return subprocess.run(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode

    custom = CUSTOM.replace("HERE", str(here))
    return scenes.history(here, "small", run, n=60, split=4000, docs=15, custom=custom)[1]


@pytest.fixture(scope="module")
def cluster(source):
    with Cluster(source, 2) as nodes:
        yield nodes


def driving(tree, *overrides):
    return [sys.executable, "-m", "tests.ray.drive", str(tree), *overrides]


def on(cluster, tree, *overrides, env=None):
    """Run the pipeline in a folder on the cluster."""
    command = driving(tree, "run.engine=ray", f"run.ray.address={cluster.address}", *overrides)
    return subprocess.run(
        command, env=cluster.env | (env or {}), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_cluster_leaves_the_bytes_of_one_machine_though_a_worker_dies(small, cluster, tmp_path, here):
    (here / "die").touch()

    def run(tree, _):
        done = on(cluster, tree)
        sys.stderr.write(done.stderr)
        return done.returncode

    trial = crash.attacked(small, tmp_path, "a worker dies", [], run)
    assert trial.problems == []
    assert not (here / "die").exists()
    assert cluster.workers() == []  # those of a driver that has gone end


def test_no_more_tasks_are_in_flight_than_asked_for(small, cluster, tmp_path, here):
    """With one at a time on two nodes, a task is over before the next begins: files do not interleave."""
    tree = tmp_path / "tree"
    shutil.copytree(small.start, tree)
    (here / "tell").touch()
    try:
        done = on(cluster, tree, "run.ray.max_in_flight=1", "run.ray.stages.merge={cpus: 0.5, memory_mb: 100}")
        assert done.returncode == 0, done.stderr
        told = sorted(line.split() for line in (here / "tell").read_text().splitlines())
    finally:
        (here / "tell").unlink()
    turns = [key for key, _ in groupby(told, key=lambda line: line[1])]
    files = [key for key, _ in groupby(told, key=lambda line: line[2])]
    assert len(files) > 3
    assert len(turns) <= len({(line[1], line[2]) for line in told})
    assert crash.end_problems(small, tree) == []


def test_a_worker_of_another_build_refuses_to_work(small, cluster, tmp_path):
    tree, other = tmp_path / "tree", tmp_path / "src"
    shutil.copytree(small.start, tree)
    shutil.copytree(cluster.env["PYTHONPATH"].partition(os.pathsep)[0], other)
    (other / "gristmill" / "core" / "words.py").write_text('"""A file that the cluster does not have."""\n')
    done = on(cluster, tree, env={"PYTHONPATH": os.pathsep.join([str(other), str(ROOT)])})
    assert done.returncode == 2
    assert "is of another build than the driver: gristmill " in done.stderr
    assert "install the same on all nodes" in done.stderr


def test_a_cluster_that_does_not_answer_is_told_at_once(small, cluster, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(small.start, tree)
    began = time.monotonic()
    done = on(cluster, tree, "run.ray.address=127.0.0.1:9")
    assert done.returncode == 1
    assert "the Ray cluster at 127.0.0.1:9 cannot be joined: [Errno 111] Connection refused" in done.stderr
    assert time.monotonic() - began < 30


def test_a_task_that_no_node_can_hold_stops_the_run_in_passing(small, cluster, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(small.start, tree)
    done = on(cluster, tree, "run.ray.stages.read.cpus=3", "run.ray.node_wait_s=1")
    assert done.returncode == 1
    assert "no node of the Ray cluster can hold a task of stage read, which asks for CPU 3" in done.stderr
    assert "Add one, or ask for less in run.ray.stages.read, and run again" in done.stderr


def test_a_cluster_of_its_own_is_on_loopback_and_ends_with_the_run(small, source, tmp_path, here):
    """Killed in the middle, nothing of it stays; the next run goes on, on this machine alone, with the same bytes."""
    tree = tmp_path / "tree"
    shutil.copytree(small.start, tree)
    config = (tree / "gristmill.yml").read_text()
    (tree / "gristmill.yml").write_text(config.replace("run: {", "run: {engine: ray, workers: 2, "))
    mine = f"GRISTMILL_TEST_RAY={tree}"
    plain = environment(source, "", here)
    short = tempfile.mkdtemp(prefix="gmr-", dir="/tmp")  # a killed run leaves what it had there
    env = {name: value for name, value in plain.items() if not name.startswith("RAY_")}  # what a run sets by itself
    env |= {"GRISTMILL_TEST_RAY": str(tree), "TMPDIR": short}
    started = subprocess.Popen(driving(tree), env=env, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        heard, deadline = set(), time.monotonic() + 180
        while not any((tree / "corpus/runs/2/tasks").glob("*.json")) and started.poll() is None:
            heard |= listening(belonging(mine))
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert started.poll() is None, started.stderr.read().decode()
        assert "raylet" in {name for name, _ in heard}
        assert {host for _, host in heard} == {"127.0.0.1"}
    finally:
        started.kill()
        started.wait()
        started.stderr.close()
    deadline = time.monotonic() + 30
    while at_work(mine) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert at_work(mine) == []
    for helper in belonging(mine):  # of Ray, which take up to a minute to notice
        helper.kill()
    shutil.rmtree(short)
    done = subprocess.run(driving(tree, "run.engine=local", "run.workers=1"), env=plain, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert crash.end_problems(small, tree) == []


@pytest.mark.slice
@pytest.mark.skipif(not SOAK, reason="two more clusters: done in the soak")
def test_two_clusters_of_their_own_follow_each_other_in_one_process(small, source, tmp_path, here):
    """What Ray reads once, its secret, holds for the second one too. The path of a folder may be too long for Ray's sockets."""
    env = {name: value for name, value in environment(source, "", here).items() if not name.startswith("RAY_")}
    long = tmp_path / ("long" * 20)
    long.mkdir()
    for name in ("one", "two"):
        shutil.copytree(small.start, tmp_path / name)
    settings = ["run.engine=ray", "run.workers=1"]
    script = "import sys; from tests.ray.drive import drive; sys.exit(max(drive(tree, *sys.argv[3:]) for tree in sys.argv[1:3]))"
    words = [sys.executable, "-c", script, str(tmp_path / "one"), str(tmp_path / "two"), *settings]
    before = set(Path("/tmp").glob("gm-ray-*"))
    done = subprocess.run(words, env=env | {"TMPDIR": str(long)}, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(Path("/tmp").glob("gm-ray-*")) <= before
    for name in ("one", "two"):
        assert crash.end_problems(small, tmp_path / name) == []


def at_work(setting):
    """Give the names of the processes that belong to a run, but of two helpers of Ray that touch nothing of ours."""
    names = []
    for process in belonging(setting):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return [name for name in names if name not in {"ray::DashboardAgent", "ray::RuntimeEnvAgent"}]


def listening(processes):
    """Give (process name, host) of all sockets that wait for connections."""
    found = set()
    for process in processes:
        try:
            sockets = process.net_connections("inet")
            found |= {
                (process.name(), each.laddr.ip.removeprefix("::ffff:")) for each in sockets if each.status == "LISTEN"
            }
        except psutil.Error:
            continue
    return found


DECIDED = """\
version: 1
dataset: ./corpus
sources: [{name: s, files: {path: "data/*.jsonl", text: text, id: id, split_bytes: 2000}}]
steps:
  - clean.text
  - dedup.exact
  - filter.length: {min_chars: LEAST}
gate: {min_quality_score: 0, drift: null}
exports:
  - name: lines
    jsonl: {path: ./out/lines, docs_per_chunk: 8}
  - name: rows
    sql: {dsn: "sqlite:///rows.db", table: docs}
"""


# A folder of which a copy is kept after each round, settings, and of each round (config, mode).
ROUNDS = """
import json, shutil, sys
from pathlib import Path
from tests.ray.drive import drive
tree, settings, rounds = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
for n, (config, *mode) in enumerate(rounds):
    Path(tree, "gristmill.yml").write_text(config)
    if drive(tree, *mode, *settings):
        sys.exit(1)
    shutil.copytree(tree, f"{tree}-{n}")
"""


def test_records_are_decided_about_anew_on_a_cluster_as_on_one_machine(cluster, tmp_path):
    """By thresholds alone (`--redecide`), and with all read again (`--full-refresh`); a table takes the changes."""
    here, there = tmp_path / "here", tmp_path / "there"

    def decide(tree, settings, *rounds):
        told = [[DECIDED.replace("LEAST", str(least)), *mode] for least, *mode in rounds]
        words = [sys.executable, "-c", ROUNDS, str(tree), json.dumps(settings), json.dumps(told)]
        done = subprocess.run(words, env=cluster.env, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    corpora.write(here / "data" / "a.jsonl", corpora.documents(40, seed=1, sentences=3, duplicates=0.2))
    again = [(120, "--redecide"), (20, "--full-refresh")]
    decide(here, ["run.workers=1"], (12,), *again)
    shutil.copytree(tmp_path / "here-0", there)
    decide(there, ["run.engine=ray", f"run.ray.address={cluster.address}"], *again)
    for n in range(len(again)):
        one, other = tmp_path / f"here-{n + 1}", tmp_path / f"there-{n}"
        assert laws.check(other / "corpus", [other / "out" / "lines"]) == []
        ends = [crash.look(tree, "corpus", ["out/lines"]) for tree in (one, other)]
        assert ends[0].seq == ends[1].seq == n + 2
        assert ends[0].rows == ends[1].rows
        assert ends[0].exports == ends[1].exports
        assert rows_of(one) == rows_of(other) != []


def rows_of(tree):
    with contextlib.closing(sqlite3.connect(tree / "rows.db")) as connection:
        return connection.execute("SELECT * FROM docs ORDER BY id").fetchall()
