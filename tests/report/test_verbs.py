"""`gristmill report` and `gristmill ui` from outside."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import webbrowser

import pytest
from tests.report import worlds

from gristmill import cli
from gristmill.console import session


@pytest.fixture(scope="module", name="world")
def _world():
    return worlds.shared(worlds.two_runs)


@pytest.fixture(name="gristmill")
def _gristmill(world):
    def call(*argv):
        """Run a verb in this process; give its exit code and what it said."""
        vars(session.ASKED).update(vars(session.Asked()))
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(world.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.perform(list(argv))
        return code, out.getvalue(), err.getvalue()

    return call


def test_report_makes_the_page_again_and_tells_its_path(world, gristmill):
    page = world.dataset / "runs" / "1" / "report.html"
    before = page.read_text("utf-8")
    page.unlink()
    assert gristmill("report", "1") == (0, f"{page}\n", "")
    assert page.read_text("utf-8") == before
    newest = world.dataset / "runs" / "2" / "report.html"
    code, out, _ = gristmill("report", "--json")
    assert (code, json.loads(out)) == (0, {"run": 2, "path": str(newest), "bytes": newest.stat().st_size})
    code, out, err = gristmill("report", "9")
    assert (code, out) == (2, "")
    assert "run 9 has no report" in err


def test_report_opens_the_page_in_the_browser_of_the_user(world, gristmill, tmp_path, monkeypatch):
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    monkeypatch.setattr(webbrowser, "_tryorder", None)  # it looks at BROWSER once a process
    assert gristmill("report", "2", "--open")[0] == 0
    assert (tmp_path / "opened").read_text() == (world.dataset / "runs" / "2" / "report.html").as_uri() + "\n"


def test_ui_says_what_is_missing(gristmill, monkeypatch):
    for name in [
        name for name in sys.modules if name == "gristmill.ui" or name.startswith(("gristmill.ui.", "starlette"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    code, out, err = gristmill("ui", "--port", "0")
    assert (code, out) == (2, "")
    assert 'pip install "gristmill[ui]"' in err


def test_ui_says_that_its_port_is_taken(gristmill):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = gristmill("ui", "--port", str(taken.getsockname()[1]))
    assert (code, out) == (2, "")
    assert "give another with --port" in err


def test_neither_verb_is_loaded_for_help():
    command = [sys.executable, "-m", "gristmill", "--help"]
    env = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not {"jinja2", "starlette", "uvicorn", "webbrowser"} & loaded
