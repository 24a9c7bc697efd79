"""Mail: the channels of a config, and what is remembered of what went over them.

Not here: what is wrong (`engine.watch` of a run, `engine.health` of a dataset), how a channel works (`observe.channels`). Invariants:
what is due is decided and remembered before it is sent; where the config asks for nothing, nothing is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.config.monitoring import Alert, Monitoring, seconds
from gristmill.config.settings import PipelineConfig
from gristmill.engine.place import layout_of
from gristmill.observe import alerts, channels, memory
from gristmill.observe.alerts import Trouble
from gristmill.observe.channels import TELL_S, Outbox
from gristmill.observe.memory import Memory


class Mail:
    """The channels of a config, and what is remembered of what went over them."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.layout = layout_of(config)
        self._boxes: dict[int, Outbox] = {}
        self._events: list[str] = []

    @property
    def failures(self) -> list[str]:
        """Why some alerts were not delivered."""
        return [why for box in self._boxes.values() for why in box.failures]

    @property
    def delivered(self) -> list[str]:
        """What was."""
        return [what for box in self._boxes.values() for what in box.delivered]

    @contextmanager
    def remembering(self) -> Iterator[Memory]:
        """Give what is remembered, to change it; where the config asks for nothing, or there is no dataset, it is forgotten again."""
        asked = self.config.alerts or self.config.monitoring != Monitoring()
        here = bool(asked) and self.layout.root.is_dir()
        with memory.opened(self.layout.files.fetch(self.layout.watching) if here else None) as remembered:
            yield remembered
        if here:
            self.layout.files.share(self.layout.watching)

    def due(self, troubles: list[Trouble]) -> list[Trouble]:
        """Give those of some troubles that are to be told now, and remember that they are."""
        with self.remembering() as remembered:
            telling = alerts.due(troubles, remembered, seconds(self.config.monitoring.repeat), whole=False)
            unwell = [one.title for one in telling if one.event in {"failed", "missed"}]
            remembered.bad = "; ".join(unwell) or remembered.bad
        return telling

    def post(self, telling: list[Trouble], *, everywhere: bool = False) -> None:
        """Hand troubles to the channels that ask for their events; or to all."""
        for trouble in telling:
            for at, alert in enumerate(self.config.alerts):
                if everywhere or trouble.event in alert.on:
                    self._post(at, alert, trouble)

    def _post(self, at: int, alert: Alert, trouble: Trouble) -> None:
        box = self._boxes.get(at) or self._boxes.setdefault(at, Outbox(f"alerts-{at}"))
        what = f"{channels.title(at, alert)}: {trouble.event}"
        box.post(what, channels.delivery(alert, trouble, self.layout.name))

    def send(self, telling: list[Trouble], *, everywhere: bool = False) -> None:
        """Send, wait, and remember how it went."""
        self.post(telling, everywhere=everywhere)
        self.close(time.monotonic() + TELL_S)
        self.count()

    def close(self, until: float) -> None:
        """Wait for all, no longer than until this time (`time.monotonic`)."""
        for box in self._boxes.values():
            box.close(until)

    def count(self) -> None:
        """Remember what was delivered and what was not."""
        if self.delivered or self.failures:
            with self.remembering() as remembered:
                for what in self.delivered:
                    event = what.rpartition(": ")[2]
                    remembered.alerts[event] = remembered.alerts.get(event, 0) + 1
                remembered.alert_failures += len(self.failures)
