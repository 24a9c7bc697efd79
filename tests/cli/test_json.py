"""With --json every verb prints one line of JSON, whatever it does besides and however it ends."""

import pytest

from gristmill import cli


def test_docs_in_a_file_tell_where_it_is(own):
    answer = own("docs", "--output", "page.md", "--json")
    assert (answer.code, answer.json["path"]) == (0, "page.md")
    assert answer.json["bytes"] == (own.path / "page.md").stat().st_size


def test_a_rendered_dag_is_told_as_json(own):
    printed = own("airflow", "render", "--json")
    assert (printed.code, printed.json["path"]) == (0, None)
    assert "make_dag(DESCRIBED, GRISTMILL)" in printed.json["text"]
    written = own("airflow", "render", "dag.py", "--json").json
    assert (written["path"], written["text"]) == ("dag.py", (own.path / "dag.py").read_text())
    assert own("airflow", "render").out == written["text"]


@pytest.mark.parametrize(
    "argv",
    [["nosuch"], ["log", "--bogus"], ["inspect"], ["show", "x"], ["gc", "--name", "x"], ["run", "--forward", "--redecide"],
     ["airflow", "render", "--bogus"], ["quarantine"], ["stage", "work"], ["run", "--window", "x", "--source", "web"]],
)  # fmt: skip
def test_wrong_use_is_told_as_json(ran, argv):
    answer = ran(*argv, "--json")
    assert (answer.code, answer.json["status"], answer.out.count("\n")) == (2, "failed", 1)
    assert set(answer.json["errors"][0]) == {"stage", "source", "code", "message", "time", "context"}


def test_an_interrupt_is_told_as_json(ran, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "command", interrupted)
    answer = ran("log", "--json")
    assert (answer.code, answer.json["errors"][0]["code"]) == (130, "Stopped")
