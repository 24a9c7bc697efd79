"""The verb `alert`, and what `status` says of a run that goes on and of the dataset's health.

Not here: finding it out (`engine.health`), sending (`observe.channels`). Invariants: looking takes no lock; `alert` sends what is due and
was not told before, and says on standard output what it sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.console import terminal
from gristmill.console.options import Setting
from gristmill.console.session import answer, complain, open_pipeline, tell

if TYPE_CHECKING:
    from gristmill.pipeline import Pipeline

Json = dict[str, Any]


def health(pipeline: Pipeline, *, held: bool) -> Json:
    """Give what `status` says besides: how the run goes that goes on, and all that is wrong."""
    import msgspec

    return {
        "running": pipeline.health.running() if held else None,
        "health": [msgspec.to_builtins(trouble) for trouble in pipeline.health.troubles(held=held)],
    }


def lines(found: Json) -> list[str]:
    """Give how a run goes on."""
    live = found["running"]
    if live is None:
        return []
    share = f", {100 * live['bytes_done'] / live['bytes_total']:.0f}% of the bytes" if live["bytes_total"] else ""
    told = (
        [f"{live['done']:,} of {live['tasks']:,} tasks{share}, {live['rows_in']:,} records in"] if live["tasks"] else []
    )
    told += [f"{live['retries']} retries"] if live["retries"] else []
    stalled = f"; stalled: {live['progress']}" if live["stalled"] else ""
    return [f"running: run {live['run']}, stage {terminal.visible(live['stage'])}: {', '.join(told)}{stalled}"]


def problems(found: Json) -> list[str]:
    """Give what is wrong, a sentence each."""
    return [
        f"{each['event']}: {each['title']}" + (f": {each['text']}" if each["text"] else "") for each in found["health"]
    ]


def alert(
    test: Annotated[bool, typer.Option("--test", help="send a test over every channel")] = False,
    setting: Setting = None,
) -> None:
    """Tell people what is wrong now, if they were not told before."""
    from gristmill.console import survey

    pipeline = open_pipeline(setting)
    if not pipeline.config.alerts:
        tell("the config has no alerts")
    held = survey.holder(pipeline) is not None
    sent, failures = pipeline.health.test() if test else pipeline.health.alert(held=held)
    found = {"sent": sent, "failed": failures}
    answer(found, lambda: _said(sent) if sent or not failures else [])
    complain(*failures)
    if failures:
        raise typer.Exit(1)


def _said(sent: Iterable[str]) -> list[str]:
    return [f"sent: {terminal.visible(each)}" for each in sent] or ["nothing to tell"]
