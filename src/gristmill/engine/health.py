"""Health: whether a dataset is well, looked at from outside, between runs or beside one.

For `status --check` and `gristmill alert`, which a scheduler may call when no run does. Not here: watching a run from inside
(`engine.watch`), channels (`engine.mail`). Invariants: looking changes nothing; what a run has told of itself is the same trouble here (the same key), so
that nobody hears of it twice.
"""

from __future__ import annotations

import contextlib
import time
from datetime import datetime

import msgspec

from gristmill.config.monitoring import seconds
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import StoreError
from gristmill.engine import freshness
from gristmill.engine.mail import Mail
from gristmill.engine.place import layout_of
from gristmill.engine.report import Report, read_report
from gristmill.observe import alerts, memory, pulse
from gristmill.observe.alerts import Trouble
from gristmill.observe.events import Json
from gristmill.observe.memory import Memory
from gristmill.store import claim, snapshot
from gristmill.store.layout import Layout


class Health:
    """Whether a dataset is well, and telling people if not."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config

    def running(self) -> Json | None:
        """Give how a run goes on, by its last sign of life; None if none does."""
        return _running(self.config)

    def last_call(self) -> list[str]:
        """Say how the last call ended, if it did not end well and left no report."""
        report = _last_call(layout_of(self.config))
        return [_sentence(one) for one in alerts.of_report(report, Memory())[:1]] if report is not None else []

    def troubles(self, *, held: bool) -> list[Trouble]:
        """Give all that is wrong now; `held`: a run holds the dataset. Changes nothing."""
        return _troubles(self.config, held=held)

    def alert(self, *, held: bool) -> tuple[list[str], list[str]]:
        """Tell people what is wrong now and was not told before; give what was sent, and what could not be."""
        mail = Mail(self.config)
        mail.send(mail.due(self.troubles(held=held)))
        return mail.delivered, mail.failures

    def test(self) -> tuple[list[str], list[str]]:
        """Send a test over every channel, whatever it asks for; give the same."""
        mail = Mail(self.config)
        text = "nothing is wrong; somebody wanted to see this arrive"
        mail.send([Trouble(event="test", title="a test of the alerts", text=text)], everywhere=True)
        return mail.delivered, mail.failures


def _sentence(trouble: Trouble) -> str:
    return f"{trouble.title}: {trouble.text}" if trouble.text else trouble.title


def _running(config: PipelineConfig) -> Json | None:
    layout = layout_of(config)
    layout.files.refresh()
    seqs = claim.claimed(layout)
    live = pulse.read(layout.heartbeat(seqs[-1])) if seqs else None
    if live is None or live.run is None or layout.report(live.run).exists():
        return None
    return pulse.told(live, seconds(config.monitoring.stall))


def _troubles(config: PipelineConfig, *, held: bool) -> list[Trouble]:
    layout = layout_of(config)
    layout.files.refresh()
    head = snapshot.head(layout)
    newest = head.seq or None
    found = []
    live = _running(config)
    if live is not None and held and live["stalled"]:
        name = f"run {live['run']}"
        found.append(
            Trouble(event="stalled", title=f"{name} stands still", text=live["progress"], key=alerts.stalled_key(live["run"], live["pid"]), run=live["run"], snapshot=newest)
        )  # fmt: skip
    elif live is not None and not held:
        title = f"run {live['run']} did not end"
        text = f"its last sign of life is of {live['time']}, in stage {live['stage']}; the next run goes on with it"
        found.append(
            Trouble(event="failed", title=title, text=text, key=f"died:{live['run']}", run=live["run"], snapshot=newest)
        )
    remembered = memory.load(layout.watching)
    found += _last(layout, remembered)
    found += alerts.of_stale(freshness.stale(config, layout, head), newest)
    if config.monitoring.expect_every is not None and not held:
        found += _missed(layout, remembered, config.monitoring.expect_every, newest)
    return found


def _last(layout: Layout, remembered: Memory) -> list[Trouble]:
    """Give what was wrong with the last run, or the last call that came to none."""
    try:
        report = _last_call(layout) or (remembered.report if remembered.ended else _report(layout))
    except StoreError as error:
        return [Trouble(event="failed", title="how the last run ended cannot be read", text=str(error))]
    if report is None or report["status"] not in alerts.UNWELL:
        return []
    if "errors" in report:
        return [
            msgspec.structs.replace(one, key=alerts.last_key(one.run)) for one in alerts.of_report(report, Memory())[:1]
        ]
    event = alerts.UNWELL[report["status"]]
    known = _report(layout) or {}
    said = alerts.of_report(known, Memory())[:1] if known.get("run") == report.get("run") else []
    text = said[0].text if said else ""
    run = report.get("run")
    return [
        Trouble(event=event, title=remembered.bad or f"the last run {event}", text=text, key=alerts.last_key(run), run=run, snapshot=report.get("snapshot"),
                codes=said[0].codes if said else [])
    ]  # fmt: skip


def _last_call(layout: Layout) -> Json | None:
    """Give how the last call ended, if it did not end well and left no report; what is not whole is taken for none."""
    try:
        found: Json = msgspec.json.decode(layout.last_call.read_bytes())
        msgspec.convert(found, Report)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if found["status"] in alerts.UNWELL else None


def _report(layout: Layout) -> Json | None:
    """Give the newest report on disk.

    Raises:
        StoreError: it is damaged.
    """
    return next(
        (read_report(layout, seq) for seq in reversed(claim.claimed(layout)) if layout.report(seq).exists()), None
    )


def _missed(layout: Layout, remembered: Memory, expected: str, newest: int | None) -> list[Trouble]:
    ended = remembered.ended
    report = None
    with contextlib.suppress(StoreError):  # told by `_last`
        report = _report(layout) if not ended else None
    if report is not None and report.get("started"):
        ended = datetime.fromisoformat(report["started"]).timestamp() + report["seconds"]
    silent_s = time.time() - ended
    if ended and silent_s <= seconds(expected):
        return []
    since = f"for {silent_s / 3600:.1f} h" if ended else "yet"
    return [
        Trouble(event="missed", title="no run has ended", text=f"no run has ended {since}; one is expected every {expected}", key="missed", snapshot=newest)
    ]  # fmt: skip
