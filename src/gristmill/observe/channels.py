"""Channels: how an alert reaches people: a webhook, a mail, or any service Apprise knows.

Not here: what is told, and when (`observe.alerts`). Invariants: a channel that does not answer is left alone after its time, and never
holds a run up for longer than `TELL_S` in all; what is said of a failed delivery is its type and the answer's number, never an address,
for tokens stand in those.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from gristmill.config.monitoring import Alert, Apprise, Email
from gristmill.observe.alerts import Trouble, payload
from gristmill.observe.events import Json

TELL_S = 20.0
_TRY_S = 5.0  # longest one try may take
_PAUSES_S = (0.5, 2.0)  # between tries
_STRANGE = "an address that Apprise does not know"
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class Undelivered(Exception):
    """A try to deliver failed. passing: worth another one."""

    def __init__(self, why: str, *, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


class Outbox:
    """A thread that does deliveries one after the other; `failures` holds why some were not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failures: list[str] = []
        self.delivered: list[str] = []
        self._waiting: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._open: dict[int, str] = {}
        self._count = 0
        self._thread = threading.Thread(target=self._go, name=f"gristmill-{name}", daemon=True)
        self._thread.start()

    def post(self, what: str, deliver: Callable[[], None]) -> None:
        """Have something delivered; `what` names it."""
        self._count += 1
        self._open[self._count] = what
        self._waiting.put((what, deliver))

    def close(self, until: float) -> None:
        """Wait for what is left, no longer than until this time (`time.monotonic`); then it is given up."""
        self._waiting.put(None)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            left = list(self._open.values())
            self.failures += [f"{what}: given up, it took too long" for what in left]

    def _go(self) -> None:
        done = 0
        while (item := self._waiting.get()) is not None:
            what, deliver = item
            done += 1
            try:
                patiently(deliver)
                self.delivered.append(what)
            except Exception as error:  # whatever a library raises; its text may hold an address
                self.failures.append(f"{what}: {_why(error)}")
            self._open.pop(done, None)


def _why(error: Exception) -> str:
    """Say why without the words of a library; of a file of this machine say which, and what the system said."""
    if isinstance(error, OSError) and isinstance(error.filename, str) and error.strerror:
        return f"{type(error).__name__}: {error.strerror} {error.filename!r}"
    return str(error) if isinstance(error, Undelivered) else type(error).__name__


def patiently(deliver: Callable[[], None]) -> None:
    """Try again where that may help.

    Raises:
        Undelivered: it did not.
    """
    for pause_s in (*_PAUSES_S, None):
        try:
            return deliver()
        except Undelivered as error:
            if not error.passing or pause_s is None:
                raise
            time.sleep(pause_s)
    return None


def delivery(alert: Alert, trouble: Trouble, dataset: str) -> Callable[[], None]:
    """Give what sends one alert over one channel."""
    told = payload(trouble, dataset)
    if alert.webhook is not None:
        return partial(post_json, alert.webhook.url, told, alert.webhook.headers)
    if alert.email is not None:
        return partial(_mail, alert.email, told)
    assert alert.apprise is not None
    return _Services(alert.apprise, told)


def problems(alerts: list[Alert]) -> tuple[list[str], list[str]]:
    """Say which channels can reach nobody; and, as notes, where that cannot be told now. Names are looked up, nothing is sent."""
    found: list[str] = []
    notes: list[str] = []
    for at, alert in enumerate(alerts):
        if alert.apprise is not None:
            found += [f"{title(at, alert)}: {_STRANGE}; mend it" for _ in _strange(alert.apprise)]
            continue
        host = alert.email.host if alert.email is not None else _host(alert.webhook.url if alert.webhook else "")
        if host is None:
            found.append(f"{title(at, alert)}: url: host or port cannot be one; write https://host/path")
            continue
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            passing = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
            told = "cannot be looked up now" if passing else "cannot be found, so nobody would be told; mend it"
            (notes if passing else found).append(f"{title(at, alert)}: its host {told}")
    return found, notes


def _host(url: str) -> str | None:
    """Give the host that a POST goes to, a proxy where there is one; None if the address has no host or port that can be."""
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        proxy = getproxies().get(parts.scheme) if host and not proxy_bypass(host) else None
        return urlsplit(proxy).hostname if proxy else host
    except ValueError:
        return None


def _strange(service: Apprise) -> list[str]:
    """Give the addresses that Apprise does not know; none where it is not installed, which is told elsewhere."""
    try:
        import apprise
    except ImportError:
        return []
    asset = apprise.AppriseAsset(secure_logging=True)
    _hush()
    return [url for url in _several(service.url) if not apprise.Apprise(asset=asset).add(url)]


def _hush() -> None:
    """Keep Apprise from writing addresses to standard error."""
    log = logging.getLogger("apprise")
    log.addHandler(logging.NullHandler())
    log.propagate = False


def title(at: int, alert: Alert) -> str:
    """Give what a channel is called: its place in the config, and its kind."""
    return f"alerts[{at}] ({alert.kind})"


# --- one try -----------------------------------------------------------------------------------------------------


def post_json(url: str, content: Json, headers: dict[str, str]) -> None:
    """POST a JSON object.

    Raises:
        Undelivered: no answer in time, or one that is none of 200 to 299.
    """
    import urllib.error  # here, as most runs tell nobody
    import urllib.request
    from http.client import HTTPException

    class Stay(urllib.request.HTTPRedirectHandler):
        """Follows no redirect: a POST would become a GET, and a token would go where nobody meant it to."""

        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
            return None

    named = {"Content-Type": "application/json", "User-Agent": "gristmill"} | headers
    request = urllib.request.Request(url, msgspec.json.encode(content), named, method="POST")  # noqa: S310 # http(s) by its type
    try:
        with urllib.request.build_opener(Stay).open(request, timeout=_TRY_S) as answer:
            answer.read(1 << 16)
    except urllib.error.HTTPError as error:
        error.close()
        raise Undelivered(f"HTTP {error.code}", passing=error.code in _PASSING) from None
    except (OSError, HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        raise Undelivered(type(why if isinstance(why, Exception) else error).__name__, passing=True) from None


def _mail(mail: Email, told: Json) -> None:
    import smtplib
    import ssl
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"], message["From"] = told["title"], mail.sender
    message["To"] = ", ".join(_several(mail.to))
    lines = [
        told["text"],
        "",
        *(f"{key}: {_shown(told[key])}" for key in ("event", "run", "snapshot", "codes", "time")),
    ]
    message.set_content("\n".join(lines))
    try:
        context = ssl.create_default_context()
        server = (
            smtplib.SMTP_SSL(mail.host, mail.port, timeout=_TRY_S, context=context)
            if mail.tls == "tls"
            else smtplib.SMTP(mail.host, mail.port, timeout=_TRY_S)
        )
        with server:
            if mail.tls == "starttls":
                server.starttls(context=context)
            if mail.user is not None:
                server.login(mail.user, mail.password or "")
            refused = server.send_message(message)
            if refused:
                raise Undelivered(f"{len(refused)} of the recipients are refused", passing=False)
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"SMTP {error.smtp_code}", passing=400 <= error.smtp_code < 500) from None
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered(type(error).__name__, passing=isinstance(error, OSError)) from None


class _Services:
    """Some services of Apprise; one that has taken an alert is not asked again when another one has not."""

    def __init__(self, service: Apprise, told: Json) -> None:
        self.left, self.told = _several(service.url), told

    def __call__(self) -> None:
        """Try those that are left."""
        import apprise

        _hush()
        level = apprise.NotifyType.SUCCESS if self.told["event"] == "recovered" else apprise.NotifyType.WARNING
        for url in list(self.left):
            one = apprise.Apprise(asset=apprise.AppriseAsset(app_id="gristmill", secure_logging=True))
            if not one.add(url):
                raise Undelivered(_STRANGE, passing=False)
            body = self.told["text"].partition("\n")[2]
            if one.notify(title=self.told["title"], body=body, notify_type=level):
                self.left.remove(url)
        if self.left:
            raise Undelivered("a service did not take it", passing=True)


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Iterable) and not isinstance(value, str) else str(value)
