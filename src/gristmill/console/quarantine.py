"""The verbs `quarantine ls` and `quarantine retry`: what is in the quarantine, and reading it again.

Not here: what is open, and how it is read again (`engine.quarantine`). Invariant: no document text is shown, only where a thing
lies and why it is there.
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from gristmill.console import session, terminal
from gristmill.console.options import Accept, Setting, Source, Wait, Why, Window, Workers
from gristmill.console.session import answer, open_dataset, open_to_read, room, tell

app = typer.Typer(help="What could not be read or judged, and trying it again.", rich_markup_mode=None)

Code = Annotated[str | None, typer.Option(metavar="C", help="with this code only")]
Unit = Annotated[str | None, typer.Option(metavar="U", help="of this file, URL or listing only")]
_COLUMNS = ("run", "source", "origin", "code", "step", "open", "bytes", "detail")


@app.command("ls")
def ls(
    code: Code = None,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="of this source only")] = None,
    unit: Unit = None,
    run: Annotated[int | None, typer.Option(metavar="SEQ", help="of this run only")] = None,
    n: Annotated[int, typer.Option("-n", min=0, metavar="N", help="how many to list; 0: counts only")] = 20,
) -> None:
    """Count what is in the quarantine, and list what is open."""
    import msgspec

    dataset = open_to_read()[1]
    counts = dataset.quarantine_counts(code=code, source=source, unit=unit, run=run)
    entries = dataset.quarantine(code=code, source=source, unit=unit, run=run)
    listed = list(islice((msgspec.to_builtins(entry) for entry in entries if entry.open), n))

    def lines() -> list[str]:
        heads = ("source", "code", "count", "open", "open_units")
        shown = terminal.table(heads, [[line[head] for head in heads] for line in counts], room())
        if listed:
            names = [name for name in _COLUMNS if name != "open"]
            shown += ["", *terminal.table(names, [[entry[name] for name in names] for entry in listed], room())]
        return shown if counts else []

    answer({"counts": counts, "open": listed}, lines)
    if not counts:
        tell("nothing is in the quarantine, as asked for")


@app.command("retry")
def retry(
    code: Code = None,
    source: Source = None,
    unit: Unit = None,
    window: Window = None,
    workers: Workers = None,
    accept_gate: Accept = None,
    why: Why = "",
    wait: Wait = 0.0,
    setting: Setting = None,
) -> None:
    """Read again what is open, and publish what is fine now."""
    pipeline, _ = open_dataset(setting)  # where there is none, none is made
    raise typer.Exit(
        session.conduct(
            pipeline,
            lambda events: pipeline.retry(
                code=code,
                source=source,
                unit=unit,
                window=session.window_of(window),
                workers=workers,
                accept_gate=accept_gate or [],
                why=why,
                wait_s=wait,
                events=events,
            ),
        )
    )
