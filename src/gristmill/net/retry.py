"""Asking again: which failures pass, how long to wait, when to give up; and not asking too often.

On stamina. Tried again are 408, 425, 429, 500, 502, 503, 504 and connections that fail or are cut; `Retry-After` is
obeyed in both of its forms (RFC 9110, 10.2.3). Not here: one fetch (`fetch.py`), a token that has run out (`auth.py`).
Invariants: every request of a read goes through one `Retrier`, so the pace and the budget hold for all of them; a wait
over the cap is not slept through but ends the request as a `Transient`, which the engine takes up later; any other
status is the caller's to judge and is never asked for twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from gristmill.net.fetch import Fetcher, FetchFailed, Limits, Response, origin

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class Patience(msgspec.Struct, frozen=True):
    """How often and how long to try.

    attempts: of one request. wait_initial_s: before the second, doubled each time up to wait_max_s, with jitter.
    retry_after_max_s: the longest wait a server may ask for. budget: retries a host may cost before successes earn more,
    budget_share: what a success earns. A retry at a time the server named costs nothing.
    """

    attempts: int = 6
    wait_initial_s: float = 0.5
    wait_max_s: float = 30.0
    wait_jitter_s: float = 1.0
    retry_after_max_s: float = 900.0
    budget: float = 20.0
    budget_share: float = 0.1


class Pace:
    """At most `rate` turns a second, evenly spaced; 0: as many as wanted."""

    def __init__(self, rate: float) -> None:
        self._gap_s = 1 / rate if rate else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        if not self._gap_s:
            return
        now = time.monotonic()
        at = max(self._next, now)
        self._next = at + self._gap_s
        await asyncio.sleep(at - now)


class Retrier:
    """Fetches with patience. One per read, beside its `Fetcher`."""

    def __init__(self, fetcher: Fetcher, patience: Patience | None = None, rate: float = 0) -> None:
        self._fetcher, self._patience = fetcher, patience or Patience()
        self._pace = Pace(rate)
        self._balance: dict[str, float] = {}
        _quiet()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limits: Limits | None = None,
        accept: Callable[[Response], None] | None = None,
    ) -> Response:
        """Fetch as `Fetcher.fetch` does, again where that may help. POST too: here it is a way of reading.

        accept: looks at an answer that is not to be retried by its status, and raises FetchFailed if it should be.

        Raises:
            FetchRefused: as `Fetcher.fetch`.
            FetchFailed: all attempts failed, the budget is used up, or the server asks for a longer wait than allowed.
        """
        import stamina

        host = origin(url)
        tried = 0
        patience = self._patience
        again = stamina.retry_context(
            on=lambda error: self._again(error, host),
            attempts=patience.attempts,
            timeout=None,
            wait_initial=patience.wait_initial_s,
            wait_max=patience.wait_max_s,
            wait_jitter=patience.wait_jitter_s,
        )
        try:
            async for attempt in again:
                with attempt:
                    tried += 1
                    await self._pace.turn()
                    response = await self._fetcher.fetch(
                        method, url, headers=headers, credentials=credentials, body=body, limits=limits
                    )
                    if response.status in RETRIED:
                        raise self._failure(response)
                    if accept is not None:
                        accept(response)
                    earned = self._balance.get(host, patience.budget) + patience.budget_share
                    self._balance[host] = min(patience.budget, earned)
                    return response
        except FetchFailed as error:
            if tried > 1:
                raise FetchFailed(error.code, error.url, f"{error.detail} ({tried} attempts)") from None
            raise
        raise AssertionError("stamina gives an attempt or raises")

    def _failure(self, response: Response) -> FetchFailed:
        wait_s = retry_after_s(response.headers, datetime.now(UTC))
        detail = f"HTTP {response.status}"
        if wait_s is not None and wait_s > self._patience.retry_after_max_s:
            detail += f"; it asks to wait {wait_s:.0f} s, over the {self._patience.retry_after_max_s:.0f} s allowed"
        return FetchFailed(f"http.{response.status}", response.url, detail, wait_s=wait_s)

    def _again(self, error: Exception, host: str) -> bool | float:
        """Say whether to try again, or after how many seconds."""
        if not isinstance(error, FetchFailed):
            return False
        if error.wait_s is not None:
            return error.wait_s if error.wait_s <= self._patience.retry_after_max_s else False
        balance = self._balance.get(host, self._patience.budget)
        if balance < 1:
            return False
        self._balance[host] = balance - 1
        return True


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Give the seconds a `Retry-After` asks to wait; None without one, or with one that makes no sense.

    A date is measured from the answer's own `Date`, if it has one, so that a wrong clock there or here does no harm.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        until, sent = http_date(text), http_date(headers.get("date", ""))
        return None if until is None else max(0.0, (until - (sent or now)).total_seconds())
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def http_date(text: str) -> datetime | None:
    """Give the moment of an HTTP date; None: it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _quiet() -> None:
    """Keep stamina's notes of each retry off the terminal where nobody has set up logging."""
    logger = logging.getLogger("stamina")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
