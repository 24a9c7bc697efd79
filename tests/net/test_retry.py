"""When a request is asked again, when after a wait, and when not."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from tests.faults.server import Fault, FaultServer, Reply

from gristmill.core.errors import SourceError, Transient
from gristmill.net.addresses import Guard
from gristmill.net.auth import Auth, Basic, Key, OAuth2
from gristmill.net.credentials import Credentials
from gristmill.net.fetch import Fetcher, FetchFailed
from gristmill.net.retry import RETRIED, Pace, Patience, Retrier, retry_after_s

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
QUICK = Patience(attempts=4, wait_initial_s=0.001, wait_jitter_s=0.001)
HERE = Guard(("127.0.0.1",))


def date(after_s: float) -> str:
    return format_datetime(NOW + timedelta(seconds=after_s), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 120 "}, 120),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "99999999999999999999"}, 1e20),
        ({"retry-after": "soon"}, None),
        ({"retry-after": date(90)}, 90),
        ({"retry-after": date(-90)}, 0),
        ({"retry-after": date(86400), "date": date(86340)}, 60),
        ({"retry-after": date(30), "date": "nonsense"}, 30),
        ({"retry-after": "Wed, 99 Foo 2026 99:00:00 GMT"}, None),
    ],
)
def test_retry_after_in_both_forms(headers, seconds):
    assert retry_after_s(headers, NOW) == seconds


def ask(url: str, patience: Patience = QUICK, times: int = 1, rate: float = 0, **request: Any) -> Any:
    async def go() -> Any:
        async with Fetcher(HERE) as fetcher:
            retrier = Retrier(fetcher, patience, rate)
            for _ in range(times):
                got = await retrier.fetch(request.get("method", "GET"), url)
            return got

    return asyncio.run(go())


@pytest.mark.parametrize("status", sorted(RETRIED))
def test_a_status_that_passes_is_asked_again(status):
    with FaultServer(lambda request: Reply(b"ok"), [Fault("status", value=status, times=3)]) as server:
        assert ask(server.url).body == b"ok"
        assert len(server.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 451, 501, 505, 507, 511, 599])
def test_no_other_status_is_asked_again(status):
    with FaultServer(lambda request: Reply(b"ok"), [Fault("status", value=status)]) as server:
        assert ask(server.url).status == status
        assert len(server.requests) == 1


def test_the_wait_that_a_server_asks_for_is_waited():
    with FaultServer(
        lambda request: Reply(b"ok"), [Fault("status", value=(503, {"Retry-After": "0.3"}), times=2)]
    ) as server:
        began = time.monotonic()
        ask(server.url)
        assert 0.6 <= time.monotonic() - began < 30


def test_a_wait_over_the_cap_ends_the_request_at_once():
    with FaultServer(lambda request: Reply(b"ok"), [Fault("status", value=(429, {"Retry-After": "901"}))]) as server:
        with pytest.raises(FetchFailed, match=r"http\.429: HTTP 429; it asks to wait 901 s, over the 900 s allowed"):
            ask(server.url)
        assert len(server.requests) == 1


def test_attempts_end_and_are_told():
    with FaultServer(lambda request: Reply(b"ok"), [Fault("status", value=500, times=99)]) as server:
        with pytest.raises(Transient, match=r"HTTP 500 \(4 attempts\)"):
            ask(server.url)
        assert len(server.requests) == 4


def test_a_host_has_a_budget_of_retries_which_successes_fill_up_again():
    patience = Patience(attempts=100, wait_initial_s=0, wait_jitter_s=0, budget=5, budget_share=0.5)
    with FaultServer(lambda request: Reply(b"ok"), [Fault("status", value=500, times=99)]) as server:
        with pytest.raises(FetchFailed, match="6 attempts"):
            ask(server.url, patience)
        server.spoil(
            *[Fault("status", value=500, times=5), Fault("well", times=2), Fault("status", value=500, times=99)]
        )
        with pytest.raises(FetchFailed):
            ask(server.url, patience, times=5)
        assert len(server.requests) == 6 + 5 + 2 + 2  # two successes earn one retry


def test_waits_that_the_server_names_cost_no_budget():
    patience = Patience(attempts=100, budget=1)
    with FaultServer(
        lambda request: Reply(b"ok"), [Fault("status", value=(429, {"Retry-After": "0"}), times=50)]
    ) as server:
        assert ask(server.url, patience).body == b"ok"


def test_requests_are_spaced_by_the_rate_retries_included():
    with FaultServer(lambda request: Reply(b"ok"), [Fault("status", value=500, times=2)]) as server:
        began = time.monotonic()
        ask(server.url, rate=20, times=4)
        assert len(server.requests) == 6
        assert time.monotonic() - began >= 0.25

    async def many() -> None:
        pace = Pace(100)
        await asyncio.gather(*(pace.turn() for _ in range(11)))

    began = time.monotonic()
    asyncio.run(many())
    assert time.monotonic() - began >= 0.1


# --- credentials -------------------------------------------------------------------------------------------------

SECRET = "canary-0815"


class Issuer:
    """An API with a token endpoint: /token gives tokens that are good for `uses` requests each; /api wants the last one."""

    def __init__(self, uses: int = 10**9, **answer: Any) -> None:
        self.uses, self.answer, self.issued, self.used = uses, answer, 0, 0

    def __call__(self, request):
        import json

        if request.path == "/token":
            self.issued, self.used = self.issued + 1, 0
            return Reply(
                json.dumps({"access_token": f"{SECRET}-{self.issued}", "token_type": "bearer"} | self.answer).encode(),
                label="token",
            )
        good = request.headers.get("authorization") == f"Bearer {SECRET}-{self.issued}" and self.used < self.uses
        self.used += 1
        return Reply(b"{}", 200 if good else 401, label="api")


def with_token(server: FaultServer, requests: int, **oauth2: Any) -> list[int]:
    """Ask so many times as a listing does: again, once, after a 401."""

    async def go() -> list[int]:
        statuses = []
        settings = {"token_url": f"{server.url}/token", "client_id": "me", "client_secret": SECRET} | oauth2
        async with Fetcher(HERE) as fetcher:
            retrier = Retrier(fetcher, QUICK)
            credentials = Credentials(Auth(oauth2=OAuth2(**settings)), f"{server.url}/api", retrier)
            for _ in range(requests):
                for renewed in (False, True):
                    sent = await credentials.headers(f"{server.url}/api")
                    got = await retrier.fetch("GET", f"{server.url}/api", credentials=sent)
                    if got.status != 401 or renewed or not await credentials.renewed(sent):
                        break
                statuses.append(got.status)
        return statuses

    return asyncio.run(go())


@pytest.mark.parametrize("client_in", ["header", "body"])
def test_a_token_is_asked_for_once_and_used_until_it_is_refused(client_in):
    issuer = Issuer(uses=3, expires_in=3600)
    with FaultServer(issuer) as server:
        assert with_token(server, 7, client_in=client_in, scope="read all", params={"audience": "x"}) == [200] * 7
        asked = [request for request in server.requests if request.path == "/token"]
    assert issuer.issued == 3
    assert asked[0].method == "POST"
    form = asked[0].body.decode()
    assert "grant_type=client_credentials" in form
    assert "scope=read+all" in form
    assert "audience=x" in form
    assert (SECRET in form) is (client_in == "body")
    assert ("authorization" in asked[0].headers) is (client_in == "header")


@pytest.mark.parametrize("life", [2, "3"])
def test_a_token_is_renewed_before_it_runs_out(life):
    issuer = Issuer(expires_in=life)

    async def go(url: str) -> None:
        async with Fetcher(HERE) as fetcher:
            auth = Auth(oauth2=OAuth2(f"{url}/token", "me", SECRET))
            credentials = Credentials(auth, url, Retrier(fetcher, QUICK))
            for _ in range(3):
                await credentials.headers(url)
            await asyncio.sleep(0.95 * float(life))
            await credentials.headers(url)

    with FaultServer(issuer) as server:
        asyncio.run(go(server.url))
    assert issuer.issued == 2


def test_a_401_with_a_new_token_is_the_end_of_it():
    issuer = Issuer(uses=0)
    with FaultServer(issuer) as server:
        assert with_token(server, 1) == [401]
    assert issuer.issued == 2


def test_a_token_endpoint_that_refuses_is_told_without_secrets():
    refusal = (401, {"X": "y"})
    says = r"auth\.refused: the token endpoint answered 401; check"
    with (
        FaultServer(Issuer(), [Fault("status", label="token", value=refusal)]) as server,
        pytest.raises(SourceError, match=says) as caught,
    ):
        with_token(server, 1)
    assert SECRET not in str(caught.value)
    with (
        FaultServer(Issuer(), [Fault("instead", label="token", value={"error": "invalid_client"})]) as server,
        pytest.raises(Transient, match="has no access_token"),
    ):
        with_token(server, 1)


def test_a_token_endpoint_is_asked_with_patience():
    with FaultServer(Issuer(), [Fault("reset_at_once", label="token", times=2)]) as server:
        assert with_token(server, 1) == [200]


async def _headers(auth: Auth | None, url: str) -> tuple[dict[str, str], dict[str, str]]:
    async with Fetcher(HERE) as fetcher:
        credentials = Credentials(auth, "https://api.test/v1", Retrier(fetcher, QUICK))
        return await credentials.headers(url), credentials.query(url)


@pytest.mark.parametrize(
    ("auth", "headers", "query"),
    [
        (None, {}, {}),
        (Auth(bearer=SECRET), {"Authorization": f"Bearer {SECRET}"}, {}),
        (Auth(basic=Basic("Aladdin", "open sesame")), {"Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, {}),
        (Auth(key=Key(SECRET, header="X-API-Key")), {"X-API-Key": SECRET}, {}),
        (Auth(key=Key(SECRET, query="key")), {}, {"key": SECRET}),
    ],
)
def test_each_kind_of_credential_goes_to_its_place_and_its_origin(auth, headers, query):
    assert asyncio.run(_headers(auth, "https://api.test/v1/items")) == (headers, query)
    for other in ("http://api.test/v1", "https://api.test:8443/", "https://api.test.evil.test/", "https://evil.test/"):
        assert asyncio.run(_headers(auth, other)) == ({}, {})


@pytest.mark.parametrize(
    "make",
    [
        lambda: Auth(),
        lambda: Auth(bearer="a", key=Key("b", header="C")),
        lambda: Auth(bearer=""),
        lambda: Auth(bearer="two words"),
        lambda: Auth(bearer="line\r\nX: y"),
        lambda: Auth(key=Key("a\n", header="X")),
        lambda: Key("a"),
        lambda: Key("a", header="X", query="x"),
        lambda: OAuth2("ftp://a", "b", "c"),
        lambda: OAuth2("https://a", "b", "c", client_in="url"),
    ],
)
def test_credentials_that_cannot_be_used_are_refused_by_the_config(make):
    with pytest.raises(ValueError, match="auth"):
        make()
