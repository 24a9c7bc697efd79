"""A small server on loopback that takes what is posted to it."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Got:
    """One request."""

    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Hooks:
    """Takes requests while the `with` block lasts. answers: statuses for the first ones; after them 200. slow_s: waits so long."""

    def __init__(self, answers=(), slow_s=0.0, location=""):
        self.got, self.answers, self.slow_s, self.location = [], list(answers), slow_s, location

    def __enter__(self):
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def _take(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hooks.got.append(Got(self.command, self.path, dict(self.headers), body))
                time.sleep(hooks.slow_s)
                try:
                    self.send_response(hooks.answers.pop(0) if hooks.answers else 200)
                    if hooks.location:
                        self.send_header("Location", hooks.location)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:  # the other side has given up
                    return

            do_POST = do_PUT = do_GET = _take  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
