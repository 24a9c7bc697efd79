"""The keys `monitoring` and `alerts` of a config: where a run is watched from, and who is told when it is unwell.

Not here: doing it (`observe`). Invariants: nothing here changes a record or a fingerprint; the values of references (tokens in
URLs, passwords) are in these structs alone, and no `repr` shows them.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Literal, get_args

import msgspec

Duration = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d*(s|m|h|d|w)$", examples=["30s", "15m", "36h", "7d", "2w"])]
HttpUrl = Annotated[str, msgspec.Meta(pattern=r"^https?://[^/?#\s]+")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Event = Literal["failed", "refused", "partial", "drift", "cost", "stalled", "stale", "missed", "recovered"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ALL: list[Event] = list(get_args(Event))


def missing(monitoring: Monitoring, alerts: list[Alert]) -> list[str]:
    """Say which extras are asked for and not installed, with the commands that install them."""
    wanted = [
        (monitoring.measures, "monitoring.textfile and monitoring.pushgateway need", "prometheus-client", "metrics"),
        (monitoring.openlineage is not None, "monitoring.openlineage needs", "openlineage-python", "lineage"),
        (any(alert.apprise is not None for alert in alerts), "an alert over apprise needs", "apprise", "alerts"),
    ]
    told = []
    for asked, who, package, extra in wanted:
        try:
            if asked:
                version(package)
        except PackageNotFoundError:
            told.append(f'{who} {package}; pip install "gristmill[{extra}]"')
    return told


def seconds(duration: str) -> int:
    """Give the seconds of `15m`, `36h`, `7d`."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


class OpenLineage(msgspec.Struct, frozen=True, kw_only=True):
    """Where lineage events go (extra: lineage).

    file: one event a line is added to it. url: of a server; its path is kept, without one it is /api/v1/lineage. api_key: sent as a
    bearer token. namespace: of the jobs. job: the pipeline's name in it, by default that of the dataset's folder.
    """

    file: str | None = None
    url: HttpUrl | None = None
    api_key: str | None = None
    namespace: Annotated[str, msgspec.Meta(min_length=1)] = "gristmill"
    job: str | None = None

    def __post_init__(self) -> None:
        if (self.file is None) == (self.url is None):
            raise ValueError("give `file` or `url`, and only one of them")

    def __repr__(self) -> str:
        return f"OpenLineage({self.file or 'url'!r})"


class Monitoring(msgspec.Struct, frozen=True, kw_only=True):
    """What watches a run; nothing here changes a record.

    log: how lines on standard error look. textfile: a file of metrics for Prometheus, in the folder that a node exporter reads, ending
    in .prom (extra: metrics). pushgateway: the address of one. openlineage: where lineage events go. stall: how long a run may make no
    progress. expect_every: how often a run is expected to end; without one it is `missed`. repeat: how long a trouble that goes on is
    not told again.
    """

    log: Literal["text", "json"] = "text"
    textfile: Annotated[str, msgspec.Meta(pattern=r"\.prom$")] | None = None
    pushgateway: HttpUrl | None = None
    openlineage: OpenLineage | None = None
    stall: Duration = "15m"
    expect_every: Duration | None = None
    repeat: Duration = "24h"

    @property
    def measures(self) -> bool:
        """Whether metrics go anywhere."""
        return self.textfile is not None or self.pushgateway is not None

    def __repr__(self) -> str:
        return f"Monitoring({self.textfile!r})"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A POST of JSON. url: where to. headers: sent with it. on: the events that are told."""

    url: HttpUrl
    headers: dict[str, str] = {}
    on: list[Event] = msgspec.field(default_factory=lambda: list(_ALL))

    def __repr__(self) -> str:
        return "Webhook()"


class Apprise(msgspec.Struct, frozen=True, kw_only=True):
    """Any service Apprise knows (extra: alerts). url: as Apprise writes it, or several. on: the events that are told."""

    url: str | list[str]
    on: list[Event] = msgspec.field(default_factory=lambda: list(_ALL))

    def __repr__(self) -> str:
        return "Apprise()"


class Email(msgspec.Struct, frozen=True, kw_only=True):
    """A mail. host, port: of the server. tls: from the start, after STARTTLS, or none. on: the events that are told."""

    to: str | list[str]
    sender: str = msgspec.field(name="from")
    host: str = "localhost"
    port: Port = 25
    tls: Literal["none", "starttls", "tls"] = "none"
    user: str | None = None
    password: str | None = None
    on: list[Event] = msgspec.field(default_factory=lambda: list(_ALL))

    def __repr__(self) -> str:
        return "Email()"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One way to tell people. webhook, apprise, email: exactly one of them."""

    webhook: Webhook | None = None
    apprise: Apprise | None = None
    email: Email | None = None

    def __post_init__(self) -> None:
        if sum(one is not None for one in (self.webhook, self.apprise, self.email)) != 1:
            raise ValueError("an alert is exactly one of: webhook, apprise, email")

    @property
    def kind(self) -> str:
        """Which it is."""
        return "webhook" if self.webhook else "apprise" if self.apprise else "email"

    @property
    def on(self) -> list[Event]:
        """The events that are told."""
        chosen: Any = self.webhook or self.apprise or self.email
        told: list[Event] = chosen.on
        return told
