"""The report: its keys are relied on from outside, its numbers add up, and no text of a document is in it."""

import json

import pytest
from tests.properties.lab import Lab, jsonl

# DESIGN section 9, schema 1.
KEYS = {
    "version", "run", "snapshot", "status", "counts", "balanced", "quality", "success_rate", "records_failed", "errors", "sources",
    "steps", "bytes_read", "bytes_published", "compression_ratio", "seconds", "mb_per_s", "peak_rss_mb", "gate",
}  # fmt: skip


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory):
    sources = [{"name": name, "files": {"path": f"{name}/*", "id": "id"}} for name in ("a", "b")]
    steps = [{"filter.length": {"min_chars": 3}}, "dedup.exact"]
    lab = Lab(tmp_path_factory.mktemp("report"), {"sources": sources, "steps": steps})
    lab.put(
        "a/1.jsonl", jsonl([{"id": "1", "text": "SECRETTEXT one"}, {"id": "2", "text": "SE"}]) + b'{"text": "SECRETTEXT'
    )
    lab.put("b/1.jsonl", jsonl([{"id": "1", "text": "SECRETTEXT one"}, {"id": "2", "text": "SECRETTEXT two"}]))
    lab.done = lab.run()
    return lab


def test_the_keys_are_those_of_the_design(lab):
    report = lab.open().report(1)
    assert report.keys() >= KEYS
    assert report == json.loads(json.dumps(lab.done.to_json()))
    assert set(report["counts"]) == {
        "read",
        "published",
        "unchanged",
        "superseded",
        "withdrawn",
        "dropped",
        "duplicates",
        "quarantined",
    }
    assert set(report["quality"]) == {"total", "valid", "invalid", "duplicates", "quality_score"}
    assert set(report["steps"][0]) == {"name", "in", "out", "valid", "invalid", "seconds", "bytes"}
    assert set(report["gate"][0]) >= {"rule", "value", "limit", "ok"}
    assert set(report["errors"][0]) == {"stage", "source", "code", "message", "time", "context"}
    assert {error["time"] for error in report["errors"]} == {report["started"]}, (
        "of what was quarantined, that of its run"
    )


def test_sources_add_up_to_the_whole(lab):
    report = lab.open().report(1)
    assert {name: part["read"] for name, part in report["sources"].items()} == {"a": 3, "b": 2}
    for key in ("read", "published", "unchanged"):
        assert sum(part[key] for part in report["sources"].values()) == report["counts"][key]
    assert report["balanced"]
    assert report["bytes_read"] == sum(p.stat().st_size for n in "ab" for p in (lab.folder / n).iterdir())
    assert (report["records_failed"], report["success_rate"]) == (1, 0.8)


def test_no_text_is_in_anything_that_is_written_for_people(lab):
    run = lab.dataset / "runs" / "1"
    for name in ("report.json", "manifest.json", "plan.json", "claim.json"):
        assert b"SECRETTEXT" not in (run / name).read_bytes()
    for path in (*run.rglob("*.json"), *run.rglob("*.log")):
        assert b"SECRETTEXT" not in path.read_bytes()
    assert "SECRETTEXT" not in str([lab.verdicts(1, kind) for kind in ("verdicts", "quarantine", "signals")])


def test_nothing_new_is_a_report_of_its_own_and_takes_no_number(lab):
    report = lab.run()
    assert (report.status, report.run, report.snapshot, report.counts.read) == ("nothing_new", None, 1, 0)
    assert [line["run"] for line in lab.open().log()] == [1]


def test_the_log_has_one_line_a_run(lab):
    (line,) = lab.open().log()
    assert (line["status"], line["read"], line["published"], line["rows"]) == ("published", 5, 2, 2)
