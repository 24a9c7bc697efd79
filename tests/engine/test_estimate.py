"""Estimates: a part is done beside the dataset and measured; nothing of the dataset moves, and a plan that costs too much stops."""

import json
import subprocess
import sys

import pytest

from gristmill import GateRefused, Pipeline
from gristmill.core.errors import ConfigError
from gristmill.engine import estimate

CONFIG = """version: 1
dataset: ./corpus
sources:
  - {name: a, files: {path: "data/a/*.jsonl", text: text, id: id, split_bytes: 12000}}
  - {name: b, files: {path: "data/b/*.jsonl", text: text, id: id}}
steps: [clean.text, dedup.exact]
exports:
  - name: chunks
    jsonl: {path: ./out}
gate: {min_docs: 1000000}
cost: {core_hour: 3600, gb_month: 1000, currency: EUR}
"""


@pytest.fixture
def folder(tmp_path):
    for source, files in (("a", 8), ("b", 1)):
        (tmp_path / "data" / source).mkdir(parents=True)
        for n in range(files):
            records = [{"id": f"{source}{n}-{m}", "text": f"Sack {m} of load {n} is ground."} for m in range(200)]
            text = "".join(json.dumps(record) + "\n" for record in records)
            (tmp_path / "data" / source / f"{n}.jsonl").write_text(text)
    (tmp_path / "gristmill.yml").write_text(CONFIG)
    return tmp_path


def opened(folder, *settings):
    return Pipeline.from_file(folder / "gristmill.yml", overrides=settings)


def test_an_estimate_touches_neither_dataset_nor_exports_and_leaves_nothing_but_itself(folder):
    told = opened(folder).estimate()
    assert [path.name for path in (folder / "corpus").iterdir()] == ["estimate.json"]
    assert not (folder / "out").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["corpus", "data", "gristmill.yml"]
    assert told.head == 0
    assert told.tasks == 9
    assert told.bytes == sum(path.stat().st_size for path in folder.rglob("*.jsonl"))
    assert 0 < told.sampled_bytes <= told.bytes
    assert {source["name"] for source in told.sources} == {"a", "b"}
    assert {step["name"] for step in told.steps} >= {"clean.text"}
    assert told.exports.keys() == {"chunks"}
    assert told.exports["chunks"] > 0
    assert told.cost is not None
    assert told.cost["parts"].keys() == {"compute", "storage"}


def test_an_estimate_passes_by_the_gate_of_the_config(folder):
    opened(folder).estimate()  # min_docs is out of reach
    with pytest.raises(GateRefused):
        opened(folder).run()


def test_more_machines_are_paid_for_while_they_are_held(folder):
    told = opened(folder).estimate(machines=10)
    assert told.machines == 10
    a_core_second = 1  # cost.core_hour is 3600
    assert told.cost["parts"]["compute"] == pytest.approx(10 * told.cores * told.seconds * a_core_second, rel=0.01)


def test_more_machines_share_the_work_but_not_what_every_run_takes():
    small, large = (
        estimate.Sampled({"a": size}, {"a": cpu_s}, 0.0, wall_s, None, 0, {}, 0)
        for size, cpu_s, wall_s in ((100, 2.0, 3.0), (400, 8.0, 6.0))
    )
    seconds = [estimate.wall_clock(small, large, 80.0, machines) for machines in (1, 2, 10)]
    assert seconds == pytest.approx([2 + 40, 2 + 20, 2 + 4])  # two processor seconds a second, and two seconds to begin


def test_the_run_tells_how_far_off_its_estimate_was_and_another_run_does_not(folder):
    pipeline = opened(folder, "gate={}")
    pipeline.estimate()
    report = pipeline.run()
    assert report.estimate.keys() == {"seconds", "cpu_seconds", "table_bytes", "cost"}
    for both in report.estimate.values():
        assert both["ratio"] == pytest.approx(both["estimated"] / both["measured"], abs=0.01)
    assert 0.7 < report.estimate["table_bytes"]["ratio"] < 1.4
    (folder / "data" / "a" / "9.jsonl").write_text(json.dumps({"id": "x", "text": "One more sack."}) + "\n")
    assert opened(folder, "gate={}").run().estimate is None


def test_a_plan_over_max_cost_stops_with_nothing_begun_and_exit_code_3(folder):
    settings = ["--set", "cost.max_cost=0.000001"]
    command = [sys.executable, "-m", "gristmill", "run", *settings]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 3
    assert "over cost.max_cost 1e-06; nothing was begun" in ran.stderr
    assert not (folder / "corpus" / "runs").exists()
    again = subprocess.run(
        [sys.executable, "-m", "gristmill", "plan", "--estimate", *settings],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert again.returncode == 3
    assert "estimate, from doing" in again.stdout
    assert "and once more" in again.stdout, "that exports hold the texts a second time is said"


def test_a_plan_within_max_cost_runs_by_the_estimate_that_was_kept(folder):
    pipeline = opened(folder, "gate={}", "cost.max_cost=1000000")
    told = pipeline.estimate()
    kept = (folder / "corpus" / "estimate.json").stat().st_mtime_ns
    assert pipeline.run().status == "published"
    assert (folder / "corpus" / "estimate.json").stat().st_mtime_ns == kept
    assert told.max_cost == 1_000_000


def test_an_estimate_that_was_kept_is_held_to_max_cost_by_the_prices_of_today(folder):
    cheap = ["gate={}", "cost.core_hour=1e-9", "cost.gb_month=1e-9"]
    opened(folder, *cheap).estimate()
    kept = (folder / "corpus" / "estimate.json").read_bytes()
    with pytest.raises(GateRefused, match=r"over cost.max_cost 0.0001; nothing was begun"):
        opened(folder, "gate={}", "cost.max_cost=0.0001").run()
    assert (folder / "corpus" / "estimate.json").read_bytes() == kept, "what was measured still holds"
    assert opened(folder, *cheap, "cost.max_cost=0.0001").run().status == "published"


def test_a_source_that_can_be_read_but_once_is_named_and_not_asked(folder):
    (folder / "shop.sql").unlink(missing_ok=True)
    import sqlite3

    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT)")
        connection.execute("INSERT INTO docs VALUES (1, 'A row.')")
    source = '{name: shop, sql: {dsn: "sqlite:///shop.db", table: docs, key: id, text: body}}'
    config = (folder / "gristmill.yml").read_text().replace("steps:", f"  - {source}\nsteps:", 1)
    (folder / "gristmill.yml").write_text(config)
    told = opened(folder).estimate()
    assert told.unknown.keys() == {"shop"}
    assert "not read for an estimate" in told.unknown["shop"]


def test_nothing_new_is_nothing_to_estimate(folder):
    opened(folder, "gate={}").run()
    with pytest.raises(ConfigError, match="nothing to measure"):
        opened(folder, "gate={}").estimate()
