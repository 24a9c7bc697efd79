"""Alerts: what is wrong, said in a few words, and whether it is time to say it.

Not here: how it reaches people (`observe.channels`), what is remembered (`observe.memory`). Invariants: a trouble holds codes, names
and sentences of reports, never document text or a secret; what happens once (failed, refused, recovered) is told each time, what goes
on (stale, partial, drift, missed, a run that died) once in `monitoring.repeat`, and anew when it has been well in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from gristmill.config.monitoring import Event
from gristmill.observe.events import Json
from gristmill.observe.memory import GOOD, Memory

_LONGEST = 600  # characters of the text of an alert
UNWELL: dict[str, Event] = {
    "failed": "failed",
    "published_export_failed": "failed",
    "refused": "refused",
    "partial": "partial",
}
STALE = "source.stale"
SOURCE_FAILED = "source.failed"
COST_JUMP = "cost.jump"
_OWN_EVENT = {STALE, COST_JUMP, "source.drift"}  # what has an event of its own is not told with another one


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something people should hear of. key: what makes it the same as one told before; "": it is never the same."""

    event: Event | Literal["test"]
    title: str
    text: str
    key: str = ""
    codes: list[str] = []
    sources: list[str] = []
    run: int | None = None
    snapshot: int | None = None


def of_report(report: Json, memory: Memory) -> list[Trouble]:
    """Give what a report says that people should hear of; `memory` is that of before it."""
    run, snapshot, status = report.get("run"), report.get("snapshot"), report["status"]
    errors = report.get("errors", [])
    troubles = []
    name = f"run {run}" if run is not None else "a run"
    early = " before it took a number" if run is None else ""
    if status in UNWELL:
        event = UNWELL[status]
        told = [error for error in errors if error["code"] not in _OWN_EVENT]
        left_out = _names(error for error in told if error["code"] == SOURCE_FAILED)
        titles = {
            "failed": f"{name} failed{early}",
            "refused": f"{name} was refused by the gate",
            "partial": f"{name} left out {', '.join(left_out)}",
        }
        if status == "published_export_failed":
            titles["failed"] = f"{name} is published, but an export failed"
        key = f"partial:{','.join(left_out)}" if status == "partial" else ""
        troubles.append(
            Trouble(event=event, title=titles[event], text=_text(told), key=key, codes=_codes(told), sources=_names(told), run=run, snapshot=snapshot)
        )  # fmt: skip
    troubles += of_stale(errors, snapshot)
    drifted = [each for each in report.get("drift") or [] if each["level"] in {"warn", "block"}]
    if drifted:
        where = sorted({f"{each['source']}: {each['distribution']}" for each in drifted})
        text = "; ".join(
            f"{d['source']}: {d['distribution']}: {d['measure']} {_number(d['value'])} ({d['level']})" for d in drifted
        )
        sources = sorted({str(each["source"]) for each in drifted})
        troubles.append(
            Trouble(event="drift", title=f"{name} has drifted: {', '.join(sources)}", text=short(text), key=f"drift:{'|'.join(where)}",
                    codes=sorted({f"drift.{each['level']}" for each in drifted}), sources=sources, run=run, snapshot=snapshot)
        )  # fmt: skip
    troubles += [
        Trouble(event="cost", title=f"{name} cost more than usual", text=short(e["message"]), codes=[COST_JUMP], run=run, snapshot=snapshot)
        for e in errors
        if e["code"] == COST_JUMP
    ]  # fmt: skip
    if status in GOOD and memory.bad:
        title = f"{name} is well again ({status.replace('_', ' ')})"
        troubles.append(
            Trouble(event="recovered", title=title, text=f"before it: {memory.bad}", run=run, snapshot=snapshot)
        )
    return troubles


def of_stale(errors: list[Json], snapshot: int | None) -> list[Trouble]:
    """Give a trouble for each source that has been silent for too long."""
    return [
        Trouble(event="stale", title=f"source {error['source']} is stale", text=short(error["message"]), key=f"stale:{error['source']}",
                codes=[STALE], sources=[error["source"]], snapshot=snapshot)
        for error in errors
        if error["code"] == STALE
    ]  # fmt: skip


def stalled_key(run: int | None, pid: int) -> str:
    """Give the key of a run that stands still; the same run in another process may do so again."""
    return f"stalled:{run}:{pid}"


def last_key(run: int | None) -> str:
    """Give the key under which it is known that what was wrong with a run has been told."""
    return f"last:{run}"


def due(troubles: Iterable[Trouble], memory: Memory, repeat_s: int, *, whole: bool) -> list[Trouble]:
    """Give those to be told now, and remember that they are.

    Args:
        troubles: all there are.
        memory: what was told before.
        repeat_s: how long one that goes on is not told again.
        whole: these are all that can go on now: what was told before and is not among them is over.
    """
    now = time.time()
    found = list(troubles)
    if whole:
        still = {trouble.key for trouble in found}
        memory.sent = {key: at for key, at in memory.sent.items() if key in still}
    telling = [trouble for trouble in found if not trouble.key or now - memory.sent.get(trouble.key, 0.0) >= repeat_s]
    memory.sent |= {trouble.key: now for trouble in telling if trouble.key}
    return telling


def payload(trouble: Trouble, dataset: str) -> Json:
    """Give the JSON of an alert: what a webhook gets. `text` holds all a person needs, for services that show that alone."""
    stamp = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "version": 1,
        "event": trouble.event,
        "title": f"gristmill: {trouble.title}",
        "text": "\n".join([f"gristmill: {trouble.title}", *([trouble.text] if trouble.text else []), f"dataset {dataset}"]),
        "dataset": dataset,
        "run": trouble.run,
        "snapshot": trouble.snapshot,
        "codes": trouble.codes,
        "sources": trouble.sources,
        "time": stamp,
    }  # fmt: skip


def short(text: str) -> str:
    """Give a text on one line and not too long, without anything that could steer what shows it."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"


def _text(errors: list[Json]) -> str:
    return short("; ".join(f"{e['source']}: {e['message']}" if e["source"] else e["message"] for e in errors))


def _codes(errors: Iterable[Json]) -> list[str]:
    return sorted({error["code"] for error in errors})


def _names(errors: Iterable[Json]) -> list[str]:
    return sorted({error["source"] for error in errors if error["source"]})


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else "unknown"
