"""SEC8: a secret stands in the config as a reference, and comes out nowhere, whatever happens to the run.

A canary stands in every field that can hold a secret, of every source, export, alert and monitor. A server says them back in its
errors. Then all that was written is searched, in every spelling in which a secret could have got there. The addresses of `web` are no such
fields: an address is what a page is known by, and is published with it.
"""

import base64
import html
import http.server
import json
import os
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.examples import some

from gristmill.core import failpoints, references


class Echo(http.server.BaseHTTPRequestHandler):
    """Refuses everything, and says back all that it was told."""

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        told = f"{self.path} {self.headers} {self.rfile.read(length).decode(errors='replace')}"
        body = json.dumps({"error": f"who are you? {told}", "message": told}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def port():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def config(port, keys_folder):
    """Give a config with a reference in every field that can hold a secret, every third to a file; exports to a store; the number of references.

    Those exports stand apart, as a folder that cannot be made ends a run before it begins.
    """
    n = 0

    def canary():
        nonlocal n
        n += 1
        return f"${{file:{keys_folder}/CANARY_{n}}}" if n % 3 == 0 else f"${{env:CANARY_{n}}}"

    here = f"http://127.0.0.1:{port}"
    rest = {"endpoint": f"{here}/api", "allow_hosts": ["127.0.0.1"], "attempts": 1, "wait_s": 0}
    store = {"endpoint": here, "region": "r", "allow_http": "true", "retries": 0}
    keys = {"access_key_id": "id"} | store
    http = {"allow_hosts": ["127.0.0.1"], "retries": 0}
    parts = {
        "bearer": {"rest": rest | {"auth": {"bearer": canary()}}},
        "header": {
            "rest": rest | {"auth": {"key": {"secret": canary(), "header": "X-Key"}}, "headers": {"X-Other": canary()}}
        },
        "query": {"rest": rest | {"auth": {"key": {"secret": canary(), "query": "k"}}, "params": {"p": canary()}}},
        "basic": {"rest": rest | {"auth": {"basic": {"user": "u", "password": canary()}}}},
        "body": {"rest": rest | {"method": "POST", "body": {"token": canary()}}},
        "oauth": {
            "rest": rest
            | {
                "auth": {
                    "oauth2": {
                        "token_url": f"{here}/t",
                        "client_id": "c",
                        "client_secret": canary(),
                        "params": {"x": canary()},
                    }
                }
            }
        },
        "url": {"rest": rest | {"endpoint": f"{here}/api?sig={canary()}"}},
        "children": {
            "rest": rest | {"endpoint": f"{here}/{{id}}", "parents": {"endpoint": here, "params": {"key": canary()}}}
        },
        "page": {"files": {"path": f"{here}/a.jsonl", "storage": http | {"token": canary()}}},
        "signed": {"files": {"path": f"{here}/a.jsonl?X-Amz-Signature={canary()}", "storage": http}},
        "shell": {"files": {"path": "sftp://u@127.0.0.1:1/in/*.jsonl", "storage": {"password": canary()}}},
        "bucket": {
            "files": {
                "path": "s3://b/*.jsonl",
                "storage": keys | {"secret_access_key": canary(), "session_token": canary()},
            }
        },
        "crawl": {"warc": {"path": "s3://b/*.warc", "storage": keys | {"secret_access_key": canary()}}},
        "base": {"sql": {"dsn": f"postgresql://u:{canary()}@127.0.0.1:1/d", "table": "t", "key": "id"}},
        "maria": {"sql": {"dsn": f"mysql+pymysql://u:{canary()}@127.0.0.1:1/d", "table": "t", "key": "id"}},
        "taps": {"dlt": {"resource": "./tap.py:tap", "key": "id", "arguments": {"password": canary()}}},
    }
    plain = {"files": {"path": "in/*.jsonl", "id": "id"}}
    return {
        "version": 1,
        "dataset": "./set",
        "sources": [{"name": "plain", **plain}, *({"name": name, "on_error": "skip", **part} for name, part in parts.items())],
        "steps": ["clean.text"],
        "gate": {"min_quality_score": 0},
        "exports": [
            {"name": "x", "jsonl": {"path": "./out"}},
            {"name": "t", "sql": {"dsn": f"postgresql://u:{canary()}@127.0.0.1:1/d", "table": "t"}},
            {"name": "p", "sql": {"dsn": f"postgresql://u@127.0.0.1:1/d?password={canary()}", "table": "t"}},
        ],
        "storage": keys | {"secret_access_key": canary(), "session_token": canary()},
        "alerts": [
            {"webhook": {"url": f"{here}/hook/{canary()}", "headers": {"Authorization": canary()}}},
            {"apprise": {"url": f"json://u:{canary()}@127.0.0.1:{port}/x"}},
            {"email": {"to": "a@example.org", "from": "b@example.org", "host": "127.0.0.1", "port": 1, "user": "u", "password": canary()}},
        ],
        "monitoring": {
            "textfile": "./metrics.prom",
            "pushgateway": f"{here}/{canary()}",
            "openlineage": {"url": here, "api_key": canary()},
        },
    }, [
        {"name": "far", "jsonl": {"path": "s3://b/far"}},
        {"name": "own", "parquet": {"path": "s3://b/own", "storage": keys | {"secret_access_key": canary()}}},
    ], n  # fmt: skip


def spellings(secret):
    """Give the ways in which a secret could be written."""
    quoted = {urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
    coded = {
        base64.b64encode(text.encode()).decode().rstrip("=")[:-2] for text in (secret, f"u:{secret}", f"c:{secret}")
    }
    return {secret, secret[:20], html.escape(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]} | quoted | coded


TAP = """
import dlt

@dlt.resource
def tap(password=""):
    raise RuntimeError(f"cannot log in with {password}")
    yield {}
"""
LATER = [
    ["check"], ["plan", "--json"], ["status", "--json"], ["log", "--json"], ["show", "1", "--json"], ["explain", "plain/1", "--json"],
    ["verify"], ["inspect", "--quarantined"], ["report", "1"], ["--debug", "export", "t"], ["stage", "plan"],
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory, port, gristmill):
    folder, keys_folder = tmp_path_factory.mktemp("secrets"), tmp_path_factory.mktemp("keys")
    told, far, n = config(port, keys_folder)
    (folder / "gristmill.yml").write_text(json.dumps(told))
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl").write_text('{"id": 1, "text": "some text"}\n{"id": 2, "text": \n')
    (folder / "tap.py").write_text(TAP)
    # Where one goes into a header or an address it must be able to: no blank, no slash.
    canaries = {f"CANARY_{i + 1}": f"canary{i + 1:02}-Zq7Xw9Lm2Tk5-+~" for i in range(n)}
    for name, secret in canaries.items():
        (keys_folder / name).write_text(secret + "\n")
    return Lab(folder, far, canaries, gristmill)


class Lab(NamedTuple):
    """A folder with a config full of secrets, and the command."""

    folder: Path
    far: list[dict]
    canaries: dict[str, str]
    command: Callable[..., tuple[int, bytes]]

    def run(self, *argv, **more):
        return self.command(self.folder, *argv, env=self.canaries | more)


def hits(lab, said):
    """Give where a canary stands: in what was said, or in a file."""
    folder, canaries = lab.folder, lab.canaries
    ours = {"gristmill.yml", "tap.py"}
    texts = {f"said by {name}": text for name, text in said.items()}
    texts |= {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in ours
    }
    looked = [(name, form) for name, secret in canaries.items() for form in spellings(secret)]
    return [(place, name) for place, text in texts.items() for name, form in looked if form.encode() in text]


def test_no_secret_comes_out_of_a_run_that_ends_fails_or_dies(lab):
    """What a scheduler is handed and hands on (XCom) is what `gristmill stage` says."""
    folder = lab.folder
    told = json.loads((folder / "gristmill.yml").read_text())
    said = {}
    code, said["the run that dies"] = lab.run("run", "--json", GRISTMILL_FAILPOINT="commit.before_delta=kill")
    assert code == -9
    code, said["the run that goes on"] = lab.run("run", "--json")
    assert code in {0, 1}, said["the run that goes on"].decode()
    assert (folder / "set" / "runs" / "1" / "report.json").exists(), said["the run that goes on"].decode()
    report = json.loads((folder / "set" / "runs" / "1" / "report.json").read_bytes())
    failed = {error["source"] for error in report["errors"]} - {None, "plain"}
    assert failed == {one["name"] for one in told["sources"][1:]}, "what was not even asked says nothing of secrets"
    assert {error["context"].get("export") for error in report["errors"]} >= {"t", "p"}
    for argv in LATER if os.environ.get("GRISTMILL_SOAK") else LATER[1::2]:  # all of them take half a minute
        code, said[" ".join(argv)] = lab.run(*argv)
    told["sources"] = [{key: value for key, value in one.items() if key != "on_error"} for one in told["sources"]]
    (folder / "gristmill.yml").write_text(json.dumps(told))
    code, said["the run that fails"] = lab.run("run")
    assert code in {1, 2}
    told["exports"] += lab.far
    (folder / "gristmill.yml").write_text(json.dumps(told))
    for name in ("far", "own"):
        code, said[f"export {name}"] = lab.run("--debug", "export", name)
        assert b"PermissionDenied" in said[f"export {name}"]
    assert sorted(set(hits(lab, said))) == []


def test_the_search_would_find_one(lab):
    name, secret = next(iter(lab.canaries.items()))
    for form in spellings(secret):
        assert ("said by x", name) in hits(lab, {"x": f"a {form} b".encode()})


URL = "https://h/a.jsonl"
SPELLED = [
    ("sql", {"dsn": "postgresql://me:hunter2secret@h/d", "table": "t", "key": "id"}),
    ("sql", {"dsn": "postgresql://me@h/d?password=hunter2secret", "table": "t", "key": "id"}),
    ("sql", {"dsn": "postgresql://me@h/d?sslmode=require&sslpassword=hunter2secret", "table": "t", "key": "id"}),
    ("sql", {"dsn": "mysql+pymysql://me@h/d?Passwd=hunter2secret", "table": "t", "key": "id"}),
    ("sql", {"dsn": "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dhunter2secret", "table": "t", "key": "id"}),
    ("rest", {"endpoint": "https://me:hunter2secret@h/api"}),
    ("rest", {"endpoint": "https://h/api", "auth": {"bearer": "hunter2secret"}}),
    ("rest", {"endpoint": "https://h/api", "auth": {"basic": {"user": "u", "password": "hunter2secret"}}}),
    ("rest", {"endpoint": "https://h/api", "auth": {"key": {"secret": "hunter2secret", "header": "X"}}}),
    ("rest", {"endpoint": "https://h/api?a=1&api_key=hunter2secret"}),
    ("rest", {"endpoint": "https://h/api?key=hunter2secret&cx=${env:HOME}"}),
    ("rest", {"endpoint": "https://h/api", "params": {"sig": "hunter2secret"}}),
    ("rest", {"endpoint": "https://h/api", "headers": {"X-API-Key": "hunter2secret"}}),
    ("files", {"path": "s3://b/*", "storage": {"secret_access_key": "hunter2secret"}}),
    ("files", {"path": f"{URL}?sv=1&sig=hunter2secret"}),
    ("files", {"path": [f"{URL}?a=1", f"{URL}?X-Amz-Signature=hunter2secret"]}),
    ("files", {"path": f"{URL}?X-Goog%2DSignature=hunter2secret"}),
    ("warc", {"path": f"{URL}?access_token=hunter2secret"}),
]


@pytest.mark.slice
@pytest.mark.parametrize(("part", "params"), some(SPELLED, 6), ids=lambda value: str(value)[:40])
def test_a_secret_that_is_spelled_out_is_refused_and_not_repeated(gristmill, tmp_path, part, params):
    _is_refused(gristmill, tmp_path, {"sources": [{"name": "a", part: params}]})


HOOKS = [
    ("webhook", "https://hooks.slack.com/services/T00000000/B00000000/hunter2XXXXXXXXXXXXXXXXX"),
    ("webhook", "https://discord.com/api/webhooks/123456789012345678/hunter2aBcDeFgHiJ_kLm"),
    ("webhook", "https://t.webhook.office.com/webhookb2/6b8f0a4c-1111-2222-3333-444455556666/IncomingWebhook/hunter2"),
    ("webhook", "https://discord.com/api/webhooks/1/hunter2short"),
    ("webhook", "https://h/hooks/hunter2/0123456789abcdef01234567"),
    ("apprise", ["json://localhost", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7hunter2"]),
    ("apprise", "tgram://123456789:hunter2aBcDeFgHiJkLmN/1234"),
]


def test_an_address_of_a_hook_that_lets_nobody_in_may_be_spelled_out():
    for url in (
        "https://hooks.example.org/alerts/corpus-team-2026",
        "https://h:8443/hook?x=1",
        "${env:HOOK}/services",
        "https://ci.example.com/hooks/myproject2024pipeline",
        "https://h/workflows/0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d/run?sig=${env:SIG}",
        "https://Prod01Alertmanager02.corp.example/hook",
    ):
        assert list(references.written_secrets({"alerts": [{"webhook": {"url": url}}]})) == []
    for url in (
        "mailto://mill@example.org",
        "json://Prod01Alertmanager02.corp.example/hook",
        "mailtos://user1234567890Abcd:${env:PW}@h.org",
    ):
        assert list(references.written_secrets({"alerts": [{"apprise": {"url": ["json://h", url]}}]})) == []
    assert not references.is_secret(("sources", 0, "files", "path"), "https://h/d/0a1b2c3d4e5f6a7b8c9d.jsonl")


def test_a_secret_that_is_spelled_out_beside_sources_is_refused_too(gristmill, tmp_path):
    plain = {"sources": [{"files": {"path": "in/*.jsonl"}}]}
    _is_refused(
        gristmill,
        tmp_path,
        plain | {"exports": [{"sql": {"dsn": "postgresql://u@h/d?password=hunter2secret", "table": "t"}}]},
    )
    _is_refused(gristmill, tmp_path, plain | {"alerts": [{"webhook": {"url": "https://h/hook?sig=hunter2secret"}}]})
    for kind, url in HOOKS:
        _is_refused(gristmill, tmp_path, plain | {"alerts": [{kind: {"url": url}}]})
    _is_refused(
        gristmill, tmp_path, plain | {"overlays": {"big": {"storage": {"endpoint": "https://h/?sig=hunter2secret"}}}}
    )


def _is_refused(gristmill, tmp_path, told):
    (tmp_path / "gristmill.yml").write_text(json.dumps({"version": 1, "dataset": "./set"} | told))
    code, said = gristmill(tmp_path, "check")
    assert code == 2, said.decode()
    assert b"hunter2" not in said
    assert b"${env:" in said
    assert b"gristmill.yml:1:" in said
    assert not (tmp_path / "set").exists()


def test_every_failpoint_the_test_uses_is_one():
    assert "commit.before_delta" in failpoints.NAMES
