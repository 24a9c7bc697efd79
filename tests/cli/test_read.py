"""The verbs that read: their answers for people and for programs, and that they change nothing."""

import fcntl
import subprocess

import pytest
from tests.cli.conftest import EVIL, TEXTS, command

READ = {
    ("check",): "ok:",
    ("plan",): "nothing new",
    ("status",): "snapshot 1, 9 documents",
    ("log",): "published",
    ("show",): "read 12 = published 9 + unchanged 0 + superseded 0 + dropped 1 + duplicates 1 + quarantined 1",
    ("show", "1"): "rows 9 = before 0 + published 9 - withdrawn 0",
    ("explain", "web/twin"): "duplicate by dedup.exact",
    ("explain", "https://example.org/3"): "web/d3",
    ("inspect", "--kept", "-n", "2"): "web/d1",
    ("inspect", "--dropped"): "too_short",
    ("inspect", "--duplicates", "--run", "1"): "web/twin",
    ("inspect", "--quarantined", "--reason", "json.syntax"): "a.jsonl#",
    ("drift",): "not judged: web: earlier snapshots have nothing of it",
    ("verify",): "snapshot 1 is whole",
    ("parts",): "dedup.exact",
    ("parts", "filter.length"): "min_chars: int >= 0 or null; default null",
}


COLD = "compiling kernels, once; `gristmill warmup` does it ahead\n"  # another's kernels may just be cold


def tree(path):
    return {p.relative_to(path): p.stat().st_mtime_ns for p in path.rglob("*") if "__pycache__" not in p.parts}


@pytest.mark.parametrize("argv", READ, ids=" ".join)
def test_read_verb(ran, argv):
    before = tree(ran.path)
    plain, coded = ran(*argv), ran(*argv, "--json")
    assert (plain.code, coded.code) == (0, 0), plain.err + coded.err
    assert READ[argv] in plain.out
    assert plain.err.removeprefix(COLD) == coded.err.removeprefix(COLD) == ""
    assert coded.out.count("\n") == 1
    assert coded.json is not None
    assert tree(ran.path) == before


def test_json_of_status_and_plan(ran):
    status, plan = ran("status", "--json").json, ran("run", "--dry-run", "--json").json
    assert (status["snapshot"], status["rows"], status["unfinished"], status["lock"]) == (1, 9, None, None)
    assert status["sources"]["web"]["units"] == 1
    assert status["exports"]["chunks"]["state"] == "current"
    assert plan["nothing_new"] is True
    assert plan["sources"]["web"]["unchanged"] == 1


def test_schema_is_json(ran):
    assert ran("schema").json["title"] == "gristmill.yml"


def test_plan_tells_new_changed_and_gone(own):
    (own.path / "data" / "b.jsonl").write_text('{"id": "n", "text": "A new record in a new file."}\n')
    with (own.path / "data" / "a.jsonl").open("a") as file:
        file.write('{"id": "m", "text": "A new record in a known file."}\n')
    own.config((own.path / "gristmill.yml").read_text().replace("min_chars: 20", "min_chars: 25"))
    found = own("plan", "--json").json
    assert {key: found["sources"]["web"][key] for key in ("new", "changed", "gone")} == {
        "new": 1,
        "changed": 1,
        "gone": 0,
    }
    shown = own("plan").out
    assert "filter.length: min_chars 20 -> 25" in shown
    assert "would run: " in shown
    (own.path / "data" / "a.jsonl").unlink()
    assert own("plan", "--json").json["sources"]["web"]["gone"] == 1


def test_before_the_first_run(fresh):
    assert "no snapshot yet" in fresh("status").out
    assert fresh("plan", "--json").json["sources"]["web"]["new"] == 1
    for argv in (["log"], ["show"], ["explain", "x"], ["verify"], ["export"]):
        answer = fresh(*argv)
        assert answer.code == 2, argv
        assert "gristmill run" in answer.err


def test_data_cannot_steer_the_terminal(ran):
    for argv in (
        ["inspect", "--kept"],
        ["inspect", "--kept", "--json"],
        ["explain", f"web/{EVIL}"],
        ["show", "--json"],
    ):
        shown = ran(*argv).out
        assert "[red]" in shown or "show" in argv
        assert not set(shown) & {"\x1b", "\x07", "\u202e"}, argv


def test_status_names_who_holds_the_dataset(own):
    with (own.path / "corpus" / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "pid" in own("status", "--json").json["lock"]
    assert own("status", "--json").json["lock"] is None


def test_a_reader_that_stops_early_is_no_failure(ran):
    process = subprocess.Popen(command("schema"), cwd=ran.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read().decode().removeprefix(COLD) == ""
    process.stderr.close()
    assert process.wait(60) == 0


def test_ascii_locale(ran):
    answer = ran.process("inspect", "--kept", "--json", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert answer.code == 0
    assert answer.out.isascii()
    assert len(answer.json) == 9


def test_config_is_found_from_below_or_named(ran):
    below = type(ran)(ran.path / "data")
    assert below("status").code == 0
    elsewhere = type(ran)(ran.path.parent)
    assert elsewhere("status", "-c", ran.path / "gristmill.yml").code == 0
    assert elsewhere("-c", ran.path / "gristmill.yml", "--json", "status").json["snapshot"] == 1


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["inspect"], "exactly one of --kept"),
        (["inspect", "--kept", "--dropped"], "exactly one of --kept"),
        (["inspect", "--kept", "--run", "9"], "no run 9"),
        (["show", "9"], "no report"),
        (["verify", "9"], "there is no snapshot 9"),
        (["explain", "nobody"], "'nobody'"),
        (["parts", "filter.lenght"], "did you mean 'filter.length'?"),
        (["export", "chunk"], "there is no export 'chunk'"),
        (["export", "--snapshot", "7"], "only the newest snapshot, 1, can be exported; there is no snapshot 7"),
        (["docs", "--output", "nowhere/page.md"], "'nowhere/page.md' cannot be written (No such file"),
        (["docs", "--output", "."], "'.' cannot be written (Is a directory)"),
        (["airflow", "render", "nowhere/dag.py"], "'nowhere/dag.py' cannot be written"),
        (["try", "nothing.jsonl"], "there is no file"),
        (["try", "data/a.jsonl", "-n", "0"], "-n"),
        (["status", "-c", "none.yml"], "none.yml"),
        (["run", "--set", "gate=1=2x"], "gate"),
        (["run", "--workers", "0"], "--workers"),
        (["run", "--accept-gate", "min_docs"], "--why"),
        (["run", "--why", "so"], "--accept-gate RULE"),
        (["stage", "work", "9", "read"], "has no plan"),
        (["stage", "work", "1", "read", "--part", "x"], "such as 1/4"),
        (["stage", "commit", "9"], "run 9 is not open"),
    ],
)
def test_wrong_use_is_2_with_what_to_do(ran, own, argv, told):
    answer = (own if argv[0] == "stage" else ran)(*argv, "--json")  # that a stage failed is remembered
    assert answer.code == 2, answer.err
    assert all(line.startswith("error: ") for line in answer.err.removeprefix(COLD).splitlines())
    assert told in answer.err
    assert answer.json["status"] == "failed"
    assert told in answer.json["errors"][0]["message"]


def test_try_shows_before_and_after(ran):
    shown = ran("try", "data/a.jsonl", "-n", "12").out
    assert "record 1: web/d0" in shown
    assert "+ " in shown
    assert "\\x1b[31m red" in shown  # as it was read
    assert "[bold]markup[/bold]" in shown
    assert "dropped: too_short (chars 10, min_chars 20)" in shown
    assert "skipped: looks at all records together" in shown
    assert "quarantined: json.syntax" in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}


def test_try_as_json(ran):
    tried = ran("try", "data/a.jsonl", "-n", "2", "--json").json
    assert [one["id"] for one in tried] == ["web/d0", "web/d1"]
    assert tried[0]["text"] == TEXTS[0]
    assert [step["step"] for step in tried[0]["steps"]] == ["clean.text", "filter.length", "dedup.exact", "require"]


def test_try_without_a_config(tmp_path, ran):
    (tmp_path / "x.jsonl").write_text('{"body": "A record without a config, long enough to stay."}\n')
    answer = type(ran)(tmp_path)("try", "x.jsonl")
    assert answer.code == 0, answer.err
    assert "default steps" in answer.err
    assert "A record without a config" in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]
