"""Watching one run: who listens to it, and what is told of it when it is over.

Puts the parts of `observe` together as the config asks for. Not here: the parts; looking at a dataset between runs (`engine.health`).
Invariants: a run that is watched ends as it would have ended unwatched, at most `TELL_S` later; nothing is written of a run that found
the dataset held by another one; where the config asks for nothing, there is the log and the sign of life, and no more.
"""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from importlib.metadata import version
from typing import Any

import msgspec

from gristmill.config.monitoring import Monitoring, seconds
from gristmill.config.settings import PipelineConfig
from gristmill.core.errors import ConfigError, GateRefused, GristmillError, LockedError, StaleError, Stopped, Transient
from gristmill.core.source import WHOLE, Window
from gristmill.core.stopping import behind
from gristmill.engine import ends, exports, freshness
from gristmill.engine.drive import places_of
from gristmill.engine.exports import Reconciled
from gristmill.engine.mail import Mail
from gristmill.engine.place import layout_of
from gristmill.engine.report import Report, error_entry
from gristmill.observe import alerts, lineage, memory, metrics
from gristmill.observe.alerts import Trouble
from gristmill.observe.channels import TELL_S, Outbox
from gristmill.observe.events import Events, Fan, Json, RunFailed, Silent
from gristmill.observe.lineage import Described, Lineage
from gristmill.observe.logs import RunLog
from gristmill.observe.memory import Memory
from gristmill.observe.metrics import Sheet
from gristmill.observe.places import Place, file_place, places
from gristmill.observe.pulse import Live, Pulse, write_whole
from gristmill.store import claim, disk, snapshot
from gristmill.store.snapshot import Manifest

METRICS_S = 15.0  # how often metrics are written while a run lives
ALERT_FAILED = "alert.failed"
MONITOR_FAILED = "monitor.failed"


def _bring_in(settings: Monitoring) -> None:
    """Import what lineage and metrics need before there are threads that do: they work beside the one that signals come to.

    A signal that comes while a module is imported can leave its lock taken for good, and whoever imports it next waits for that. What is
    not installed is told where the parts of a pipeline are checked.
    """
    with contextlib.suppress(ImportError):
        if settings.measures:
            metrics.bring_in()
        if settings.openlineage is not None:
            lineage.bring_in(settings.openlineage)


class _Kept(Silent):
    """Keeps the reports of a call for its end: a run that died and the one after it may both have one."""

    def __init__(self) -> None:
        self.reports: list[Json] = []

    def report(self, report: Json) -> None:
        self.reports.append(report)


class Watch:
    """What watches one call of a run: hand `events` to the run, then call `over`, `passed` or `ended`, and `close`.

    part_of: the run that a call does a part of. It stays open if the part fails, for a scheduler to call it again; other machines may
    be at other parts, so that it has no sign of life, and what is wrong is told once in `repeat`, however many parts it stops.
    """

    def __init__(
        self, config: PipelineConfig, events: Events, window: Window = WHOLE, part_of: int | None = None
    ) -> None:
        self.config, self.part_of = config, part_of
        self.layout = layout_of(config)
        self.began = time.time()
        settings = config.monitoring
        _bring_in(settings)
        self.mail = Mail(config)
        self._sinks = Outbox("monitoring") if settings.openlineage or settings.pushgateway else None
        self.log = RunLog(self.layout.log, config.redact, part_of)
        self.pulse = Pulse(self.layout.heartbeat, seconds(settings.stall), self._stalled, self._beat)
        listeners: list[Events] = [events, self.log, *([self.pulse] if part_of is None else [])]
        if settings.openlineage is not None and self._sinks is not None and part_of is None:
            described = _described(config, window)
            listeners.append(Lineage(settings.openlineage, described, config.folder, config.redact, self._sinks))
        self._kept = _Kept()
        self.events = Fan([*listeners, self._kept])
        self._measured = 0.0
        self._told: list[str] = []  # what of monitoring itself failed

    # --- while it goes on

    def _stalled(self, live: Live, what: str) -> None:
        self.events.note(f"the run stands still: {what}")
        name = f"run {live.run}" if live.run is not None else "a run"
        trouble = Trouble(event="stalled", title=f"{name} stands still", text=what, key=alerts.stalled_key(live.run, live.pid), run=live.run)  # fmt: skip
        self.mail.post(self.mail.due([trouble]))

    def _beat(self, live: Live) -> None:
        if self.config.monitoring.measures and time.monotonic() - self._measured >= METRICS_S:
            self._measured = time.monotonic()
            self._measure(live)

    def _measure(self, live: Live | None) -> None:
        settings = self.config.monitoring
        limits = {bound.name: bound.freshness_s for bound in self.config.sources}
        sheet = Sheet(memory.load(self.layout.watching), live, self.layout.name, limits)
        if settings.textfile is not None:
            try:
                sheet.write(self.config.folder / settings.textfile)
            except OSError as error:
                where = str(self.config.folder / settings.textfile)
                told = f"cannot write monitoring.textfile {where!r}: {type(error).__name__}: {error.strerror}"
                self._told += [told] if told not in self._told else []
        if settings.pushgateway is not None and self._sinks is not None:
            gateway = settings.pushgateway
            self._sinks.post("pushgateway", lambda: sheet.push(gateway))

    # --- when it is over

    def over(self, report: Report) -> Report:
        """Tell of a run that has a report; what could not be told stands in it."""
        report.errors += self.passed()
        return report

    def passed(self) -> list[Json]:
        """Tell of what was reported in a call that did what it was asked for; give what could not be told as entries of `errors`."""
        self.pulse.done()
        entries = self._settle()
        for entry in entries:
            self.log.note(_said(entry))
        return entries

    def exported(self, report: Report, *, every: bool) -> None:
        """Tell of exports made after their run, see `tell_exported`."""
        with self.mail.remembering() as remembered:
            last = remembered.report
            failed_before = (last.get("run"), last.get("status")) == (report.run, "published_export_failed")
            if report.status == "published" and not (every and failed_before):
                return
            troubles = self._once(alerts.of_report(report.to_json(), remembered))
            telling = alerts.due(troubles, remembered, seconds(self.config.monitoring.repeat), whole=False)
            remembered.report |= {"run": report.run, "snapshot": report.snapshot, "status": report.status}
            remembered.bad = "; ".join(one.title for one in troubles if one.event == "failed")
        self.mail.post(telling)
        self._measured = time.monotonic()
        self.passed()

    def ended(self, error: BaseException) -> None:
        """Tell of a run that ended with an error, and leave a report of it if it failed for good."""
        error = behind(error)
        if isinstance(error, LockedError):
            return
        refused = isinstance(error, GateRefused)
        if isinstance(error, Stopped):
            self.events.failed(RunFailed(code="Stopped", message="stopped by a signal", stopped=True))
        elif not refused or not self._kept.reports:  # what the gate refused has a report; what cost too much has none
            code, message = type(error).__name__, self.config.redact(self.layout.told(_message(error)))
            self.events.failed(RunFailed(code=code, message=message, places=places_of(error)))
            report = Report(
                run=self.log.number, snapshot=None, status="refused" if refused else "failed", dataset=self.layout.name, started=claim.now(),
                errors=[error_entry("run", None, code, message, claim.now(), {})],
            )  # fmt: skip
            overtaken = (
                isinstance(error, StaleError) and self.layout.remote is not None
            )  # what it leaves is another's now
            gone_on_with = isinstance(error, GateRefused | Transient | OSError | MemoryError | ConfigError)
            if not overtaken and not gone_on_with and self.part_of is None:
                self._leave(report)
            self._kept.reports.append(report.to_json())
        for entry in self._settle():
            self.events.note(_said(entry))

    def _leave(self, report: Report) -> None:
        """Write the report of a run that failed for good, so that the next one starts afresh."""
        seqs = claim.claimed(self.layout)
        if seqs and not self.layout.report(seqs[-1]).exists() and not self.layout.manifest(seqs[-1]).exists():
            report.run = seqs[-1]
            ends.write_report(self.layout, report)

    def _held(self) -> bool:
        """Tell if no other run has taken the dataset over."""
        try:
            self.layout.files.check_held()
        except StaleError:
            return False
        return True

    def close(self) -> None:
        """End what watches."""
        self.pulse.close()
        if self.log.number is not None and self.part_of is None:
            self.layout.files.share(self.layout.log(self.log.number))

    def _settle(self) -> list[Json]:
        """Remember, alert, measure; give what of that failed as entries of a report's `errors`."""
        self.pulse.close()
        until = time.monotonic() + TELL_S
        for report in self._kept.reports:
            self._told_of(report)
        self._leave_word()
        for outbox in (self.mail, self._sinks):
            if outbox is not None:
                outbox.close(until)
        self.mail.count()
        self._told += self._sinks.failures if self._sinks is not None else []
        self._sinks = None
        if self.config.monitoring.measures and (self._kept.reports or self._measured):
            self._sinks = Outbox("pushgateway") if self.config.monitoring.pushgateway else None
            self._measure(None)
            if self._sinks is not None:
                self._sinks.close(until)
                self._told += self._sinks.failures
        return self._amended()

    def _leave_word(self) -> None:
        """Leave word of a call that did not end well and has no report on disk, for `engine.health`; of one that did, if there is any."""
        report = self._kept.reports[-1] if self._kept.reports else None
        if report is None or not self.layout.root.is_dir():
            return
        run, path = report.get("run"), self.layout.last_call
        lost = report["status"] not in memory.GOOD and (run is None or not self.layout.report(run).exists())
        if lost or path.exists():
            with contextlib.suppress(OSError):  # as of memory: nothing is decided by it
                write_whole(path, disk.to_json(report))
                self.layout.files.share(path)

    def _told_of(self, report: Json) -> None:
        looked = report["status"] != "failed"
        with self.mail.remembering() as remembered:
            troubles = self._once(alerts.of_report(report, remembered))
            telling = alerts.due(troubles, remembered, seconds(self.config.monitoring.repeat), whole=looked)
            if self.part_of is not None and not telling:
                return
            remembered.learn(report, self._started(report), self.pulse.live.worker_deaths)
            unwell = [one.title for one in troubles if one.event in {"failed", "refused", "partial"}]
            remembered.sent |= {alerts.last_key(report.get("run")): time.time()} if unwell else {}
            remembered.bad = "; ".join(unwell) if unwell else remembered.bad if not looked else ""
            self._fill(remembered)
        self.mail.post(telling)

    def _once(self, troubles: list[Trouble]) -> list[Trouble]:
        """Let the failure of a part be known by its run."""
        if self.part_of is None:
            return troubles
        key = alerts.last_key(self.part_of)
        return [msgspec.structs.replace(one, key=key) if one.event == "failed" else one for one in troubles]

    def _started(self, report: Json) -> float:
        if report.get("run") is None or not report.get("started"):
            return self.began
        return datetime.fromisoformat(report["started"]).timestamp()

    def _fill(self, remembered: Memory) -> None:
        """Find out when sources last gave something, where watching began later than that; 0: never. Only metrics ask for it.

        It goes back as far as the source was silent.
        """
        if not self.config.monitoring.measures:
            return
        unknown = [bound.name for bound in self.config.sources if bound.name not in remembered.given]
        if unknown and self.layout.table.is_dir():
            head = snapshot.head(self.layout)
            for name, given in freshness.last_given(self.layout, head, unknown).items():
                remembered.given[name] = given.timestamp() if given is not None else 0.0

    def _amended(self) -> list[Json]:
        """Add what could not be told to the newest report on disk."""
        lost = [(ALERT_FAILED, what) for what in self.mail.failures]
        lost += [(MONITOR_FAILED, what) for what in dict.fromkeys([*self.events.lost, *self._told])]
        entries = [error_entry("watch", None, code, what, claim.now(), {}) for code, what in lost]
        run = next((report["run"] for report in reversed(self._kept.reports) if report.get("run") is not None), None)
        if entries and run is not None and self.layout.report(run).exists() and self._held():
            written: Any = msgspec.json.decode(self.layout.report(run).read_bytes())
            written["errors"] += entries
            self.layout.files.write_file(self.layout.report(run), disk.to_json(written))
            ends.write_page(self.layout, written)
        return entries


def _said(entry: Json) -> str:
    return f"{entry['code']}: {entry['message']}"


def _message(error: BaseException) -> str:
    if isinstance(error, GristmillError):
        return str(error)
    if isinstance(error, OSError):
        return f"the system said {error.strerror or type(error).__name__!r}"
    return f"an unexpected {type(error).__name__}; the run's log says where"  # its message may hold document text


def tell_exported(config: PipelineConfig, head: Manifest, done: Reconciled, *, every: bool) -> None:
    """Tell of exports that were made after their run (`every`: all of them): that one failed, or that what had failed is there now."""
    watch = Watch(config, Silent(), part_of=head.seq)
    report = Report(status="published", run=head.seq, snapshot=head.seq, dataset=watch.layout.name, started=claim.now())
    exports.tell(done, report)
    watch.exported(report, every=every)
    watch.close()


def _described(config: PipelineConfig, window: Window) -> Described:
    """Say what lineage says of a pipeline."""
    root = layout_of(config).name
    sources = {}
    for bound in config.sources:
        params = msgspec.to_builtins(bound.source)
        otherwise = Place("gristmill", f"{root}/sources/{bound.name}")
        named = places(bound.part, params, config.folder, otherwise)
        sources[bound.name] = [Place(config.redact(p.namespace), config.redact(p.name)) for p in named]
    exports = {
        bound.name: file_place(path, config.folder) if (path := getattr(bound.export, "path", None)) else Place("gristmill", f"{root}/exports/{bound.name}")
        for bound in config.exports
    }  # fmt: skip
    settings = config.monitoring.openlineage
    job = settings.job if settings is not None and settings.job else root.rpartition("/")[2]
    table = file_place(f"{root}/table", config.folder)
    return Described(
        version=version("gristmill"), job=job, description=config.description, table=table, sources=sources, exports=exports, window=window
    )  # fmt: skip
