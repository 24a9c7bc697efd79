"""robots.txt: what a host allows our user agent, and how fast (RFC 9309, parsed by protego).

Not here: fetching the file (`net/polite.py` asks for it once a split and host), waiting between requests. Invariants: an answer of
2xx is parsed, of 4xx means everything is allowed, and one of 5xx or 429, or none, means nothing is allowed for now: the host is
`deferred`, which is not a refusal of its pages. A file of any size and shape costs bounded time: protego multiplies
the agents of a group by its rules (18,000 x 23,000 fit into the cap), so agents that are not us are folded into one before it reads.
"""

from __future__ import annotations

import re
from typing import Any

MAX_BYTES = 512 << 10  # RFC 9309, 2.5: at least 500 KiB must be parsed, the rest may be ignored
MAX_DELAY_S = 300.0  # a longer crawl-delay is taken as this: a page in five minutes is polite to anyone
MAX_RULES = 20_000  # of one file, for us: matching is linear in them, for each URL
_OTHERS = ":"  # stands for all agents that are not us; no product token holds it
_AGENT = re.compile(r"\s*user[- ]?agent\s*[:\s]([^#]*)", re.IGNORECASE)
_RULE = re.compile(r"\s*(?:dis[a-z]*|allow|crawl[- ]delay|request[- ]rate)\s*[:\s]", re.IGNORECASE)


class Robots:
    """The rules of one host for one agent.

    delay_s: the least time between two requests it asks for, capped at `MAX_DELAY_S`. deferred: why nothing may be fetched for now
    (the server could not say what it allows), "" otherwise.
    """

    def __init__(self, rules: Any = None, agent: str = "", deferred: str = "") -> None:
        self._rules, self._agent, self.deferred = rules, agent, deferred
        self.delay_s = 0.0
        if rules is not None:
            rate = rules.request_rate(agent)
            asked = max(rules.crawl_delay(agent) or 0.0, rate.seconds / rate.requests if rate else 0.0)
            self.delay_s = min(asked, MAX_DELAY_S)

    def allows(self, url: str) -> bool:
        """Tell whether this agent may fetch `url`."""
        if self.deferred:
            return False
        return self._rules is None or bool(self._rules.can_fetch(url, self._agent))


def product_token(user_agent: str) -> str:
    """Give the part of a user agent that robots.txt names it by: "gristmill" of "gristmill/1.0 (+mailto:x@example.org)"."""
    return re.split(r"[/\s(]", user_agent.strip(), maxsplit=1)[0]


def parse(status: int, body: bytes, user_agent: str) -> Robots:
    """Give the rules that an answer to `GET /robots.txt` stands for.

    Args:
        status: the HTTP status after redirects; 0: there was no answer.
        body: the first bytes of the file; what is beyond `MAX_BYTES` is not looked at.
        user_agent: the whole user agent we send.
    """
    from protego import Protego

    if status in {0, 429} or status >= 500:
        return Robots(deferred="robots.unreachable")
    if not 200 <= status < 300:
        return Robots()
    token = product_token(user_agent).lower()
    charset = "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    text = body[:MAX_BYTES].decode(charset, "replace").removeprefix("\N{BOM}")
    if len(body) > MAX_BYTES:
        text = text.rpartition("\n")[0]
    lines = _ours(text, token)
    if len(lines) > MAX_RULES:
        return Robots(deferred="robots.too_many_rules")
    return Robots(Protego.parse("\n".join(lines)), token)


def _ours(text: str, token: str) -> list[str]:
    """Give the groups that may be meant for `token`, with all other agents as one and without their rules.

    A group is a run of agent lines and the rules that follow; a line that is neither does not end it (RFC 9309, 2.2.4).
    """
    lines: list[str] = []
    agents: set[str] = set()
    in_run = False
    for line in text.splitlines():
        found = _AGENT.match(line)
        if found is not None:
            if not in_run:
                agents, in_run = set(), True
            name = found[1].strip().lower()
            bare = name.replace("*", "").strip()
            agent = name if name == "*" or (bare and bare in token) else _OTHERS
            if agent not in agents:
                agents.add(agent)
                lines.append(f"User-agent: {agent}")
        elif _RULE.match(line):
            in_run = False
            if agents - {_OTHERS}:
                lines.append(line)
    return lines
