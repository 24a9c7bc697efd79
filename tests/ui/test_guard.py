"""Who may ask the ui anything: raw requests of pages of strangers, of other users of this machine, and of other names that lead here."""

import re
import socket
from pathlib import Path

import pytest

SEALS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def refused(answer, status=403):
    """Refused, and nothing of the dataset is in the answer."""
    assert answer.status == status
    assert answer.headers["content-type"].startswith("text/plain")
    assert len(answer.body) < 100
    assert "set-cookie" not in answer.headers
    for name, value in SEALS.items():
        assert answer.headers[name] == value
    return True


def test_with_the_cookie_pages_are_shown_and_sealed(served):
    answer = served.ask("/")
    assert answer.status == 200
    assert "<h1>set</h1>" in answer.text
    for name, value in SEALS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        policy,
    )
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_the_token_is_taken_once_in_exchange_for_a_cookie_and_leaves_the_address(served):
    answer = served.ask(f"/?token={served.token}", cookie="")
    assert (answer.status, answer.headers["location"]) == (303, f"{served.root}/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", f"Path={served.root}/"} <= set(cookie.split("; "))
    assert served.token not in cookie
    assert served.token not in served.ask("/").text


@pytest.mark.parametrize("token", ["", "x", "None", "../", "%00"])
def test_another_token_is_refused_even_beside_the_cookie(served, token):
    assert refused(served.ask(f"/?token={token or 'wrong'}"))
    assert refused(served.ask(f"/runs?token={served.token[:-1]}x", cookie=""))
    assert refused(served.ask(f"/?token={served.token}&token=x", cookie=""))


@pytest.mark.parametrize(
    "cookie", ["", "gristmill=", "gristmill=x", "other=1", "gristmill", ";;;", 'gristmill="\\"', "GRISTMILL={it}x"]
)
def test_without_the_cookie_everything_is_refused(served, cookie):
    cookie = cookie.replace("{it}", served.cookie.partition("=")[2])
    for path in ("/", "/runs", "/run?seq=1", "/record?id=crawl/1-1", "/nothing", "/../", "//"):
        assert refused(served.ask(path, cookie=cookie))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.2:{port}", "0.0.0.0:{port}", "[::1]:{port}",
     "127.0.0.1:{port}.evil.example", "127.0.0.1.evil.example:{port}", "localhost.:{port}", "user@127.0.0.1:{port}", "2130706433:{port}"],
)  # fmt: skip
def test_another_host_is_refused_cookie_or_not(served, host):
    """DNS rebinding: a stranger's name made to lead here."""
    named = host.replace("{port}", str(served.port))
    assert refused(served.ask("/", host=named), 421)
    assert refused(served.ask(f"/?token={served.token}", host=named, cookie=""), 421)


def test_no_host_and_two_hosts_are_refused(served):
    assert served.raw(f"GET {served.root}/ HTTP/1.1\nConnection: close\nCookie: {served.cookie}\n").status in {400, 421}
    assert served.raw(f"GET {served.root}/ HTTP/1.0\nCookie: {served.cookie}\n").status in {400, 421}
    assert served.ask("/", more="Host: evil.example").status in {400, 421}
    assert served.raw(f"GET http://evil.example{served.root}/ HTTP/1.1\nHost: evil.example\nConnection: close\nCookie: {served.cookie}\n").status == 421  # fmt: skip


def test_localhost_is_us_too(served):
    assert served.ask("/", host=f"localhost:{served.port}").status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "http://localhost:{port}",
        "file://",
        "http://127.0.0.1:1",
        "",
    ],
)
def test_another_origin_is_refused(served, origin):
    named = origin.replace("{port}", str(served.port))
    assert refused(served.ask("/", more=f"Origin: {named}"))
    assert served.ask("/", more=f"Origin: http://127.0.0.1:{served.port}").status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "x"])
def test_what_another_page_makes_the_browser_ask_is_refused(served, site):
    """Another server on this machine is the same site to a browser, whatever its port."""
    assert refused(served.ask("/", more=f"Sec-Fetch-Site: {site}"))
    assert served.ask("/", more="Sec-Fetch-Site: same-origin").status == 200
    assert served.ask("/", more="Sec-Fetch-Site: none").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"])
def test_nothing_can_be_changed(served, method):
    answer = served.ask("/", method=method)
    assert answer.status in {400, 405}
    assert "<h1>" not in answer.text
    if method != "CONNECT":
        assert answer.headers["allow"] == "GET, HEAD"


def test_head_has_no_body(served):
    answer = served.ask("/", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", ["/..%2f..%2fetc%2fpasswd", "/run?seq=../../x", "/static/x", "/record?id=../../../etc/passwd", "/browse?run=1&kind=..%2f",
                                  "/run?seq=1e9", "/run?seq=-1", "/run?seq=99999999999999999999", "/diff?a=x", "/records?by=id&q=%00&after=x"])  # fmt: skip
def test_no_path_leads_out_of_the_dataset(served, path):
    answer = served.ask(path)
    assert answer.status in {404, 403}
    assert "root:" not in answer.text


def test_only_the_loopback_is_listened_on(served):
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f"{served.port:04X}"
    assert {line[1] for line in lines if line[1].endswith(f":{port}") and line[3] == "0A"} == {f"0100007F:{port}"}
    if socket.has_ipv6 and Path("/proc/net/tcp6").exists():
        assert not [
            line for line in Path("/proc/net/tcp6").read_text().splitlines() if f":{port} " in line and " 0A " in line
        ]


def test_two_starts_share_no_secret():
    from gristmill.ui.guard import new_keys

    one, other = new_keys(), new_keys()
    for name in ("root", "token", "session"):
        assert getattr(one, name) != getattr(other, name)
    assert len(one.token) >= 43
    assert len({one.token, one.session, one.root}) == 3
