"""dlt's own ready-made sources, named in a config as they come: a REST API on the loopback address, SQLite, files."""

import gc
import json
import sqlite3
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.properties.lab import Lab

pytest.importorskip("dlt", reason="the extra dlt is not installed")

POSTS = [{"id": i, "body": f"post {i}", "updated": i} for i in range(1, 8)]


class _Api(BaseHTTPRequestHandler):
    """/posts?since=&page=: three records a page, a token needed."""

    def do_GET(self):
        asked = parse_qs(urlsplit(self.path).query)
        since, page = (int(asked.get(name, ["0"])[0]) for name in ("since", "page"))
        self.server.asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer tok-777":
            return self._answer(401, {})
        rows = [post for post in self.server.posts if post["updated"] >= since]
        return self._answer(200, {"items": rows[page * 3 : page * 3 + 3], "total": len(rows)})

    def _answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(name="api")
def _api():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    server.posts, server.asked = list(POSTS), []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def rest_api(server):
    client = {
        "base_url": f"http://127.0.0.1:{server.server_port}/",
        "auth": {"type": "bearer", "token": "${env:DLT_TOKEN}"},
        "paginator": {"type": "page_number", "base_page": 0, "total_path": None, "stop_after_empty_page": True},
    }
    endpoint = {
        "path": "posts",
        "data_selector": "items",
        "incremental": {"start_param": "since", "cursor_path": "updated", "initial_value": 0, "row_order": "asc"},
    }
    config = {"client": client, "resources": [{"name": "posts", "endpoint": endpoint}]}
    return {
        "resource": "dlt.sources.rest_api:rest_api_source",
        "arguments": {"config": config},
        "select": "posts",
        "key": "id",
        "text": "body",
    }


def lab(folder, item):
    return Lab(folder, {"sources": [{"name": "s", "dlt": item}], "require": {"min_chars": 1}})


def texts(made):
    assert made.broken() == []
    return {row.id.removeprefix("s/"): row.text for row in made.rows()}


def test_a_rest_api_is_read_by_cursor(api, tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_TOKEN", "tok-777")
    made = lab(tmp_path, rest_api(api))
    assert made.run().status == "published"
    assert texts(made) == {str(post["id"]): post["body"] for post in POSTS}
    api.posts[6] = api.posts[6] | {"body": "changed at the same cursor value"}
    api.posts.append({"id": 8, "body": "post 8", "updated": 8})
    api.asked.clear()
    assert made.run().counts.published == 2
    assert all("since=7" in path for path in api.asked)
    assert texts(made)["7"] == "changed at the same cursor value"
    assert made.run().status == "nothing_new"
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"tok-777" in content for content in written)


def test_a_rest_api_that_refuses_the_token_stops_the_run(api, tmp_path, monkeypatch):
    monkeypatch.setenv("DLT_TOKEN", "tok-000")
    made = lab(tmp_path, rest_api(api))
    with pytest.raises(Exception, match="status 401") as raised:
        made.run()
    assert "tok-000" not in str(raised.value)
    del raised
    with (
        warnings.catch_warnings()
    ):  # dlt's session leaves the answer it refused unread, and so a socket to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("backend", ["sqlalchemy", "pyarrow"])
def test_a_table_is_read_by_cursor(tmp_path, backend):
    pytest.importorskip("sqlalchemy", reason="the extra sql is not installed")
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, version INTEGER)")
        db.executemany("INSERT INTO notes VALUES (?, ?, ?)", [(i, f"note {i}", i) for i in range(1, 2501)])
    db.close()
    made = lab(
        tmp_path,
        {
            "resource": "dlt.sources.sql_database:sql_table",
            "arguments": {
                "credentials": f"sqlite:///{tmp_path}/shop.db",
                "table": "notes",
                "chunk_size": 1000,
                "backend": backend,
            },
            "incremental": {"cursor_path": "version", "initial_value": 0, "row_order": "asc"},
            "key": "id",
            "text": "body",
        },
    )
    assert made.run().counts.published == 2500
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute("UPDATE notes SET body = 'changed', version = 3000 WHERE id = 7")
        db.execute("INSERT INTO notes VALUES (4000, 'new', 3001)")
    db.close()
    report = made.run()
    assert (report.counts.published, report.counts.read) == (2, 3)
    found = texts(made)
    assert (found["7"], found["4000"], len(found)) == ("changed", "new", 2501)


def test_files_are_read_by_dlts_readers(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, start in (("a", 0), ("b", 10)):
        lines = [json.dumps({"id": i, "text": f"line {i}"}) for i in range(start, start + 3)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    made = lab(
        tmp_path,
        {
            "resource": "dlt.sources.filesystem:readers",
            "arguments": {"bucket_url": folder.as_uri(), "file_glob": "*.jsonl"},
            "select": "read_jsonl",
            "key": "id",
            "full": True,
        },
    )
    made.run()
    assert sorted(texts(made)) == ["0", "1", "10", "11", "12", "2"]
    (folder / "a.jsonl").unlink()
    made.run()
    assert sorted(texts(made)) == ["10", "11", "12"]
