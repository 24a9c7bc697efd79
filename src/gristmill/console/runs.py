"""The verbs `log`, `show` and `verify`: what runs left, told or looked through.

Not here: how snapshots compare and go (`history`), what lines look like (`terminal`). Invariants: all change nothing and take no lock; one
run whose report is damaged hides no other, but the exit code says that something is.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from gristmill.console import history, terminal
from gristmill.console.options import Seq
from gristmill.console.session import answer, complain, open_to_read, room, tell

Json = dict[str, Any]

# The columns of a log, and those that give way first on a terminal that has no room for all.
_NAMES = ("run", "status", "started", "read", "published", "unchanged", "withdrawn", "rows", "quality_score", "seconds")
_SPARE = ("quality_score", "withdrawn", "unchanged", "seconds")


def log() -> None:
    """List all runs, one a line."""
    lines = open_to_read()[1].log()
    answer(lines, lambda: log_lines(lines, room()))
    problems = [line["problem"] for line in lines if "problem" in line]
    complain(*problems)
    if problems:
        raise typer.Exit(1)


def log_lines(lines: list[Json], width: int | None) -> list[str]:
    """Give the runs as a table that fits: seconds of the time go, then columns, the least important first, before any is cut."""
    names = list(_NAMES)
    told = [line | {"status": history.status_of(line)} for line in lines]
    for spare in (None, "", *_SPARE):
        names = [name for name in names if name != spare]
        if spare == "":
            told = [line | {"started": line["started"][:16].replace("T", " ")} for line in told]
        rows = [[line.get(name) for name in names] for line in told]
        if width is None or max(map(terminal.cells, terminal.table(names, rows))) <= width:
            break
    return terminal.table(names, rows, width)


def newest(lines: list[Json]) -> int:
    """Give the newest run of a log that has a report.

    Raises:
        ConfigError: none has.
    """
    from gristmill.core.errors import ConfigError

    found = next((line["run"] for line in reversed(lines) if line["status"] != "unfinished"), None)
    if found is None:
        began = f"; run {lines[-1]['run']} has begun and not ended" if lines else ""
        raise ConfigError(f"no run has a report yet{began}; `gristmill run` makes one")
    return int(found)


def show(seq: Seq = None) -> None:
    """Show the report of a run, published or not."""
    _, dataset = open_to_read()
    report = dataset.report(seq if seq is not None else newest(dataset.log()))
    ink = terminal.Ink(sys.stdout)
    answer(report, lambda: terminal.report_lines(report, ink, room()))
    tell(*history.notes_on(dataset, report))


def verify(seq: Seq = None) -> None:
    """Check digests, schema, laws, ids and exports."""
    pipeline, dataset = open_to_read(exports=True)
    number, found = dataset.verified(seq, pipeline.config)
    whole = f"snapshot {number} is whole: digests, schema, both laws, ids, exports"
    answer({"snapshot": number, "ok": not found, "damage": found}, lambda: map(terminal.visible, found or [whole]))
    if found:
        of = f"snapshot {number}" if number is not None else "the dataset"
        complain(f"{of}: {terminal.plural(len(found), 'damaged thing')}")
        raise typer.Exit(4)
