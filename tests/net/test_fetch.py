"""What a fetch must never do: hold more than its caps, wait longer than its deadline, tell a secret to the wrong host or in a message."""

import asyncio
import datetime as dt
import json
import pickle
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.examples import some
from tests.faults.server import Fault, FaultServer, Reply

from gristmill.net.addresses import Guard
from gristmill.net.decode import BadEncoding, Decoder, Oversize
from gristmill.net.fetch import Fetcher, FetchFailed, FetchRefused, Limits, origin, shown, user_agent

HERE = Guard(("127.0.0.1",))


def fetch(url: str, limits: Limits | None = None, guard: Guard = HERE, method: str = "GET", **request: Any) -> Any:
    async def go() -> Any:
        async with Fetcher(guard, limits) as fetcher:
            return await fetcher.fetch(method, url, **request)

    return asyncio.run(go())


def code_of(url: str, limits: Limits | None = None, **request: Any) -> str:
    with pytest.raises((FetchRefused, FetchFailed)) as caught:
        fetch(url, limits, **request)
    return caught.value.code


BOMB_BYTES = 1 << 29
CHILD = """
import asyncio, json, sys
from gristmill.net.addresses import Guard
from gristmill.net.fetch import Fetcher, FetchRefused, Limits

async def go(url, ratio):
    async with Fetcher(Guard(("127.0.0.1",)), Limits(max_bytes=64 << 20, max_ratio=ratio)) as fetcher:
        try:
            return len((await fetcher.fetch("GET", url)).body)
        except FetchRefused as error:
            return error.code

codes = [asyncio.run(go(sys.argv[1], ratio)) for ratio in (200, 10**9)]
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([codes, int(peak.split()[1])]))
"""


@pytest.mark.slice
@pytest.mark.parametrize("encoding", some(["gzip", "deflate", "br", "zstd", "gzip, gzip"], 2))
def test_a_bomb_is_contained(encoding):
    bomb = Fault("bombed", value=(encoding, BOMB_BYTES), times=2)
    with FaultServer(lambda request: Reply(), [bomb]) as server:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, server.url], capture_output=True, text=True, timeout=120, check=True
        )
    codes, peak_kb = json.loads(done.stdout)
    assert codes == ["size.cap", "size.cap"]
    assert peak_kb < 400 << 10  # of this process alone: ru_maxrss would be that of the process it was forked from


ENDLESS = {
    "endless_body": {"size.cap"},
    "header_endless": {"http.header"},
    "reason_endless": {"http.header"},
    "chunk_extension_endless": {"net.timeout"},
    "hints_endless": {"net.timeout"},
    "trailers_endless": {"net.cut"},
    "tiny_chunks_endless": {"net.timeout", "size.cap"},
    "empty_members_endless": {"net.timeout", "size.cap"},
    "zstd_window": {"body.encoding"},
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_ended_by_a_cap_or_the_deadline_in_little_memory(kind):
    import resource

    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with FaultServer(lambda request: Reply(), [Fault(kind)]) as server:
        assert code_of(server.url, Limits(max_bytes=1 << 20, timeout_s=0.7)) in ENDLESS[kind]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 60 << 10


def test_a_length_over_the_cap_is_refused_before_the_body_is_read():
    with FaultServer(lambda request: Reply(b"x" * 2000)) as server:
        assert code_of(server.url, Limits(max_bytes=1999)) == "size.cap"
        assert fetch(server.url, Limits(max_bytes=2000)).body == b"x" * 2000


@pytest.mark.parametrize("kind", ["hang", "slow_head", "slow_body"])
def test_one_deadline_holds_for_all_of_a_fetch(kind):
    import time

    with FaultServer(lambda request: Reply(b"abc"), [Fault(kind, times=9)]) as server:
        began = time.monotonic()
        assert code_of(server.url, Limits(timeout_s=0.3)) == "net.timeout"
        assert time.monotonic() - began < 30


def test_a_chain_of_redirects_is_followed_to_its_limit_and_remembered():
    def app(request):
        left = int(request.path.strip("/") or 0)
        return Reply(b"here") if not left else Reply(b"", 301 if left > 1 else 302, {"Location": f"/{left - 1}"})

    with FaultServer(app) as server:
        got = fetch(f"{server.url}/5")
        assert got.body == b"here"
        assert got.url == f"{server.url}/0"
        assert got.redirects[-1] == (302, f"{server.url}/0")
        assert got.permanent_url == f"{server.url}/1"
        assert code_of(f"{server.url}/6") == "net.redirects"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("file:///etc/passwd", "net.scheme"),
        ("ftp://127.0.0.1/", "net.scheme"),
        ("gopher://127.0.0.1:6379/_x", "net.scheme"),
        ("javascript:alert(1)", "net.scheme"),
        ("http://user:word@127.0.0.1/", "url.invalid"),
        ("http://127.0.0.1:99999/", "url.invalid"),
        ("//10.0.0.1/", "net.blocked"),
        ("http://10.0.0.1:80/", "net.blocked"),
        ("/" + "a" * 9000, "url.invalid"),
    ],
)
def test_a_redirect_elsewhere_is_refused(location, code):
    with FaultServer(lambda request: Reply(), [Fault("redirect", value=location)]) as server:
        assert code_of(server.url) == code


SECRET = "canary-4711-canary"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_go_to_their_own_origin_only(status):
    with FaultServer(lambda request: Reply(b"there")) as other:
        away = Fault("redirect", label="away", value=(status, f"{other.url}/x"))
        here = Fault("redirect", label="here", value=(status, "/end"))
        app = lambda request: Reply(b"end", label=request.path.strip("/"))  # noqa: E731
        with FaultServer(app, [away, here]) as server:
            headers = {"Authorization": SECRET, "Cookie": SECRET, "X-Plain": "stays"}
            request = {"headers": headers, "credentials": {"X-Api-Key": SECRET}}
            assert fetch(f"{server.url}/here", **request).body == b"end"
            assert fetch(f"{server.url}/away", **request).body == b"there"
    assert all(SECRET in str(each.headers) for each in server.requests)
    assert server.requests[1].headers["x-api-key"] == SECRET
    assert SECRET not in str(other.requests)
    assert other.requests[0].headers["x-plain"] == "stays"


@pytest.mark.parametrize("status", [307, 308])
def test_a_body_is_not_sent_to_another_origin(status):
    with FaultServer(lambda request: Reply()) as other:
        with FaultServer(lambda request: Reply(), [Fault("redirect", value=(status, other.url))]) as server:
            assert code_of(server.url, method="POST", body=SECRET.encode()) == "net.redirects"
        assert other.requests == []


@pytest.mark.parametrize(("status", "method"), [(301, "GET"), (302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_redirected_post_is_a_get_where_the_standard_says_so(status, method):
    with FaultServer(lambda request: Reply(b"ok"), [Fault("redirect", value=(status, "/end"))]) as server:
        fetch(server.url, method="POST", body=b"{}", headers={"Content-Type": "application/json"})
    end = server.requests[1]
    assert (end.method, end.body) == (method, b"{}" if method == "POST" else b"")
    assert ("content-type" in end.headers) is (method == "POST")


def certificate(folder: Path, *, expired: bool = False, name: str = "localhost") -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - 3 * day)
        .not_valid_after(now - day if expired else now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(pem + private)
    (folder / "ca.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


def over_tls(folder: Path, context: ssl.SSLContext, authority: bool, *faults: Fault) -> str:
    """Fetch in a child, whose certificate authorities are those of the environment; gives the body or the code."""
    child = """
import asyncio, sys
from gristmill.net.addresses import Guard
from gristmill.net.fetch import Fetcher, FetchFailed, FetchRefused
async def go():
    async with Fetcher(Guard(("localhost",))) as fetcher:
        try:
            got = await fetcher.fetch("GET", sys.argv[1], credentials={"X-Key": "canary"})
            return got.body.decode()
        except (FetchRefused, FetchFailed) as error:
            return error.code + " " + error.detail
print(asyncio.run(go()))
"""
    with FaultServer(lambda request: Reply(b"in private"), list(faults), tls=context) as server:
        url = f"https://localhost:{server.port}/"
        environment = {"SSL_CERT_FILE": str(folder / "ca.pem"), "PATH": ""} if authority else {"PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", child, url], capture_output=True, text=True, timeout=60, check=True, env=environment
        )
        return done.stdout.strip()


def test_certificates_are_verified(tmp_path):
    context = certificate(tmp_path)
    assert over_tls(tmp_path, context, True) == "in private"
    assert over_tls(tmp_path, context, False).startswith("net.tls the certificate is not valid")
    assert "expired" in over_tls(tmp_path, certificate(tmp_path, expired=True), True)
    assert over_tls(tmp_path, certificate(tmp_path, name="other.test"), True).startswith("net.tls")


def test_credentials_are_not_led_from_https_to_http(tmp_path):
    with FaultServer(lambda request: Reply(b"open")) as plain:
        away = Fault("redirect", value=f"http://localhost:{plain.port}/")
        assert over_tls(tmp_path, certificate(tmp_path), True, away).startswith("net.redirects")
        assert plain.requests == []


def test_no_message_shows_more_of_a_url_than_where_it_leads():
    url = f"http://127.0.0.1:1/path?key={SECRET}#{SECRET}"
    for request in (
        {"headers": {"X-Key": SECRET}},
        {"credentials": {"Authorization": SECRET}},
        {"body": SECRET.encode()},
    ):
        with pytest.raises(FetchFailed) as caught:
            fetch(url, **request)
        assert SECRET not in repr(caught.value) + str(caught.value) + str(caught.value.__cause__)
        assert "127.0.0.1:1/path" in str(caught.value)
    assert shown(f"https://user:{SECRET}@host:8/p?{SECRET}") == "https://host:8/p"
    assert shown(f"{SECRET}@host/p") == "host/p"
    assert "\x1b" not in shown("http://h/\x1b]0;title")


def test_errors_cross_a_process_border():
    for error in (FetchRefused("net.tls", "http://a/?q", "why"), FetchFailed("net.cut", "http://a/", "why", wait_s=3)):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.code, type(again)) == (str(error), error.code, type(error))


def test_environment_proxies_and_cookies_are_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")

    async def twice(url: str) -> None:
        async with Fetcher(HERE) as fetcher:
            for _ in range(2):
                await fetcher.fetch("GET", url)

    with FaultServer(lambda request: Reply(b"", headers={"Set-Cookie": "a=b"})) as server:
        asyncio.run(twice(server.url))
    assert [request.headers.get("cookie") for request in server.requests] == [None, None]


def test_the_user_agent_says_who_asks():
    with FaultServer(lambda request: Reply()) as server:
        fetch(server.url)
    assert server.requests[0].headers["user-agent"] == user_agent()
    assert user_agent("https://example.org/bot").endswith(" (+https://example.org/bot)")
    assert user_agent().startswith("gristmill/")


def test_a_head_request_has_no_body_to_be_verified():
    with FaultServer(lambda request: Reply(b"", 200, {"Content-Encoding": "gzip"})) as server:
        got = fetch(server.url, method="HEAD")
    assert (got.status, got.body, got.notes) == (200, b"", ())


@pytest.mark.parametrize("header", ["gzip, gzip, gzip", "rot13", "gzip, rot13"])
def test_encodings_that_are_not_understood_are_refused(header):
    import gzip

    with pytest.raises(BadEncoding):  # noqa: PT012  any of these may see it
        decoder = Decoder(header, 1000, 200)
        decoder.feed(gzip.compress(gzip.compress(b"x")))
        decoder.finish()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
@pytest.mark.parametrize("step", [1, 2, 3, 7, 4096])
def test_a_body_decodes_the_same_however_it_is_cut_into_pieces(encoding, step):
    from tests.faults.server import ENCODERS

    plain = json.dumps(list(range(3000))).encode()
    data = ENCODERS[encoding](plain)
    decoder = Decoder(encoding, 1 << 20, 200)
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
    assert decoder.finish() == plain
    for cut in range(5, len(data), max(1, len(data) // 40)):
        short = Decoder(encoding, 1 << 20, 200)
        with pytest.raises(BadEncoding):  # noqa: PT012
            short.feed(data[:cut])
            short.finish()
    small = Decoder(encoding, len(plain) - 1, 200)
    with pytest.raises(Oversize):  # noqa: PT012
        small.feed(data)
        small.finish()


def test_origins_are_compared_by_scheme_host_and_port():
    assert origin("https://A.test/x?y") == origin("https://a.test:443") != origin("http://a.test:443")
    with pytest.raises(FetchRefused):
        origin("file:///x")
