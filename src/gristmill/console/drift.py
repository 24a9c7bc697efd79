"""The verb `drift`: how far what each source brought in a run is from what it brought before.

Not here: measuring it (`engine.drift`). Invariant: it changes nothing and refuses nothing; that is the gate's, in a run.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gristmill.console import terminal
from gristmill.console.options import Seq
from gristmill.console.session import answer, open_to_read, room
from gristmill.console.terminal import visible, wrap

Json = dict[str, Any]

_HEAD = ("source", "distribution", "measure", "value", "noise", "warn", "block", "level", "against")


def drift(
    seq: Seq = None,
    baseline: Annotated[int | None, typer.Option(metavar="SEQ", help="compare with this snapshot; default: as the config says")] = None,
) -> None:  # fmt: skip
    """Compare what each source brought with what it brought before."""
    pipeline, dataset = open_to_read()
    found = dataset.drift(pipeline.config.gate, seq, baseline)
    answer(found, lambda: lines(found, room()))


def lines(found: Json, width: int | None) -> list[str]:
    """Give the comparison as a table, the worst first, and what could not be compared."""
    over = sum(entry["level"] != "ok" for entry in found["drift"])
    told = [f"run {found['run']}: {len(found['drift'])} compared, {over} over a limit"]
    if found["drift"]:
        told += terminal.table(_HEAD, [[entry[name] for name in _HEAD] for entry in found["drift"]], width)
    for each in found["not_judged"]:
        names = f": {', '.join(each['distributions'])}" if each["distributions"] else ""
        told += wrap(visible(f"{each['source'] or 'all'}: {each['why']}{names}"), "not judged: ", width)
    return told
