"""Addresses: which IP addresses and ports a connection may be made to. It is asked for every attempt, after resolving.

Not here: making the connection (`fetch.py`). An address is looked at in its final form, so that spellings (hex, octal,
one number, IPv4 inside IPv6), redirects and names that change their address between two look-ups make no difference.
Invariants: what is not known to be public is refused; a form of IPv6 that carries an IPv4 address is judged by that
one; the list of exceptions comes from the config alone, never from data.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TypeAlias

import msgspec

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

WEB_PORTS = frozenset({80, 443})

# The one range IANA has given out as global unicast; all else in IPv6 is local, reserved, or a wrapper of something.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address behind a translator
# Global by the letter, not to be talked to: IETF assignments with a cloud's metadata in them (192.0.0.192), the old
# 6to4 relays and their addresses, which carry any IPv4 address, Teredo likewise, Azure's host (168.63.129.16), and the
# documentation range of RFC 9637, which older Pythons take for public.
_REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2002::/16", "2001::/32", "3fff::/20")
)
_NAME = re.compile(r"(?=.{1,253}\.?$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")


class Guard(msgspec.Struct, frozen=True):
    """What may be connected to besides public addresses.

    allow_hosts: host names (that name, whatever its address), addresses and networks in CIDR form (those addresses,
    under any name). Any port of theirs is allowed. ports: of public addresses.
    """

    allow_hosts: tuple[str, ...] = ()
    ports: frozenset[int] = WEB_PORTS

    def __post_init__(self) -> None:
        """Refuse an entry that is neither a name, nor an address, nor a network."""
        for entry in self.allow_hosts:
            if _network(entry) is None and not _NAME.fullmatch(entry.lower()):
                raise ValueError(
                    f'allow_hosts: "{entry}" is no host name, address or network; write wiki.corp, 10.0.0.7 or '
                    "10.0.0.0/8, without scheme, port or path"
                )

    def trusts(self, host: str) -> bool:
        """Tell whether a host is on the list by its name, so that its address is not looked at."""
        named = host.lower().rstrip(".")
        return any(_network(entry) is None and entry.lower().rstrip(".") == named for entry in self.allow_hosts)

    def refusal(self, address: str, port: int) -> str | None:
        """Say why `address` (text of an IP address, as resolved) must not be connected to at `port`; None: it may."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return "the resolved address is no IP address"
        real = _unwrapped(ip)
        networks = [network for entry in self.allow_hosts if (network := _network(entry)) is not None]
        if any(ip in network or real in network for network in networks):
            return None
        if not _is_public(real):
            return f"{ip} is not a public address"
        if port not in self.ports:
            return f"port {port} is none of {', '.join(map(str, sorted(self.ports)))}"
        return None


def _network(entry: str) -> Network | None:
    try:
        return ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None


def _unwrapped(ip: Address) -> Address:
    """Give the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


def _is_public(ip: Address) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _REFUSED)
