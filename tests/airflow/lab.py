"""An Airflow of its own for tests: a home in a temporary folder, loopback only, and people who get its mails and hooks."""

import contextlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from email import message_from_bytes, policy
from pathlib import Path

from aiosmtpd.controller import Controller

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-airflow" / "bin"
GRISTMILL = Path(sys.executable).parent / "gristmill"
DATA = ROOT / "examples" / "quickstart" / "data"
INSTALLED = (BIN / "airflow").exists()
WORD = "correct-horse-battery"  # what ${env:MILL_WORD} stands for
PROSE = "night train from the coast"  # words of a document

CONFIG = """version: 1
dataset: ./corpus
description: Prose for a test
sources:
  - name: web
    files: {path: "data/web/*", text: text, id: id, url: url, lang: lang}
    license: "${env:MILL_WORD}"
  - name: articles
    files: {path: "data/articles/*", text: "{title}\\n\\n{body}", id: id, time: published}
  - name: notes
    files: {path: "data/notes/**/*.txt"}
steps:
  - clean.text
  - filter.length: {min_chars: 30}
  - dedup.exact
exports:
  - name: chunks
    jsonl: {path: ./out}
gate: {min_quality_score: 0.5}
airflow:
  start_date: 2026-03-01
  owner: corpus-team
  emails: [one@example.org, two@example.org]
  apprise: [mill_hook]
  groups: 2
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class People:
    """A mail server and a web hook on loopback, which keep what they are sent."""

    def __init__(self):
        self.mails, self.posts = [], []
        people = self

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                people.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        class Mails:
            async def handle_DATA(self, server, session, envelope):  # noqa: N802  aiosmtpd calls it so
                people.mails.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
                return "250 kept"

        self.hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.smtp = Controller(Mails(), hostname="127.0.0.1", port=free_port())

    def __enter__(self):
        threading.Thread(target=self.hook.serve_forever, daemon=True).start()
        self.smtp.start()
        return self

    def __exit__(self, *_):
        self.smtp.stop()
        self.hook.shutdown()
        self.hook.server_close()

    def env(self):
        """How Airflow is told of them: a connection and a variable, as an operator would."""
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "mill@example.org"}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": self.smtp.port, "extra": extra}
        hook = f"json://127.0.0.1:{self.hook.server_port}/hook"
        return {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp), "AIRFLOW_VAR_MILL_HOOK": hook}


class Airflow:
    """A home of Airflow, and commands in it. Nothing of this process's environment but the path gets there."""

    def __init__(self, home, people, **settings):
        self.home = Path(home)
        (self.home / "dags").mkdir(parents=True)
        self.env = {
            "HOME": str(self.home),
            "PATH": f"{BIN}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "PYTHONPATH": str(ROOT / "src"),
            "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", ""),
            "MILL_WORD": WORD,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "*",
            **people.env(),
            **settings,
        }
        self.env = {name: value for name, value in self.env.items() if value}

    def run(self, *command, timeout_s=240):
        """Run a command to its end."""
        return subprocess.run(
            [str(word) for word in command],
            env=self.env, cwd=self.home, capture_output=True, text=True, timeout=timeout_s, check=False
        )  # fmt: skip

    def airflow(self, *words):
        return self.run(BIN / "airflow", *words)

    def probe(self, *words):
        """Ask `probe.py`, which runs in Airflow's environment, and give what it answers."""
        done = self.run(BIN / "python", Path(__file__).with_name("probe.py"), *words)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    def project(self, name, text=CONFIG, data=True, render=True, executable=GRISTMILL):
        """Make a folder with a config and data, and render its DAG."""
        folder = self.home / name
        folder.mkdir()
        (folder / "gristmill.yml").write_text(text)
        if data:
            shutil.copytree(DATA, folder / "data")
        if render:
            self.render(name, executable)
        return folder

    def render(self, name, executable=GRISTMILL):
        """Write the DAG of a folder, in one step as Airflow may look at any time."""
        scratch, config = self.home / f"{name}.tmp", self.home / name / "gristmill.yml"
        done = self.run(GRISTMILL, "airflow", "render", scratch, "-q", "--executable", executable, "-c", config)
        assert done.returncode == 0, done.stderr
        scratch.replace(self.home / "dags" / f"{name}.py")

    def everything(self):
        """Give all that Airflow wrote: its database and its logs."""
        files = [
            path
            for path in self.home.rglob("*")
            if path.is_file() and path.suffix in {".db", ".log", ".db-wal", ".out"}
        ]
        return b"".join(path.read_bytes() for path in files)


@contextlib.contextmanager
def airflow(folder, migrated=True, **settings):
    """Give an Airflow, its database made unless that is left to who asked, and its people."""
    with People() as people:
        made = Airflow(folder, people, **settings)
        if migrated:
            done = made.airflow("db", "migrate")
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        yield made, people
