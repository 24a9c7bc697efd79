"""What the tests of the command line share: calling it, and a small project that has run once."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from gristmill import cli
from gristmill.console import session

CONFIG = """version: 1
dataset: ./corpus
sources:
  - name: web
    files: {path: "data/*.jsonl", text: text, id: id, url: url}
steps:
  - clean.text
  - filter.length: {min_chars: 20}
  - dedup.exact
exports:
  - name: chunks
    jsonl: {path: ./out}
"""
TEXTS = [f"The mill grinds whatever comes: this is sack number {i}." for i in range(8)]
EVIL = "evil\x1b]0;pwned\x07[red]\u202edot"


def records():
    made = [{"id": f"d{i}", "text": text, "url": f"https://example.org/{i}"} for i, text in enumerate(TEXTS)]
    made.append({"id": "twin", "text": TEXTS[0]})
    made.append({"id": "short", "text": "Too short."})
    made.append({"id": EVIL, "text": "Control characters:\x07 \x1b[31m red, \u202e turned, [bold]markup[/bold]."})
    return made


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@dataclass
class Answer:
    """What one call gave."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out.splitlines()[-1])


@dataclass
class Project:
    """A folder with a config, in which verbs are called."""

    path: object

    def __call__(self, *argv) -> Answer:
        """Run `gristmill` in this process, which is fast; no test ever sees a traceback unless it asks for one."""
        vars(session.ASKED).update(vars(session.Asked()))
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2)]
        with contextlib.chdir(self.path), redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            code = cli.perform([str(word) for word in argv])
        return self._answer(code, *(stream.buffer.getvalue() for stream in streams), argv)

    def process(self, *argv, **env):
        """Run it in a process of its own."""
        done = subprocess.run(
            command(*argv),
            cwd=self.path,
            env=os.environ | {"PYTHONWARNINGS": "error"} | env,
            capture_output=True,
            timeout=120,
            check=False,
        )
        return self._answer(done.returncode, done.stdout, done.stderr, argv)

    def _answer(self, code, out, err, argv):
        answer = Answer(code, out.decode("utf-8"), err.decode("utf-8"))
        assert "--debug" in argv or "Traceback" not in answer.out + answer.err, answer.err
        return answer

    def config(self, text):
        (self.path / "gristmill.yml").write_text(text, "utf-8")
        return self


def command(*argv):
    return [sys.executable, "-m", "gristmill", *map(str, argv)]


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """Give a project that has run once; only for reading."""
    project = Project(tmp_path_factory.mktemp("ran")).config(CONFIG)
    lines = write(project.path / "data" / "a.jsonl", records())
    with lines.open("a") as file:
        file.write('{"id": "broken", "text": "cut o\n')
    answer = project.process("run")
    assert answer.code == 0, answer.err
    project.first = answer
    return project


@pytest.fixture
def own(ran, tmp_path):
    """Give a copy of it that a test may change."""
    shutil.copytree(ran.path, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path):
    """Give a project that has not run, with a config and a few records."""
    write(tmp_path / "data" / "a.jsonl", records())
    return Project(tmp_path).config(CONFIG)
