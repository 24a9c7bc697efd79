"""No spelling of an address that is not public gets a connection, and no name that changes its address does."""

import asyncio
import socket
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver
from tests.faults.server import Fault, FaultServer, Reply

from gristmill.net.addresses import Guard
from gristmill.net.fetch import Fetcher, FetchFailed, FetchRefused, Limits

# Each leads to an address that is not public, or to none at all; the port is that of a listening server.
SPELLINGS = """
127.0.0.1 127.0.0.2 127.1 127.0.1 127.255.255.254 0177.0.0.1 0x7f.0.0.1 0x7f000001 2130706433 017700000001 0x7f.1
localhost LOCALHOST localhost. 127.0.0.1. 0 0.0.0.0 0x0 00000000000 %31%32%37.0.0.1 １２７.0.0.1 127。0。0。1 ①②⑦.⓪.⓪.①
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 192.168.255.255 0xc0a80001 3232235521 0300.0250.0.1
169.254.169.254 169.254.170.2 0xa9fea9fe 2852039166 100.64.0.1 100.100.100.200 168.63.129.16 192.0.0.192 192.0.0.8
198.18.0.1 192.0.2.1 198.51.100.7 203.0.113.9 240.0.0.1 255.255.255.255 224.0.0.1 239.1.2.3 192.88.99.1
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:10.0.0.1] [::ffff:169.254.169.254]
[64:ff9b::7f00:1] [64:ff9b::10.0.0.1] [64:ff9b:1::1] [2002:7f00:1::] [2002:a00:1::1] [2001::1] [fe80::1] [fe80::1%25eth0]
[fc00::1] [fd00:ec2::254] [fec0::1] [ff02::1] [100::1] [2001:db8::1] [::ffff:0:127.0.0.1] [3fff::1]
""".split()  # noqa: SIM905


def refused_url(url: str, **fetcher: Any) -> str:
    async def fetch() -> str:
        async with Fetcher(limits=Limits(timeout_s=5), **fetcher) as one:
            with pytest.raises((FetchRefused, FetchFailed)) as caught:
                await one.fetch("GET", url)
            return caught.value.code

    return asyncio.run(fetch())


@pytest.fixture(scope="module")
def server():
    with FaultServer(lambda request: Reply(b"secret of the inside")) as server:
        yield server


def test_there_are_at_least_sixty_spellings():
    assert len(set(SPELLINGS)) >= 60


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_private_address_gets_a_connection(host, server):
    code = refused_url(f"http://{host}:{server.port}/", guard=Guard(ports=frozenset({server.port})))
    assert code in {"net.blocked", "url.invalid", "net.dns"}
    assert server.requests == []


def test_most_spellings_reach_the_check_and_are_refused_by_address(server):
    guard = Guard(ports=frozenset({server.port}))
    codes = [refused_url(f"http://{host}:{server.port}/", guard=guard) for host in SPELLINGS]
    assert codes.count("net.blocked") >= 60


@pytest.mark.parametrize("host", ["10.0.0.1", "[::ffff:10.0.0.1]", "localhost", "0x7f.1", "169.254.169.254"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_looked_at_as_a_first_request_is(host, status, server):
    away = Fault("redirect", value=(status, f"http://{host}:{server.port}/latest/meta-data"))
    with FaultServer(lambda request: Reply(), [away]) as outside:
        guard = Guard(("outside.test",), ports=frozenset({server.port}))
        resolver = Rebinding(["127.0.0.1"])
        assert refused_url(f"http://outside.test:{outside.port}/", guard=guard, resolver=resolver) == "net.blocked"
        assert len(outside.requests) == 1
    assert server.requests == []


class Rebinding(AbstractResolver):
    """Gives each of `answers` once, then the last for ever; IP literals do not come here."""

    def __init__(self, answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[Any]:
        address = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [{"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


PUBLIC = "127.0.0.2"  # in the place of a public address, by the list of exceptions


@pytest.mark.parametrize("private", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3", "169.254.169.254"])
def test_a_name_that_leads_outside_first_and_inside_then_gets_no_connection_inside(private, server):
    guard = Guard((PUBLIC,), ports=frozenset({server.port}))
    resolver = Rebinding([PUBLIC, private])
    url = f"http://rebinding.test:{server.port}/"

    async def fetch() -> bytes:
        async with Fetcher(guard, resolver=resolver) as one:
            return (await one.fetch("GET", url)).body

    with FaultServer(lambda request: Reply(b"outside"), host=PUBLIC, port=server.port):
        assert asyncio.run(fetch()) == b"outside"
        assert refused_url(url, guard=guard, resolver=resolver) == "net.blocked"
    assert resolver.asked == 2
    assert server.requests == []


def test_a_name_with_addresses_outside_and_inside_never_gets_the_one_inside(server):
    class Both(Rebinding):
        async def resolve(self, host, port=0, family=socket.AF_INET):
            both = [Rebinding([PUBLIC]), Rebinding(["127.0.0.1"])]
            return [(await each.resolve(host, port))[0] for each in both]

    url = f"http://both.test:{server.port}/"  # nothing listens at that port outside
    assert refused_url(url, guard=Guard((PUBLIC,)), resolver=Both([])) == "net.blocked"
    assert server.requests == []


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("localhost", "localhost"),
        ("LocalHost", "localhost"),
    ],
)
def test_what_the_config_allows_is_asked(allowed, host, server):
    async def fetch() -> bytes:
        async with Fetcher(Guard((allowed,))) as one:
            return (await one.fetch("GET", f"http://{host}:{server.port}/")).body

    assert asyncio.run(fetch()) == b"secret of the inside"
    server.requests.clear()


def test_a_name_on_the_list_does_not_open_its_address_to_other_names(server):
    resolver = Rebinding(["127.0.0.1"])
    guard = Guard(("wiki.test",), ports=frozenset({server.port}))
    assert refused_url(f"http://other.test:{server.port}/", guard=guard, resolver=resolver) == "net.blocked"
    assert refused_url(f"http://127.0.0.1:{server.port}/", guard=guard) == "net.blocked"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_allowed_on_the_ports_of_the_web(address):
    guard = Guard()
    assert guard.refusal(address, 443) is None
    assert guard.refusal(address, 80) is None
    assert "port 22" in guard.refusal(address, 22)
    assert Guard(ports=frozenset({8080})).refusal(address, 8080) is None


@pytest.mark.parametrize("entry", ["http://a", "a/b", "a:80", "", "10.0.0.0/33", "*.corp", "a b"])
def test_an_entry_that_is_no_host_is_refused(entry):
    with pytest.raises(ValueError, match="allow_hosts"):
        Guard((entry,))
