"""Damaged files of a dataset: each verb names the file, and nothing that can do without it is stopped."""

import json

import pytest

from gristmill.dataset import Dataset


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


def side(project, kind):
    return next(path for path in (project.path / "corpus" / "runs" / "1" / kind).glob("*.parquet"))


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), cut, lambda path: path.unlink()])
def test_verify_ends_with_4_and_names_a_manifest_that_is_damaged_or_missing(own, damage):
    damage(own.path / "corpus" / "runs" / "1" / "manifest.json")
    for argv in (["verify"], ["verify", "1"]):
        answer = own(*argv, "--json")
        assert (answer.code, answer.json["snapshot"], answer.json["ok"]) == (4, 1, False)
        (told,) = answer.json["damage"]
        assert "runs/1/manifest.json is " in told
        assert told in own(*argv).out


def test_verify_ends_with_4_where_the_log_of_the_table_is_gone(own):
    for entry in (own.path / "corpus" / "table" / "_delta_log").iterdir():
        entry.unlink()
    answer = own("verify", "--json")
    assert (answer.code, answer.json["snapshot"]) == (4, None)
    assert "_delta_log" in answer.json["damage"][0]


@pytest.mark.parametrize("content", [b"", b'{"version": 1, "run"', b"[]", b'{"status": "published"}', b"\xff\xfe"])
def test_a_damaged_report_is_named_and_stops_what_needs_it_alone(own, content):
    report = own.path / "corpus" / "runs" / "1" / "report.json"
    report.write_bytes(content)
    assert own("plan").code == 0
    assert own("gc", "--dry-run", "--keep-last", "1").code == 0
    for argv in (["show"], ["report", "1"]):
        answer = own(*argv)
        assert answer.code == 1
        assert "runs/1/report.json is damaged" in answer.err
        assert "unexpected" not in answer.err
    listed = own("log", "--json")
    assert (listed.code, listed.json[0]["status"]) == (1, "damaged")
    assert "runs/1/report.json is damaged" in listed.err
    assert "runs/1/report.json is damaged" in own("status").err
    checked = own("status", "--check", "--json")
    assert (checked.code, checked.json["snapshot"]) == (1, 1)
    assert "runs/1/report.json is damaged" in checked.json["health"][0]["text"]
    assert own("run", "--json").json["status"] == "nothing_new"
    assert own("log").code == 0, "the report of the newest snapshot is written again from its manifest"
    assert (json.loads(report.read_bytes())["counts"]["published"], own("show").code) == (9, 0)


def test_a_damaged_report_of_an_old_run_does_not_stop_the_next(own):
    data = own.path / "data" / "b.jsonl"
    data.write_text('{"id": "n", "text": "A new record in a new file."}\n')
    assert own("run").code == 0
    (own.path / "corpus" / "runs" / "1" / "report.json").write_bytes(b"")
    data.write_text('{"id": "n", "text": "It has changed since then."}\n')
    assert own("run", "--json").json["status"] == "published"
    assert [line["status"] for line in own("log", "--json").json] == ["damaged", "published", "published"]
    assert own("status").code == 0


def test_a_damaged_shard_or_side_file_is_named_by_whoever_reads_it(own):
    (shard,) = Dataset(own.path / "corpus").files()
    before = (own.path / "corpus" / shard).read_bytes()
    cut(own.path / "corpus" / shard)
    for argv in (["explain", "web/d1"], ["inspect", "--kept"]):
        answer = own(*argv)
        assert answer.code == 1
        assert f"error: table/{shard.rpartition('/')[2]} cannot be read" in answer.err
        assert "gristmill verify" in answer.err
    (own.path / "corpus" / shard).write_bytes(before)
    verdicts, held = side(own, "verdicts"), side(own, "quarantine")
    cut(verdicts)
    cut(held)
    for argv in (["explain", "web/short"], ["inspect", "--dropped", "--run", "1"]):
        assert f"error: runs/1/verdicts/{verdicts.name} cannot be read" in own(*argv).err
    for argv in (["quarantine", "ls"], ["inspect", "--quarantined", "--run", "1"]):
        assert f"error: runs/1/quarantine/{held.name} cannot be read" in own(*argv).err


def more(project, n=1):
    (project.path / "data" / f"more{n}.jsonl").write_text(
        json.dumps({"id": f"m{n}", "text": f"A record in a new file, number {n}."}) + "\n"
    )
    assert project("run").code == 0


def test_a_damaged_list_of_pins_stops_gc_and_is_named(own):
    assert own("gc", "--pin", "1").code == 0
    (own.path / "corpus" / "pins.json").write_bytes(b"[")
    for argv in (["gc", "--dry-run"], ["gc", "--unpin", "1"]):
        answer = own(*argv)
        assert answer.code == 1
        assert "corpus/pins.json is damaged" in answer.err
    assert own("run").code == 0, "a run pins nothing"


def test_a_damaged_mark_of_what_was_collected_is_named_and_how_to_make_it_anew(own):
    more(own)
    assert own("gc", "--keep-last", "1").code == 0
    (mark,) = (own.path / "corpus").rglob("collected*.json")
    mark.write_bytes(b"?")
    answer = own("diff", "1", "2")
    assert answer.code == 1
    assert f"{mark.name} is damaged" in answer.err
    assert "run gc again" in answer.err


def test_a_damaged_list_of_what_is_known_of_a_source_stops_the_run_that_would_build_on_it(own):
    manifest = json.loads((own.path / "corpus" / "runs" / "1" / "manifest.json").read_bytes())
    listed = own.path / "corpus" / manifest["states"]["web"]["path"]
    before = listed.read_bytes()
    listed.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert "is not what the manifest says" in own("run").err
    listed.unlink()
    answer = own("run")
    assert answer.code == 1
    assert "cannot be read (FileNotFoundError)" in answer.err
    listed.write_bytes(before)
    assert own("run").code == 0
