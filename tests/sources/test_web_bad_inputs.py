"""Every way a page, a server or a host can be bad: the code it gets, that the others go on, and that it is tried again.

The rows are those of the project's table of bad inputs (web, text and HTML, PDF) and of its fault matrix (H1 to H5, H9, H10).
"""

import resource
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from tests.faults.server import Fault, FaultServer
from tests.faults.server import Reply as Said
from tests.sources.test_web import PDF
from tests.web.crawls import Crawl
from tests.web.site import TEXT, Reply, Site, page, plain

from gristmill.extract import ExtractOptions

PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
SLOW = {"hang", "slow_head", "slow_body"}


def served(body, kind="text/html; charset=utf-8", status=200, **headers):
    return Reply(status, body if isinstance(body, bytes) else body.encode(), {"Content-Type": kind} | headers)


def html(inner, head="<title>A page</title>"):
    return f"<!doctype html><html><head>{head}</head><body>{inner}</body></html>"


def article(text=TEXT * 3):
    return html(f"<article><h1>Ice</h1><p>{text}</p></article>")


# --- faults of the network ---------------------------------------------------------------------------------------


def app(request):
    if request.path == "/robots.txt":
        return Said(b"", 404, label="robots")
    return Said(TEXT.encode(), 200, PLAIN, label=request.path)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("status", value=500), "http.500"),
        (Fault("status", value=502), "http.502"),
        (Fault("status", value=401), "http.401"),
        (Fault("status", value=403), "http.403"),
        (Fault("status", value=404), "http.404"),
        (Fault("status", value=451), "http.451"),
        (Fault("status", value=206), "http.206"),
        (Fault("status", value=(429, {"Retry-After": "100000000"})), "http.429"),
        (Fault("reset_at_once"), "net.cut"),
        (Fault("close_in_head"), "net.cut"),
        (Fault("cut_body"), "net.cut"),
        (Fault("cut_chunks"), "net.cut"),
        (Fault("hang"), "net.timeout"),
        (Fault("slow_head"), "net.timeout"),
        (Fault("slow_body"), "net.timeout"),  # a byte a second
        (Fault("header_flood"), "http.header"),
        (Fault("header_huge"), "http.header"),
        (Fault("not_http"), "http.header"),
        (Fault("endless_body"), "size.cap"),
        (Fault("bombed", value=("gzip", 64 << 20)), "size.cap"),
        (Fault("bombed", value=("br", 64 << 20)), "size.cap"),
        (Fault("bombed", value=("zstd", 64 << 20)), "size.cap"),
        (Fault("bombed", value=("gzip, gzip", 64 << 20)), "size.cap"),
        (Fault("encoded_cut", value="gzip"), "body.encoding"),
        (Fault("unknown_encoding"), "body.encoding"),
        (Fault("redirect", value="{target}"), "net.redirects"),
        (Fault("redirect", value="file:///etc/passwd"), "net.scheme"),
        (Fault("redirect", value="http://10.0.0.1/"), "net.blocked"),
        (Fault("redirect", value="http://2130706433/"), "url.invalid"),
        (Fault("redirect", value="http://[::ffff:169.254.169.254]/"), "net.blocked"),
    ],
    ids=lambda value: f"{value.kind}-{value.value}" if isinstance(value, Fault) else "",
)
def test_a_failure_of_one_url_has_its_code_and_stops_no_other(fault, code, tmp_path):
    fault = fault._replace(label="/bad", times=99)
    with FaultServer(app, [fault]) as server:
        urls = [f"{server.url}/{name}" for name in ("a", "bad", "c")]
        timeout_s = 0.5 if fault.kind in SLOW else 20
        crawl = Crawl(tmp_path, urls=urls, timeout_s=timeout_s, attempts=1, max_bytes=1 << 20, max_connections=2)
        run = crawl.run()
        assert run.outcomes == {urls[0]: "ok", urls[1]: "bad", urls[2]: "ok"} or code == "http.429"
        assert run.codes == {urls[1]: code}
        (reject,) = (reject for page_ in run.pages for reject in page_.rejects)
        assert reject.origin == f"{urls[1]}#0"
        server.spoil()
        assert crawl.run().outcomes[urls[1]] == "ok"


@pytest.mark.parametrize(
    "kind", ["chunks", "no_length", "early_hints", "gzip_members", "raw_deflate", "lying_encoding"]
)
def test_what_only_looks_odd_is_read(kind, tmp_path):
    with FaultServer(app, [Fault(kind, label="/a", times=9)]) as server:
        run = Crawl(tmp_path, urls=[f"{server.url}/a"]).run()
    assert len(run.texts) == 1
    assert run.warnings == {"no_length": {"length.unverified": 1}, "lying_encoding": {"encoding.lied": 1}}.get(kind, {})


@pytest.mark.parametrize("kind", ["reset_in_body", "cut_body", "status", "retry_after_date"])
def test_what_passes_is_tried_again_in_the_same_run(kind, tmp_path):
    value = {"status": 503, "retry_after_date": 0}.get(kind)
    with FaultServer(app, [Fault(kind, label="/a", times=2, value=value)]) as server:
        run = Crawl(tmp_path, urls=[f"{server.url}/a"], attempts=3).run()
    assert set(run.outcomes.values()) == {"ok"}


def test_a_bomb_costs_little_memory(tmp_path):
    with FaultServer(app, [Fault("bombed", label="/bad", times=9, value=("gzip", 256 << 20))]) as server:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = Crawl(tmp_path, urls=[f"{server.url}/bad"], attempts=1, timeout_s=60).run()
        assert list(run.codes.values()) == ["size.cap"]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://169.254.169.254/",
        "http://[fd00::1]/",
        "http://0x0a000001/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
    ],
)
def test_private_addresses_are_not_even_asked_for_robots(url, tmp_path):
    run = Crawl(tmp_path, urls=[url], allow_hosts=[]).run()
    assert list(run.codes.values()) == ["net.blocked"]


def test_loopback_is_private_too_unless_it_is_listed(tmp_path):
    with Site({"/a": page()}) as site:
        run = Crawl(
            tmp_path, urls=[site.url("/a"), site.url("/a").replace("127.0.0.1", "localhost")], allow_hosts=[]
        ).run()
        assert set(run.codes.values()) == {"net.blocked"}
        assert site.log == []


def test_a_host_without_a_name_or_a_listener_has_its_code(tmp_path):
    with Site() as site:
        port = site.port
    run = Crawl(tmp_path, urls=[f"http://127.0.0.1:{port}/", "http://no-such-host.invalid/"], attempts=1).run()
    assert set(run.codes.values()) == {"net.connect", "net.dns"}


def test_a_certificate_that_is_not_valid_quarantines_the_page(tmp_path):
    with FaultServer(app, tls=certificate(tmp_path)) as server:
        run = Crawl(tmp_path, urls=[f"{server.url}/a"], attempts=1).run()
        assert list(run.codes.values()) == ["net.tls"]
        assert server.requests == []


def certificate(folder):
    """Give a context for a server whose certificate nobody signed and which has run out."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    long_ago = datetime.now(UTC) - timedelta(days=20)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(long_ago).not_valid_after(long_ago + timedelta(days=1))
    signed = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(secret + signed.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


# --- what a body is ----------------------------------------------------------------------------------------------

SHELL = html(
    '<noscript>You need to enable JavaScript to run this app.</noscript><div id="root"></div><script src="a.js"></script>'
)
LOGIN = html('<form><h1>Log in</h1><input name="user"><input type="password" name="p"></form>', "<title>Log in</title>")
MISSING = html("<h1>Oops</h1><p>Try the front page.</p>", "<title>404 - Page not found</title>")
DEEP = html("<div>" * 5000 + "x" + "</div>" * 5000)
ATTRIBUTES = html("<p " + " ".join(f"a{n}=1" for n in range(10_000)) + f">{TEXT}</p>")


BODIES = [
    (served(SHELL), "web.shell"),
    (served(LOGIN), "web.login"),
    (served(MISSING), "web.not_found"),
    (served(DEEP), "html.too_deep"),
    (served(ATTRIBUTES), "html.attributes"),
    (served(b"\x89PNG\r\n\x1a\n" + bytes(100)), "type.mismatch"),
    (served(b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png"), "type.mismatch"),
    (served(bytes(range(256)) * 4), "type.mismatch"),
    (served(b"PK\x03\x04" + bytes(50), "text/plain"), "type.mismatch"),
    (served('{"error": "not for you"}', "application/json"), "type.mismatch"),
    (served('{"error": "not for you"}'), "type.mismatch"),
    (served('<?xml version="1.0"?><rss version="2.0"><channel/></rss>', "application/rss+xml"), "type.mismatch"),
    (served(bytes(byte for byte in range(0x80, 0x100)) * 9, "text/plain; charset=utf-8"), "text.encoding"),
    (served(PDF[:200], "application/pdf"), "file.truncated"),
    (Reply(204), ""),
    (served(b""), ""),
    (served(b" \n\t "), ""),
    (served(html("")), ""),
]


def test_a_body_that_is_no_document_is_refused_with_its_code_or_counted_as_empty(tmp_path):
    paths = [f"/{n:02d}" for n in range(len(BODIES))]
    with Site({path: plain(f"first {path}") for path in paths} | {"/fine": plain("other")}) as site:
        crawl = Crawl(tmp_path, urls=[site.url(path) for path in [*paths, "/fine"]])
        first = crawl.run()
        site.pages |= {path: reply for path, (reply, _) in zip(paths, BODIES, strict=True)}
        run = crawl.run()
        assert run.codes == {site.url(path): code for path, (_, code) in zip(paths, BODIES, strict=True) if code}
        assert run.outcomes == {site.url(path): "bad" for path in paths} | {site.url("/fine"): "unchanged"}
        assert run.warnings["html.empty"] == sum(not code for _, code in BODIES)
        assert run.state.units.equals(first.state.units)


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("/login?next=/a/b", "web.login"),
        ("/users/sign_in", "web.login"),
        ("/", "web.not_found"),
        ("/index.html", "web.not_found"),
    ],
)
def test_a_redirect_to_a_stand_in_is_no_document(location, code, tmp_path):
    pages = {"/a/b": Reply(302, b"", {"Location": location}), location: page("welcome")}
    with Site(pages | {"/robots.txt": Reply(404)}) as site:
        assert list(Crawl(tmp_path, urls=[site.url("/a/b")]).run().codes.values()) == [code]


def test_a_page_that_is_the_front_or_the_login_page_itself_is_one(tmp_path):
    pages = {"/home": Reply(302, b"", {"Location": "/"}), "/": page("front"), "/login": page("how to log in")}
    with Site(pages) as site:
        assert len(Crawl(tmp_path, urls=[site.url(path) for path in pages]).run().texts) == 3


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        (served(article(), "text/plain"), "ferries"),
        (served(article(), "application/json"), "ferries"),
        (served(article(), "image/png"), "ferries"),
        (served(PDF, "text/html"), "ferry"),
        (served(PDF, "text/plain"), "ferry"),
    ],
    ids=["html as text", "html as json", "html as image", "pdf as html", "pdf as text"],
)
def test_a_header_that_lies_about_the_type_is_counted_and_not_believed(reply, found, tmp_path):
    with Site({"/a": reply}) as site:
        run = Crawl(tmp_path, urls=[site.url("/a")]).run()
    assert found in next(iter(run.texts.values()))
    assert run.warnings["type.lied"] == 1


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "text/html", "application/xhtml+xml"])
def test_a_header_that_says_little_is_no_lie(kind, tmp_path):
    with Site({"/a": served(article(), kind)}) as site:
        run = Crawl(tmp_path, urls=[site.url("/a")]).run()
    assert (len(run.texts), run.warnings) == (1, {})


CHARSETS = [  # of the bytes, the header, and <meta>
    ("windows-1251", "windows-1251", ""),
    ("koi8-r", None, "koi8-r"),
    ("utf-8", "iso-8859-1", ""),  # a lie: the bytes are well-formed UTF-8
    ("utf-8", "no-such-charset", ""),
    ("utf-16", None, ""),
    ("utf-8-sig", "windows-1251", ""),
    ("euc-kr", "euc-kr", ""),
    ("shift_jis", None, "shift_jis"),
]
LINES = {"euc-kr": "항구는 일월에 얼어붙는다. ", "shift_jis": "港は一月に凍る。 "}


def test_charsets_are_told_by_mark_header_meta_and_bytes(tmp_path):
    pages, lines = {}, []
    for at, (charset, header, meta) in enumerate(CHARSETS):
        lines.append(LINES.get(charset, "Гавань замерзает в январе. "))
        body = html(f"<article><p>{lines[-1] * 20}</p></article>", f"<meta charset={meta}>" if meta else "").encode(
            charset
        )
        pages[f"/{at}"] = served(body, f"text/html; charset={header}" if header else "text/html")
    with Site(pages) as site:
        run = Crawl(tmp_path, urls=[site.url(path) for path in pages]).run()
    assert [line.strip() in text for line, text in zip(lines, run.texts.values(), strict=True)] == [True] * len(lines)


@pytest.mark.parametrize(
    ("wanted", "reply", "outcome"),
    [
        ("html", served(article()), "ok"),
        ("html", served(PDF, "application/pdf"), "type.mismatch"),
        ("pdf", served(article()), "type.mismatch"),
        ("pdf", served(PDF), "ok"),
        ("text", served("plain words", "text/html"), "ok"),
        ("text", served(PDF), "type.mismatch"),
    ],
)
def test_a_format_that_is_asked_for_is_insisted_on(wanted, reply, outcome, tmp_path):
    with Site({"/a": reply}) as site:
        run = Crawl(tmp_path, urls=[site.url("/a")], format=wanted).run()
    assert [*run.codes.values(), *run.outcomes.values()][0] == outcome


def test_an_extraction_that_does_not_end_costs_its_page_only(tmp_path):
    slow = served(html("<article>" + f"<p>{TEXT}</p>" * 40_000 + "</article>"))
    with Site({"/a": page("before"), "/b": slow, "/c": page("after")}) as site:
        urls = [site.url(path) for path in ("/a", "/b", "/c")]
        run = Crawl(tmp_path, urls=urls, extract=ExtractOptions(extractor="trafilatura", cpu_s=2)).run()
    assert run.codes == {urls[1]: "extract.timeout"}
    assert len(run.texts) == 2
