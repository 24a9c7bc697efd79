"""SEC10: what data holds cannot act on a terminal: no escape sequence, no markup, no bidi, on any verb that shows data."""

import json
import unicodedata

import pytest

from gristmill import cli

EVIL = "\x1b]0;pwned\x07\x1b[2J\x9b31m[red]not red[/red]\u202egnp.exe\u2066\u200e\ufeff\r\x08\x7f"
NAME = "e\x1b[31mvil \u202e[bold].jsonl"
CONFIG = "c\x1b[31m \u202e[bold].yml"
# What a verb is called with here; any other, also one that is yet to come, is called with nothing.
CALLED = {
    **{verb: [[verb], [verb, "-c", CONFIG]] for verb in ("check", "docs", "test", "upgrade", "verify")},
    "try": [["try", f"in/{NAME}"]],
    "show": [["show", "1"], ["show", "1", "--json"]],
    "explain": [["explain", f"a/{EVIL}"], ["explain", f"a/{EVIL}", "--json"], ["explain", f"http://h/{EVIL}"]],
    "inspect": [["inspect", f"--{kind}", "-n", "50"] for kind in ("kept", "dropped", "duplicates", "quarantined")]
    + [["inspect", "--kept", "--json"], ["inspect", "--dropped", "--reason", EVIL]],
    "log": [["log"], ["log", "--json"]],
    "status": [["status"], ["status", "--json"]],
    "plan": [["plan"], ["plan", "--json"], ["plan", "-c", CONFIG], ["plan", "-c", f"no{CONFIG}"]],
    "run": [["run"], ["run", "--json"], ["run", "--source", EVIL], ["run", "--set", f"{EVIL}=1"]],
    "report": [["report", "1"]],
    "diff": [["diff", "1", "2"], ["diff", "1", "2", "--json"]],
    "export": [["export", EVIL]],
    "parts": [["parts", EVIL]],
    "quarantine": [["quarantine", "ls"], ["quarantine", "ls", "--json"], ["quarantine", "retry", "--code", EVIL]],
    "adopt": [["adopt", f"in/{NAME}"]],
    "rollback": [["rollback", "1"]],
    "stage": [["stage", "plan"]],
    "airflow": [["airflow", "--help"]],
}
NOT_CALLED = {"ui": "a server", "init": "writes a config, here there is one", "warmup": "compiles"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    (folder / "in").mkdir()
    records = [
        {"id": EVIL, "text": f"some text {EVIL}", "lang": EVIL, "url": f"http://h/{EVIL}", EVIL: EVIL},
        {"id": "twin", "text": f"some text {EVIL}"},
        {"id": "short", "text": "\x1b[31m"},
    ]
    lines = [json.dumps(record) for record in records] + ['{"id": "bad\x1b[31m", "text": 1', '{"text": "\\ud800"}']
    (folder / "in" / NAME).write_text("\n".join(lines) + "\n", "utf-8")
    config = {
        "version": 1,
        "dataset": "./set",
        "description": EVIL,
        "sources": [{"name": "a", "owner": EVIL, "files": {"path": "in/*", "id": "id", "lang": "lang", "url": "url"}}],
        "steps": [{"filter.length": {"min_chars": 8}}, "dedup.exact"],
        "gate": {"min_quality_score": 0},
        "exports": [{"name": "x", "jsonl": {"path": "./out"}}],
    }
    for name in ("gristmill.yml", CONFIG):
        (folder / name).write_text(json.dumps(config))
    return folder


def acting(said):
    """Give the characters of an output that could act on a terminal, but for the ends of lines: what Unicode calls control or format."""
    return sorted(
        {char for char in said.decode("utf-8") if unicodedata.category(char) in {"Cc", "Cf"} and char != "\n"}
    )


def test_no_verb_lets_data_act_on_a_terminal(gristmill, folder):
    code, said = gristmill(folder, "run")
    assert code == 0, said
    _, said = gristmill(folder, "inspect", "--kept", "-n", "5")
    assert b"\\x1b" in said, "it is not left out, but written out"
    with (folder / "in" / NAME).open("a") as file:
        file.write('{"id": "more\\u001b[2J", "text": "some more text"}\n')
    verbs = {name for name, *_ in _verbs()} - set(NOT_CALLED)
    seen = {}
    for verb in ["run", *sorted(verbs - {"run"})]:
        for argv in CALLED.get(verb, [[verb]]):
            code, said = gristmill(folder, *argv)
            seen[" ".join(argv)] = code
            assert acting(said) == [], (argv, said)
            assert b"Traceback" not in said, (argv, said)
            assert b"unexpected" not in said, (argv, said)
    assert {code for argv, code in seen.items() if argv in {"show 1", "log", "status", "inspect --kept -n 50"}} == {0}


def _verbs():
    return [(name,) for name in cli.command().commands]
